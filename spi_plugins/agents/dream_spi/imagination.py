"""Dreams: what the policy does in its world model, starting from the latents of real observations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.actions import model_action
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import Minibatch, fold
from spi_plugins.agents.on_policy import Parts
from spi_plugins.returns import generalized_advantages, masked_mean
from spi_plugins.types import Params


class Dream(NamedTuple):
    """``H`` imagined steps of ``N`` dreams, without gradients."""

    z: Float[Array, " H N *z"]  # where the step begins
    action: Array  # [H, N, ...], as sampled
    log_prob: Float[Array, "H N"]
    value: Float[Array, "H+1 N"]
    reward: Float[Array, "H N"]
    ended: Float[Array, "H N"]  # the state reached is terminal: 0 or 1, or the probability
    valid: Bool[Array, "H N"]  # false once the dream is over, and in dreams that never began


def imagine(
    parts: Parts,
    params: Params,
    z: Float[Array, " N *z"],
    begun: Bool[Array, " N"],
    key: Array,
    *,
    horizon: int,
    soft_termination: bool,
) -> Dream:
    """Follow the policy in the model for ``horizon`` steps, in the dreams that have ``begun`` at ``z``.

    The policy must judge latents, and the model predict termination. Steps after a sampled termination are not valid.
    With ``soft_termination`` nothing is sampled, and ``ended`` is the probability that the step's successor is
    terminal.
    """
    policy, model = parts.policy, parts.world_model
    assert policy.judge is not None
    assert model is not None
    assert model.termination is not None
    judge, terminal = policy.judge, model.termination

    def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        z, going = carry
        action_key, model_key, end_key = jax.random.split(key, 3)
        out = judge(params["policy"], z)
        action = parts.distribution.sample(out.parameters, action_key)
        taken = model_action(parts.actions, parts.distribution.executed(action))
        next_z = model.predict(params["world_model"], z, taken, model_key)
        ended = terminal(params["world_model"], next_z)
        if not soft_termination:
            ended = jax.random.bernoulli(end_key, ended).astype(jnp.float32)
        row = (
            z,
            action,
            parts.distribution.log_prob(out.parameters, action),
            out.value,
            model.reward(params["world_model"], z, taken),
            ended,
            going,
        )
        return (next_z, going if soft_termination else going & (ended < 0.5)), row

    (last, _), rows = jax.lax.scan(step, (z, begun), jax.random.split(key, horizon))
    dream = Dream(*rows)
    last_value = judge(params["policy"], last).value
    dream = dream._replace(value=jnp.concatenate([dream.value, last_value[None]]))
    return Dream(*map(jax.lax.stop_gradient, dream))


def _still_going(dream: Dream) -> Float[Array, "H N"]:
    """The probability that no earlier step ended the dream: 0 or 1 if termination is sampled."""
    lasts = jnp.cumprod(1.0 - dream.ended, axis=0)
    return jnp.concatenate([jnp.ones((1, *lasts.shape[1:])), lasts[:-1]])


def dream_rows(dream: Dream, config: DeepSPIConfig) -> Minibatch:
    """Estimate advantages, and fold time and dreams into one axis, time-major. The rows' ``obs`` are latents.

    The surrogate of a step is weighted by the probability that the dream was still going on.
    """
    goes_on = 1.0 - dream.ended
    value = dream.value[:-1]
    advantage = generalized_advantages(
        dream.reward,
        value,
        goes_on * dream.value[1:],
        jnp.zeros(dream.ended.shape, bool),
        dream.ended,
        discount=config.gamma,
        gae_lambda=config.gae_lambda,
    )
    rows = Minibatch(
        obs=dream.z,
        action=dream.action,
        log_prob=dream.log_prob,
        value=value,
        reward=dream.reward,
        terminated=dream.ended > 0.5,
        valid=dream.valid,
        advantage=advantage,
        target=advantage + value,
        weight=_still_going(dream),
    )
    folded: Minibatch = fold(rows)
    return folded


class Imagined(NamedTuple):
    """Means over the dreams of an update."""

    mean_return: Float[Array, ""]  # discounted, without the critic's value behind the horizon
    mean_length: Float[Array, ""]  # steps
    ended: Float[Array, ""]  # share of dreams that end within the horizon
    mean_value: Float[Array, ""]  # the critic where dreams begin


def describe_dream(dream: Dream, gamma: float) -> Imagined:
    """Average return, length, termination and initial value over the dreams that began."""
    begun = dream.valid[0]
    going = _still_going(dream)
    discount = gamma ** jnp.arange(len(going), dtype=jnp.float32)
    return Imagined(
        mean_return=masked_mean(jnp.sum(discount[:, None] * going * dream.reward, axis=0), begun),
        mean_length=masked_mean(jnp.sum(going, axis=0), begun),
        ended=masked_mean(1.0 - going[-1] * (1.0 - dream.ended[-1]), begun),
        mean_value=masked_mean(dream.value[0], begun),
    )
