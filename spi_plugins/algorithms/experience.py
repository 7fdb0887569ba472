"""Real steps for a world model: any policy in any environment, as replay buffers for fitting and checking."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import from_action, stored_action
from spi_plugins.algorithms.stepping import Stepped, advance, check_rows, to_device
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.checks import check_finite
from spi_plugins.spaces import action_spec
from spi_plugins.types import COST_KEY, Observation


class Predicts(Protocol):
    """Anything that acts: a Stable-Baselines3 model, or one of ours."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions ``[B, ...]`` for a batch of observations, and the state of a recurrent policy."""


class Gathered(NamedTuple):
    """The steps of a policy."""

    slots: Any  # a ``buffers.Slot`` of arrays ``[B, T, ...]`` on the host
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
        """All observations ``[S, ...]``, and which of them begin an episode."""
        mask = np.arange(self.slots.valid.shape[1])[None] < self.sizes[:, None]
        return jax.tree.map(lambda x: x[mask], self.slots.obs), ~np.asarray(self.slots.valid)[mask]


def gather(
    env: VecEnv,
    policy: Predicts | None,
    n_steps: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> Gathered:
    """Step all environments, ``n_steps`` in all and at most ``B - 1`` more.

    Args:
        env: reset at the start.
        policy: chooses the actions, stochastically; ``None`` for uniform actions.
        n_steps: environment steps.
        seed: of the environments and of uniform actions.
        on_progress: called with the steps so far.

    Raises:
        ValueError: an observation, reward or cost is not finite; the message names environment and time step.
    """
    space: Any = env.action_space
    env.seed(seed)
    space.seed(seed)
    obs, spec, n_envs = env.reset(), action_spec(space), env.num_envs
    rings = _Rings(n_envs, 2 * -(-n_steps // n_envs) + 1, math.prod(spec.shape))
    rings.begin(to_device(env.observation_space, obs), np.ones(n_envs, bool))
    returns, finished, has_costs = np.zeros(n_envs), list[float](), True
    state, starts = None, np.ones(n_envs, bool)
    for done in range(n_envs, n_steps + n_envs, n_envs):
        if policy is None:
            action = np.stack([space.sample() for _ in range(n_envs)])
        else:
            action, state = policy.predict(obs, state=state, episode_start=starts, deterministic=False)
        stepped = advance(env, action)
        reached = stepped.reached(env.observation_space)
        check_rows(reached, stepped.reward, done)
        has_costs &= all(COST_KEY in info for info in stepped.infos)
        cost = np.asarray([info.get(COST_KEY, 0.0) for info in stepped.infos], np.float32)
        check_finite(f"at time step {done}: the cost", cost)
        rings.add(stepped, reached, np.asarray(from_action(space, np.asarray(action))), cost)
        ended = stepped.done
        returns += stepped.reward
        finished += returns[ended].tolist()
        returns[ended] = 0.0
        if ended.any():
            rings.begin(stepped.next_obs, ended)
        obs, starts = stepped.raw_obs, ended
        if on_progress is not None:
            on_progress(min(done, n_steps))
    actions = rings.slots.action.reshape(-1, *spec.shape)
    stored = np.asarray(jax.jit(stored_action, static_argnums=0)(spec, actions))
    rings.slots.action[:] = stored.reshape(rings.slots.action.shape)
    slots: Any = rings.slots
    return Gathered(Slot(*slots), rings.sizes, has_costs, finished)


class _HostSlots(NamedTuple):
    """A ``buffers.Slot`` of writable NumPy arrays."""

    obs: Any
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    cost: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]


class _Rings:
    """Growing rows of slots, one for each environment; actions flat, in the units of their specification."""

    def __init__(self, n_envs: int, capacity: int, n_action: int):
        lead = (n_envs, capacity)
        reward, cost = (np.zeros(lead, np.float32) for _ in range(2))
        terminated, truncated, valid = (np.zeros(lead, bool) for _ in range(3))
        action = np.zeros((*lead, n_action), np.float32)
        self.slots = _HostSlots(None, action, reward, cost, terminated, truncated, valid)
        self.sizes = np.zeros(n_envs, np.int64)

    def begin(self, obs: Observation, rows: NDArray[np.bool_]) -> None:
        """Write the first observation of an episode in some rows."""
        if self.slots.obs is None:
            shape = self.slots.reward.shape
            empty = jax.tree.map(lambda x: np.zeros((*shape, *x.shape[1:]), x.dtype), obs)
            self.slots = self.slots._replace(obs=empty)
        self._write(rows, obs, {})

    def add(
        self, stepped: Stepped, reached: Observation, action: NDArray[Any], cost: NDArray[np.float32]
    ) -> None:
        """Write a step in all rows."""
        values = {"reward": stepped.reward, "cost": cost, "terminated": stepped.terminated,
                  "truncated": stepped.truncated, "valid": True, "action": action.reshape(len(cost), -1)}  # fmt: skip
        self._write(np.ones(len(cost), bool), reached, values)

    def _write(self, rows: NDArray[np.bool_], obs: Observation, values: dict[str, Any]) -> None:
        place = (np.flatnonzero(rows), self.sizes[rows])
        jax.tree.map(lambda ring, new: ring.__setitem__(place, new[rows]), self.slots.obs, obs)
        for name, value in values.items():
            getattr(self.slots, name)[place] = value if value is True else value[rows]
        self.sizes[rows] += 1
