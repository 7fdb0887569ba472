"""Environments that can be stepped inside ``jit``: functional ones, and envpool through its XLA interface."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spi_plugins.agents.rollout import EnvStep
from spi_plugins.algorithms.devices import Devices
from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv, XlaRows
from spi_plugins.envs import autoreset
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import COST_KEY, PyTree


class HostRows(NamedTuple):
    """An iteration's rows for callbacks and statistics."""

    reward: NDArray[np.float32]  # [T, B]
    done: NDArray[np.bool_]  # [T, B]
    infos: Callable[[int], list[dict[str, Any]]]  # by row
    reporting: list[NDArray[np.intp]]  # by row, the environments whose info holds an episode


class CompiledEnv(ABC):
    """An environment whose state ``step`` carries; ``params`` are traced and never donated.

    Attributes:
        repeatable: ``step`` is the same program in the next process, so that a cached compilation is reused.
        runs_chunks: nothing of the host enters between two iterations, and ``EnvStep.info`` has the episodes.
        action_masks: ``(params, state) -> bool [B, P]``, pure, if the environments have action masks.
        cost_names: what ``EnvStep.costs`` has to hold, by name; none for no costs.
    """

    vec_env: Any
    repeatable: bool = True
    runs_chunks: bool = False
    action_masks: Callable[[PyTree, PyTree], jax.Array] | None = None
    cost_names: tuple[str, ...] = ()
    state: PyTree

    @property
    @abstractmethod
    def params(self) -> PyTree:
        """What ``step`` reads besides the state, as it is now."""

    @abstractmethod
    def start(self, devices: Devices) -> None:
        """Copy the state from the ``VecEnv`` into arrays on ``devices`` that may be donated."""

    @abstractmethod
    def step(self, params: PyTree, state: PyTree, action: jax.Array) -> tuple[PyTree, EnvStep]:
        """One step of all environments, pure."""

    @abstractmethod
    def finish(self, state: PyTree) -> None:
        """Return the state after an iteration to the ``VecEnv``."""

    @abstractmethod
    def host_rows(self, steps: EnvStep) -> HostRows:
        """Translate an iteration's ``[T, B]`` arrays."""


def compiled_env(env: Any) -> CompiledEnv:
    """The compiled face of a ``VecEnv``.

    Raises:
        ValueError: it cannot be compiled; the message says why.
    """
    if isinstance(env, FunctionalVecEnv):
        return _FunctionalEnv(env)
    if isinstance(env, EnvPoolVecEnv):
        if not env.xla_supported:
            raise ValueError(
                "this pool has no XLA interface (it needs Linux, JAX on the CPU and 32-bit arrays)"
            )
        return _EnvPoolEnv(env)
    raise ValueError(
        f"only functional and envpool environments can be, and only unwrapped, not {type(env).__name__}"
    )


class _FunctionalEnv(CompiledEnv):
    runs_chunks = True

    def __init__(self, vec_env: FunctionalVecEnv):
        self.vec_env = vec_env
        self._devices: Devices | None = None
        if vec_env.functional.action_masks is not None:
            self.action_masks = functools.partial(autoreset.action_masks, vec_env.functional)
        self.state: PyTree = None

    @property
    def params(self) -> PyTree:
        devices, params = self._devices, self.vec_env.params
        return jax.device_put(params) if devices is None else devices.put(params, devices.whole)

    def start(self, devices: Devices) -> None:
        self._devices = devices
        self.state = devices.put(jax.tree.map(jnp.copy, self.vec_env.get_state()), devices.divided)

    def finish(self, state: PyTree) -> None:
        self.state = state
        self.vec_env.adopt_state(state)

    def step(self, params: PyTree, state: PyTree, action: jax.Array) -> tuple[PyTree, EnvStep]:
        state, out = autoreset.step(self.vec_env.functional, params, state, action)
        return state, EnvStep(
            obs=out.obs,
            final_obs=out.final_obs,
            reward=out.reward,
            terminated=out.terminated,
            truncated=out.truncated,
            valid=jnp.ones_like(out.terminated),
            info={
                "cost": out.cost,
                "episode": {"r": out.episode_return, "l": out.episode_length, "c": out.episode_cost},
            },
            costs=self._costs({**out.info, COST_KEY: out.cost}),
        )

    def _costs(self, infos: dict[str, jax.Array]) -> jax.Array | None:
        if not self.cost_names:
            return None
        unknown = [name for name in self.cost_names if name not in infos]
        if unknown:
            raise EnvironmentNotSupportedError(
                f"cost_limit names the cost {unknown[0]!r}, but infos of {self.vec_env.functional.name} have only "
                f"{', '.join(sorted(infos))}."
            )
        return jnp.stack([infos[name] for name in self.cost_names], axis=-1)

    def host_rows(self, steps: EnvStep) -> HostRows:
        reward, truncated, cost = (np.asarray(x) for x in (steps.reward, steps.truncated, steps.info["cost"]))
        done = np.asarray(steps.terminated) | truncated
        episode = {key: np.asarray(value) for key, value in steps.info["episode"].items()}

        def infos(t: int) -> list[dict[str, Any]]:
            pairs = zip(cost[t].tolist(), truncated[t].tolist(), strict=True)
            rows: list[dict[str, Any]] = [{"cost": c, "TimeLimit.truncated": limited} for c, limited in pairs]
            for i in np.flatnonzero(done[t]):
                rows[i]["episode"] = {key: value[t, i].item() for key, value in episode.items()}
            return rows

        reporting = [np.flatnonzero(row) for row in done]
        return HostRows(reward, done, infos, reporting)


class _EnvPoolEnv(CompiledEnv):
    repeatable = False  # the address of the pool is compiled in

    def __init__(self, vec_env: EnvPoolVecEnv):
        self.vec_env = vec_env
        self.functions = vec_env.xla_functions()
        self.state: PyTree = None

    @property
    def params(self) -> PyTree:
        return ()

    def start(self, devices: Devices) -> None:
        self.state = jax.device_put(self.functions.handle(), devices.first)

    def finish(self, state: PyTree) -> None:
        self.state = state

    def step(self, params: PyTree, state: PyTree, action: jax.Array) -> tuple[PyTree, EnvStep]:
        state, rows = self.functions.step(state, action)
        return state, EnvStep(
            obs=rows.obs,
            final_obs=None,
            reward=rows.reward,
            terminated=rows.terminated,
            truncated=rows.truncated,
            valid=rows.valid,
            info={"raw_reward": rows.raw_reward, "game_over": rows.game_over},
        )

    def host_rows(self, steps: EnvStep) -> HostRows:
        rows = XlaRows(None, steps.reward, steps.terminated, steps.truncated, steps.valid, **steps.info)
        infos = self.vec_env.record(rows)
        reporting = [
            np.asarray([i for i, info in enumerate(row) if "episode" in info], np.intp) for row in infos
        ]
        done = np.asarray(steps.terminated) | np.asarray(steps.truncated)
        return HostRows(np.asarray(steps.reward), done, infos.__getitem__, reporting)
