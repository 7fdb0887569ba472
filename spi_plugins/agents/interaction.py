"""Steps of an agent that plans, in environments inside JAX, and the gradient steps that follow them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from spi_plugins import buffers
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.agents.rollout import EnvFunction, EnvStep
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.types import Observation, PyTree

# Streams of random numbers out of one key, apart from what ``split`` gives.
_ACT, _EXPLORE = 2**31, 2**31 + 1
# Gradient steps after which the key moves on; stepped from Python, they run as one program.
CHUNK = 50


def decide(
    agent: PlanningAgent,
    params: PyTree,
    obs: Observation,
    plan: PyTree,
    starts: Array,
    key: Array,
    count: Array,
) -> tuple[Array, PyTree, Float[Array, "M B"]]:
    """``agent.act`` at a count of time steps, with its reports stacked, sorted by name: one transfer instead of ten."""
    key = jax.random.fold_in(jax.random.fold_in(key, _ACT), count)
    action, plan, reports = agent.act(params, obs, plan, starts, key, deterministic=False)
    rows = [jnp.asarray(reports[name], jnp.float32) for name in sorted(reports)]
    return action, plan, jnp.stack(rows) if rows else jnp.zeros((0, len(starts)))


def explore(agent: PlanningAgent, n_envs: int, key: Array, count: Array) -> Shaped[Array, " B *S"]:
    """Uniform actions at a count of time steps, times the agent's ``random_scale``."""
    key = jax.random.fold_in(jax.random.fold_in(key, _EXPLORE), count)
    action = agent.world.head.uniform(n_envs, key)
    return action if agent.random_scale == 1.0 else agent.random_scale * action


class Carried(NamedTuple):
    """Everything that steps carry on. Donated from call to call."""

    buffer: Buffer
    env_state: PyTree
    obs: Observation  # [B, ...]
    plan: PyTree
    episode_start: Bool[Array, " B"]


class Taken(NamedTuple):
    """Steps for the host, ``[T, B]``; rows from the number that was asked for on mean nothing."""

    action: Shaped[Array, "T B *S"]  # the model's
    step: EnvStep  # without observations
    finite: Bool[Array, "T B"]  # the observation that the step reached
    reports: Float[Array, "T M B"]
    planned: Bool[Array, " T"]  # not explored


class Steps(NamedTuple):
    """Which steps to take, as traced integers."""

    n_steps: Any
    num_timesteps: Any  # before the first one
    learning_starts: Any


class World(NamedTuple):
    """What is stepped: the environments, and how a model's actions are executed."""

    step: EnvFunction
    execute: Callable[[Array], Array]


def interact(
    agent: PlanningAgent, world: World, state: SPOWLState, carried: Carried, steps: Steps, most: int
) -> tuple[Carried, Taken, Bool[Array, ""]]:
    """Take up to ``most`` steps and remember them; also say whether all that they brought was finite.

    From the first step on that was not, nothing is remembered.
    """

    def act(carried: Carried, count: Array) -> tuple[Array, PyTree, Array, Array]:
        inputs = state.params, carried.obs, carried.plan, carried.episode_start, state.key, count
        return *decide(agent, *inputs), jnp.ones((), bool)

    def draw(carried: Carried, count: Array) -> tuple[Array, PyTree, Array, Array]:
        like = jax.eval_shape(act, carried, count)
        action = explore(agent, len(carried.episode_start), state.key, count)
        return action, carried.plan, jnp.zeros(like[2].shape), jnp.zeros((), bool)

    def one(t: Array, carried: Carried, good: Array) -> tuple[Carried, Array, Taken]:
        n_envs = len(carried.episode_start)
        count = (steps.num_timesteps + t * n_envs).astype(jnp.uint32)
        action, plan, reports, planned = jax.lax.cond(
            count < steps.learning_starts.astype(jnp.uint32), draw, act, carried, count
        )
        env_state, step = world.step(carried.env_state, world.execute(action))
        finite = _finite_rows(step.final_obs, n_envs)
        cost, done = step.info["cost"], step.terminated | step.truncated
        if not agent.config.model.n_costs:
            cost = jnp.nan_to_num(cost)
        good &= jnp.all(finite & jnp.isfinite(step.reward) & jnp.isfinite(cost))
        everywhere, nothing = jnp.broadcast_to(good, (n_envs,)), jnp.zeros(n_envs)
        stored = action.reshape(n_envs, -1).astype(jnp.float32)
        slot = Slot(step.final_obs, stored, step.reward, cost, step.terminated, step.truncated, step.valid)
        buffer = buffers.add(carried.buffer, slot, everywhere)
        no = nothing.astype(bool)
        first = Slot(step.obs, jnp.zeros_like(stored), nothing, nothing, no, no, no)
        buffer = buffers.add(buffer, first, everywhere & done)
        taken = Taken(action, step._replace(obs=None, final_obs=None), finite, reports, planned)
        return Carried(buffer, env_state, step.obs, plan, done), good, taken

    def body(t: Array, carry: tuple[Carried, Array, Taken]) -> tuple[Carried, Array, Taken]:
        carried, good, rows = carry
        carried, good, row = one(t, carried, good)
        return carried, good, jax.tree.map(lambda rows, row: rows.at[t].set(row), rows, row)

    like = jax.eval_shape(one, jnp.int32(0), carried, jnp.ones((), bool))[2]
    rows = jax.tree.map(lambda x: jnp.zeros((most, *x.shape), x.dtype), like)
    carried, good, rows = jax.lax.fori_loop(0, steps.n_steps, body, (carried, jnp.ones((), bool), rows))
    return carried, rows, good


def _finite_rows(obs: Observation, n_envs: int) -> Bool[Array, " B"]:
    """Of which environments all numbers of an observation are finite."""
    finite = jnp.ones(n_envs, bool)
    for leaf in jax.tree.leaves(obs):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            finite &= jnp.all(jnp.isfinite(leaf.reshape(n_envs, -1)), axis=1)
    return finite


class Trained(NamedTuple):
    """Gradient steps that were taken, and their metrics."""

    n_updates: Int[Array, ""]
    tried: Int[Array, ""]  # those of a chunk that was not taken
    means: SPOWLMetrics  # over all steps
    last: SPOWLMetrics  # of the last chunk


def train(
    agent: PlanningAgent, state: SPOWLState, buffer: Buffer, n_updates: Array, learning_rate: Array
) -> tuple[SPOWLState, Trained]:
    """Take gradient steps in chunks, up to the first chunk whose results are not finite."""
    zero = SPOWLMetrics(*(jnp.zeros(()) for _ in SPOWLMetrics._fields))

    def body(i: Array, carry: tuple[SPOWLState, Trained, Array]) -> tuple[SPOWLState, Trained, Array]:
        state, trained, good = carry
        count = jnp.where(good, jnp.minimum(CHUNK, n_updates - i * CHUNK), 0)
        state, metrics = agent.update(state, buffer, count, learning_rate)
        share = count / jnp.maximum(n_updates, 1)
        means = jax.tree.map(lambda mean, x: mean + share * x, trained.means, metrics)
        last = jax.tree.map(lambda old, new: jnp.where(good, new, old), trained.last, metrics)
        good &= jnp.all(jnp.isfinite(jnp.stack(jax.tree.leaves(metrics))))
        taken, tried = (
            trained.n_updates + jnp.where(good, count, 0),
            trained.tried + jnp.where(good, 0, count),
        )
        return state, Trained(taken, tried, means, last), good

    start = state, Trained(jnp.int32(0), jnp.int32(0), zero, zero), jnp.ones((), bool)
    state, trained, _ = jax.lax.fori_loop(0, (n_updates + CHUNK - 1) // CHUNK, body, start)
    return state, trained
