"""Fill a rollout: one fused step for environments in Python, one scan for those in JAX.

Both decide in ``decide_into`` with the same chain of keys, so the same environment and seed give the same actions on
either path.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.agents.on_policy import Act, Masks, OnPolicyAgent, OnPolicyState
from spi_plugins.sharding import apart
from spi_plugins.types import CostRows, Observation, Params, PyTree, Rollout


class EnvStep(NamedTuple):
    """One step of ``B`` environments inside ``jit``."""

    obs: Observation  # [B, ...] what the next decision sees
    final_obs: Observation | None  # [B, ...] the state reached before a same-step reset; None with reset rows
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]
    truncated: Bool[Array, " B"]
    valid: Bool[Array, " B"]  # false on the row of a next-step autoreset, which is not a transition
    info: PyTree  # arrays [B] for the host: episode statistics and the like
    costs: Float[Array, "B K"] | None = None  # those that the agent's constraint limits


Critic: TypeAlias = Callable[[Params, Observation], Array]
EnvFunction: TypeAlias = Callable[[PyTree, Array], tuple[PyTree, EnvStep]]


class Storage(NamedTuple):
    """What the device keeps of a rollout while Python steps the environments. Donated from call to call."""

    obs: Observation  # [T + 1, B, ...]
    action: Array  # [T, B, ...]
    log_prob: Float[Array, "T B"]
    value: Float[Array, "T+1 B"]
    t: Int[Array, ""]  # next row to fill
    key: Array
    noise: Float[Array, "B H A"] | None  # matrices of state-dependent noise
    action_masks: Bool[Array, "T B P"] | None = None
    cost_value: Float[Array, "T+1 B K"] | None = None  # with a constraint


def init_storage(
    agent: OnPolicyAgent, params: Params, obs: Observation, n_steps: int, key: Array, masks: Masks = None
) -> Storage:
    """Empty storage shaped after one batch of observations, and of action masks if there are any."""
    act = jax.eval_shape(agent.act, params, obs, key)
    draw = agent.policy.draw_noise

    def empty(like: jax.ShapeDtypeStruct | Array, rows: int) -> Array:
        return jnp.zeros((rows, *like.shape), like.dtype)

    return Storage(
        obs=jax.tree.map(lambda x: empty(x, n_steps + 1), obs),
        action=empty(act.action, n_steps),
        log_prob=empty(act.log_prob, n_steps),
        value=empty(act.value, n_steps + 1),
        t=jnp.zeros((), jnp.int32),
        key=key,
        noise=None if draw is None else draw(params["policy"], key, act.value.shape[0]),
        action_masks=None if masks is None else empty(masks, n_steps),
        cost_value=None if act.cost_value is None else empty(act.cost_value, n_steps + 1),
    )


def act_into(
    agent: OnPolicyAgent, params: Params, storage: Storage, obs: Observation, masks: Masks = None
) -> tuple[Storage, tuple[Array, Array, Array, Array]]:
    """Store the observations and decide; also return samples, actions of the environments, values, log-probabilities.

    Jit with ``storage`` donated: its rows are then written in place.
    """
    storage, act = decide_into(agent, params, _with_obs(storage, obs, storage.t), obs, masks)
    return storage, (act.action, act.env_action, act.value, act.log_prob)


def _with_obs(storage: Storage, obs: Observation, row: Array | int) -> Storage:
    return storage._replace(obs=jax.tree.map(lambda rows, x: rows.at[row].set(x), storage.obs, obs))


def decide_into(
    agent: OnPolicyAgent, params: Params, storage: Storage, obs: Observation, masks: Masks
) -> tuple[Storage, Act]:
    """Decide where row ``t`` holds the observation already."""
    key, act_key = jax.random.split(storage.key)
    t = storage.t
    noise = None if storage.noise is None else _present_noise(agent, params, storage.noise, t, act_key)
    act = agent.act(params, obs, act_key, noise, masks)
    rows, costs = storage.action_masks, storage.cost_value
    return Storage(
        obs=storage.obs,
        action=storage.action.at[t].set(act.action),
        log_prob=storage.log_prob.at[t].set(act.log_prob),
        value=storage.value.at[t].set(act.value),
        t=t + 1,
        key=key,
        noise=noise,
        action_masks=None if rows is None else rows.at[t].set(masks),
        cost_value=None if costs is None else costs.at[t].set(act.cost_value),
    ), act


def _present_noise(agent: OnPolicyAgent, params: Params, noise: Array, t: Array, key: Array) -> Array:
    """The same matrices, or new ones at the start of a rollout and every ``noise_steps`` steps."""
    draw = agent.policy.draw_noise
    assert draw is not None
    due = t % agent.noise_steps == 0 if agent.noise_steps > 0 else t == 0
    fresh: Array = jax.lax.cond(due, lambda: draw(params["policy"], key, len(noise)), lambda: noise)
    return fresh


def close_storage(agent: OnPolicyAgent, params: Params, storage: Storage, obs: Observation) -> Storage:
    """Add the observation after the last step and its value, and rewind."""
    return _with_last_value(agent, params, _with_obs(storage, obs, -1), obs)


def _with_last_value(agent: OnPolicyAgent, params: Params, storage: Storage, obs: Observation) -> Storage:
    value = storage.value.at[-1].set(agent.value(params, obs))
    if storage.cost_value is not None:
        assert agent.cost_value is not None
        last = agent.cost_value(params, obs)
        storage = storage._replace(cost_value=storage.cost_value.at[-1].set(last))
    return storage._replace(value=value, t=jnp.zeros((), jnp.int32))


class Runner(NamedTuple):
    """What a compiled iteration hands to the next. Donate it."""

    state: OnPolicyState
    env_state: PyTree
    obs: Observation  # [B, ...]


class Collected(NamedTuple):
    """What an update needs of a rollout, and what the host does."""

    runner: Runner  # with key and environments advanced
    rollout: Rollout  # with ``final_obs`` only if a world model reads it
    steps: EnvStep  # [T, B] arrays, without observations
    finite: Bool[Array, "T B"]  # whether the observation reached is, for the host to name the culprit


def _finite_rows(obs: Observation, lead: tuple[int, ...]) -> Array:
    """Whether each observation ``[*lead, ...]`` holds neither NaN nor infinity."""
    floats = [x for x in jax.tree.leaves(obs) if jnp.issubdtype(x.dtype, jnp.floating)]
    rows = [jnp.all(jnp.isfinite(x.reshape(*lead, -1)), axis=-1) for x in floats]
    return functools.reduce(jnp.logical_and, rows, jnp.ones(lead, bool))


def collect(
    agent: OnPolicyAgent,
    env_step: EnvFunction,
    n_steps: int,
    runner: Runner,
    action_masks: Callable[[PyTree], Array] | None = None,
) -> Collected:
    """``n_steps`` of every environment in one scan. Jit with ``runner`` donated.

    ``action_masks`` gives those of the environments' states, if they have any.
    """
    params = runner.state.params

    def bootstrap(step: EnvStep, critic: Critic, shape: tuple[int, ...]) -> Array | None:
        if step.final_obs is None:
            return None

        def own(params: Params, final_obs: Observation, truncated: Array) -> Array:
            values = jax.lax.cond(
                jnp.any(truncated),
                lambda final_obs: critic(params, final_obs),
                lambda _: jnp.zeros((len(truncated), *shape[1:])),
                final_obs,
            )
            return jnp.where(truncated.reshape(-1, *[1] * (len(shape) - 1)), values, 0.0)

        return apart(own, params, step.final_obs, step.truncated)

    def one_step(
        carry: tuple[Storage, PyTree, Observation], _: None
    ) -> tuple[tuple[Storage, PyTree, Observation], PyTree]:
        storage, env_state, obs = carry
        masks = None if action_masks is None else action_masks(env_state)
        storage, act = decide_into(agent, params, storage, obs, masks)
        env_state, step = env_step(env_state, act.env_action)
        storage = _with_obs(storage, step.obs, storage.t)
        kept = step._replace(obs=None, final_obs=step.final_obs if agent.world_model else None)
        finite = None if step.final_obs is None else _finite_rows(step.final_obs, step.reward.shape)
        final_value = bootstrap(step, agent.value, step.reward.shape)
        final_cost_value = None
        if agent.cost_value is not None:
            assert step.costs is not None
            final_cost_value = bootstrap(step, agent.cost_value, step.costs.shape)
        return (storage, env_state, step.obs), (kept, final_value, final_cost_value, finite)

    # The last observation is written inside the loop, too: XLA would copy the loop's result to write into it.
    masks = None if action_masks is None else action_masks(runner.env_state)
    storage = init_storage(agent, params, runner.obs, n_steps, runner.state.key, masks)
    storage = _with_obs(storage, runner.obs, 0)
    (storage, env_state, obs), (steps, final_value, final_cost_value, final_finite) = jax.lax.scan(
        one_step, (storage, runner.env_state, runner.obs), None, length=n_steps
    )
    storage = _with_last_value(agent, params, storage, obs)
    rollout = Rollout(
        obs=storage.obs,
        action=storage.action,
        log_prob=storage.log_prob,
        value=storage.value,
        reward=steps.reward,
        terminated=steps.terminated,
        truncated=steps.truncated,
        valid=steps.valid,
        final_obs=steps.final_obs,
        final_value=final_value,
        action_masks=storage.action_masks,
    )
    if storage.cost_value is not None:
        rollout = rollout._replace(costs=CostRows(steps.costs, storage.cost_value, final_cost_value))
    runner = Runner(runner.state._replace(key=storage.key), env_state, obs)
    finite = _finite_rows(jax.tree.map(lambda x: x[1:], rollout.obs), rollout.reward.shape)
    if final_finite is not None:
        finite &= final_finite
    return Collected(runner, rollout, steps._replace(final_obs=None), finite)
