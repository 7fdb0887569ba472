"""The two objectives of SPOWL: the world model's, and the policy's with the augmented Lagrangian of Eq. 10."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.agents.planning import SPOWLState
from spi_plugins.agents.spowl.config import Aggregation, SPOWLConfig
from spi_plugins.buffers import Windows
from spi_plugins.losses.lagrangian import augmented_lagrangian
from spi_plugins.losses.tdmpc import consistency, imbalance_weights, over_window, td_target, termination_loss
from spi_plugins.planners.estimate import draw_heads
from spi_plugins.returns import masked_mean
from spi_plugins.sharding import divided, in_use, whole
from spi_plugins.types import Params
from spi_plugins.world_models.tdmpc import TDMPC

_AGGREGATE: dict[str, Callable[..., Array]] = {"mean": jnp.mean, "min": jnp.min, "max": jnp.max}


class Targets(NamedTuple):
    """Constants of a gradient step, from the parameters before it."""

    z: Float[Array, "H B Z"]  # encoded obs[1:]
    value: Float[Array, "H B"]
    cost_value: Float[Array, "H B"]


class SPOWLParts(NamedTuple):
    """What the objectives are made of."""

    config: SPOWLConfig
    world: TDMPC


def aggregate(kind: Aggregation, heads: Float[Array, " E *s"]) -> Float[Array, "*s"]:
    """Combine the values of the heads."""
    return _AGGREGATE[kind](heads, axis=0)


def _rows(x: Array) -> Array:
    """Make one axis of time and batch. It is what several devices divide, in the order of a single one."""
    return divided(whole(x).reshape(-1, *x.shape[2:]))


def _unfolded(x: Array, shape: tuple[int, ...]) -> Array:
    """Two axes again of what networks made of ``_rows``."""
    return whole(x).reshape(*shape, *x.shape[1:])


def targets_of(parts: SPOWLParts, params: Params, slow: Params, windows: Windows, key: Array) -> Targets:
    """Targets of a batch: the least of two slow critics, and the aggregate of the slow cost critics.

    ``slow`` is an ensemble of ``TDMPC.critics_of``. The key is for the policy's actions and the pair of critics.
    """
    config, world = parts
    action_key, pair_key = jax.random.split(key)
    shape = windows.reward.shape
    z = world.model.encode(params, jax.tree.map(lambda x: _rows(x[1:]), windows.obs))
    action = world.act(params, z, action_key)[0]
    pair = draw_heads(pair_key, world.config.n_values)
    values, costs = world.critics(slow, z, action, pair)
    next_value = _unfolded(jnp.min(values, axis=0), shape)
    value = td_target(windows.reward, windows.terminated, next_value, world.config.gamma)
    cost_value = jnp.zeros(shape)
    if world.config.n_costs:
        next_cost = _unfolded(aggregate(config.cost_value_target, costs), shape)
        cost_value = td_target(windows.cost, windows.terminated, next_cost, world.config.cost_gamma)
    return Targets(_unfolded(z, shape), value, cost_value)


def world_model_objective(
    params: Params, parts: SPOWLParts, windows: Windows, targets: Targets, key: Array
) -> tuple[Float[Array, ""], tuple[dict[str, Array], Float[Array, "L B Z"]]]:
    """The weighted sum of the model's losses; then each of them, unweighted, and the latents of the windows."""
    config, world = parts
    shape = windows.reward.shape
    first_obs = divided(jax.tree.map(lambda x: x[0], windows.obs))
    z = whole(world.rollout(params, first_obs, *divided((windows.action, windows.valid, targets.z), axis=1)))
    # All steps at once: the heads are most of the work, and larger products run faster.
    logits = world.heads(params, _rows(z[:-1]), _rows(windows.action), key)

    def loss(logits: Array, target: Array, weights: Array | None = None) -> Float[Array, ""]:
        """Cross-entropy over windows, averaged over the members of an ensemble; 0 without such a head."""
        if not len(logits):
            return jnp.zeros(())
        # Rows that are divided stay folded until they are numbers.
        rows = logits.reshape(-1, *(target.size,) if in_use() else shape, logits.shape[-1])
        target = jnp.broadcast_to(divided(whole(target).reshape(rows.shape[1:-1])), rows.shape[:-1])
        entropies = whole(jnp.mean(world.bins.cross_entropy(rows, target), axis=0)).reshape(shape)
        weighted = entropies if weights is None else entropies * weights
        return over_window(weighted, windows.valid, config.rho)

    entries = z.shape[-1] if config.official_consistency else 1
    # A step that is not valid has the target there, and error 0.
    error = consistency(z[1:], targets.z)
    weights = imbalance_weights(windows.cost, config.minimal_cost, config.cost_weight)
    losses = {
        "consistency_loss": over_window(error, windows.valid, config.rho, entries),
        "reward_loss": loss(logits.reward, windows.reward),
        "cost_loss": loss(logits.cost, windows.cost, weights),
        "value_loss": loss(logits.value, targets.value),
        "cost_value_loss": loss(logits.cost_value, targets.cost_value),
        "decoder_loss": _decoder_loss(params, world, windows, z),
        "termination_loss": _termination_loss(params, world, windows, z),
    }
    total = (
        config.consistency_coef * losses["consistency_loss"]
        + config.reward_coef * losses["reward_loss"]
        + config.cost_coef * losses["cost_loss"]
        + config.value_coef * losses["value_loss"]
        + config.cost_value_coef * losses["cost_value_loss"]
        + config.decoder_coef * losses["decoder_loss"]
        + config.termination_coef * losses["termination_loss"]
    )
    return total, (losses, z)


def _decoder_loss(params: Params, world: TDMPC, windows: Windows, z: Array) -> Float[Array, ""]:
    if world.decode is None or world.decoded_of is None:
        return jnp.zeros(())
    return jnp.mean((world.decode(params, _rows(z)) - world.decoded_of(_rows(windows.obs))) ** 2)


def _termination_loss(params: Params, world: TDMPC, windows: Windows, z: Array) -> Float[Array, ""]:
    if not world.config.episodic:
        return jnp.zeros(())
    logits = _unfolded(world.termination(params, _rows(z[1:])), windows.terminated.shape)
    return termination_loss(logits, windows.terminated, windows.valid)


def policy_objective(
    policy: Params,
    parts: SPOWLParts,
    model: Params,
    state: SPOWLState,
    z: Float[Array, "L B Z"],
    done: Bool[Array, "L B"],
    key: Array,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Minus scaled values and entropy, plus the augmented Lagrangian of the cost values (Eq. 10); and its parts.

    ``model`` has the model's parameters after this step's change, ``state`` is that before the step. Where ``done``,
    the latent is the last of its episode, and no action is taken. The key is for actions, pair of critics and dropout.
    """
    config, world = parts
    action_key, pair_key, dropout_key = jax.random.split(key, 3)
    shape = z.shape[:2]
    action, log_prob = world.act({"policy": policy}, _rows(z), action_key)
    pair = draw_heads(pair_key, world.config.n_values)
    value, cost_value = world.critics(world.critics_of(model), _rows(z), action, pair, dropout_key)
    q = _unfolded(jnp.mean(value, axis=0), shape)
    scale = _follow(state.scale, q[0], config)
    valid = jnp.ones(shape, bool) if config.official_boundaries else ~done
    entropy_term = config.ent_coef * _unfolded(log_prob, shape)
    loss = over_window(entropy_term - q / scale, valid, config.rho)
    gap = psi = jnp.zeros(())
    if config.uses_lagrangian:
        costs = _unfolded(aggregate(config.lagrangian_cost, cost_value), shape)
        gap = masked_mean(costs - config.cost_limit, valid)
        psi = augmented_lagrangian(gap, state.multipliers)
    metrics = {"policy_loss": loss, "entropy": -jnp.mean(log_prob)}
    return loss + psi, {**metrics, "lagrangian": psi, "cost_gap": gap, "scale": scale}


def _follow(scale: Float[Array, ""], q: Float[Array, " B"], config: SPOWLConfig) -> Float[Array, ""]:
    """Update the running range between the 5th and the 95th percentile, at least 1."""
    low, high = jnp.percentile(q, jnp.array([5.0, 95.0]))
    new = scale + config.scale_tau * (jnp.maximum(high - low, 1.0) - scale)
    return new if config.official_scale else jax.lax.stop_gradient(new)
