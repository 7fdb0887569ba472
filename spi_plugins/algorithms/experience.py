"""Real steps for a world model: any policy in any environment, as replay buffers for fitting and checking."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import buffers, host_buffers
from spi_plugins.actions import from_action, scale_action, stored_action, stored_size
from spi_plugins.algorithms.action_masks import current_masks, offers_masks, random_allowed, with_masks
from spi_plugins.algorithms.devices import check_memory
from spi_plugins.algorithms.stepping import advance, check_observations, check_step
from spi_plugins.algorithms.vec_envs.vector_infos import require_cost
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.checks import check_finite
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.spaces import action_spec, observation_spec, to_device
from spi_plugins.types import COST_KEY, Observation


class Predicts(Protocol):
    """Anything that acts: a Stable-Baselines3 model, or one of ours."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions ``[B, ...]`` for a batch of observations, and the state of a recurrent policy."""


class Gathered(NamedTuple):
    """The steps of a policy."""

    slots: Slot  # arrays ``[B, T, ...]`` on the host
    sizes: NDArray[np.int64]  # slots of each environment that hold something, ``[B]``
    has_costs: bool  # whether every step reported a cost
    episode_returns: list[float]  # of the finished episodes

    def buffers(self, held_out: float) -> tuple[Buffer, Buffer]:
        """The first part of each environment's steps for fitting, and the last, a share of ``held_out``."""
        ends = np.round(self.sizes * (1.0 - held_out)).astype(int)
        return self._buffer(np.zeros_like(ends), ends), self._buffer(ends, self.sizes)

    def _buffer(self, begin: NDArray[Any], end: NDArray[Any]) -> Buffer:
        sizes = end - begin
        capacity = max(int(sizes.max()), 1)

        def ring(rows: NDArray[Any]) -> jax.Array:
            cut = np.zeros((len(rows), capacity, *rows.shape[2:]), rows.dtype)
            for row, first, size, out in zip(rows, begin, sizes, cut, strict=True):
                out[:size] = row[first : first + size]
            return jnp.asarray(cut)

        slots: Slot = jax.tree.map(ring, self.slots)
        counts = jnp.asarray(sizes, jnp.int32)
        return Buffer(slots, counts % capacity, counts)

    def observations(self) -> tuple[Observation, NDArray[np.bool_]]:
        """All observations ``[S, ...]`` but terminal ones, and which of them begin an episode."""
        filled = np.arange(self.slots.valid.shape[1])[None] < self.sizes[:, None]
        mask = filled & ~np.asarray(self.slots.terminated)
        return jax.tree.map(lambda x: x[mask], self.slots.obs), ~np.asarray(self.slots.valid)[mask]


def gather(
    env: VecEnv,
    policy: Predicts | None,
    n_steps: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> Gathered:
    """Step all environments, ``n_steps`` in all and at most ``B - 1`` more, from a reset on.

    The policy chooses actions stochastically; without one they are uniform. If the environments have action masks, both
    keep to them. ``on_progress`` gets the steps so far.

    Raises:
        ValueError: an observation, reward or cost is not finite; the message names environment and time step.
    """
    space: Any = env.action_space
    env.seed(seed)
    space.seed(seed)
    obs, spec, n_envs = env.reset(), action_spec(space), env.num_envs
    first_obs = to_device(env.observation_space, obs)
    check_observations(first_obs, 0)
    ring = empty_ring(env.observation_space, space, n_envs, 2 * -(-n_steps // n_envs) + 1)
    blank, everywhere = jax.tree.map(lambda x: x[:, 0].copy(), ring.slots), np.ones(n_envs, bool)
    host_buffers.add(ring, blank._replace(obs=first_obs), everywhere)
    returns, finished, has_costs = np.zeros(n_envs), list[float](), True
    state, starts = None, everywhere.copy()
    masked = policy is None and offers_masks(env)
    actor, rng = None if policy is None else with_masks(policy, env), np.random.default_rng(seed)
    for done in range(n_envs, n_steps + n_envs, n_envs):
        if masked:
            action = random_allowed(space, current_masks(env, done - n_envs), rng)
        elif actor is None:
            action = _uniform_actions(space, n_envs)
        else:
            action, state = actor.predict(obs, state=state, episode_start=starts, deterministic=False)
        stepped = advance(env, action)
        reached = stepped.reached(env.observation_space)
        check_step(stepped, reached, done)
        has_costs &= all(COST_KEY in info for info in stepped.infos)
        infos = stepped.infos
        costs = [require_cost(infos, i, done) if COST_KEY in info else 0.0 for i, info in enumerate(infos)]
        cost = np.asarray(costs, np.float32)
        check_finite(f"at time step {done}: the cost", cost)
        taken = from_action(space, np.asarray(action)).reshape(n_envs, -1)
        fields: Any = reached, taken, stepped.reward, cost, stepped.terminated, stepped.truncated, everywhere
        host_buffers.add(ring, Slot(*fields), everywhere)
        ended = stepped.done
        returns += stepped.reward
        finished += returns[ended].tolist()
        returns[ended] = 0.0
        if ended.any():
            host_buffers.add(ring, blank._replace(obs=stepped.next_obs), ended)
        obs, starts = stepped.raw_obs, ended
        if on_progress is not None:
            on_progress(min(done, n_steps))
    actions: Any = ring.slots.action
    stored = jax.jit(stored_action, static_argnums=0)(spec, actions.reshape(-1, *spec.shape))
    actions[:] = np.asarray(stored).reshape(actions.shape)
    return Gathered(ring.slots, ring.size, has_costs, finished)


def _uniform_actions(space: Any, n_envs: int) -> NDArray[Any]:
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        with np.errstate(over="ignore"):
            overflows = not np.isfinite(space.high - space.low).all()
        if overflows:  # in ``sample``, too: it draws between the bounds
            drawn = space.np_random.uniform(-1.0, 1.0, (n_envs, *space.shape))
            return scale_action(space, drawn.reshape(n_envs, -1))
    return np.stack([space.sample() for _ in range(n_envs)])


def empty_ring(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], n_envs: int, capacity: int
) -> HostBuffer:
    """A ring in memory, whose actions are flat and in the units of their specification.

    Raises:
        ValueError: it does not fit.
    """
    observations, width = observation_spec(observation_space), stored_size(action_spec(action_space))
    like = jax.eval_shape(lambda: buffers.init(observations, width, n_envs, capacity)).slots
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(like))
    check_memory(f"Room for {capacity} steps of {n_envs} environments", size, jax.devices("cpu")[0])
    position, filled = np.zeros((2, n_envs), np.int64)
    return HostBuffer(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like), position, filled)
