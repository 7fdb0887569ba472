"""Two EnvPool environments as one, so that one is stepped while the actions of the other are chosen."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from spi_plugins.algorithms.vec_envs.envpool_vec_env import EnvPoolVecEnv
from spi_plugins.algorithms.vec_envs.native import NativeVecEnv, RawStep, Rows
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import Observation


class EnvPoolHalves(NativeVecEnv):
    """Two pools of equal size as one ``VecEnv``.

    For the same actions, episodes, infos and statistics are those of one pool with all environments and seeds. Our
    on-policy algorithms send one half's actions and choose the other's meanwhile. Any other user steps both at once.

    Args:
        first: the first half of the environments.
        second: the others, with the seeds that follow.

    Attributes:
        halves: the two.
        columns: where their environments are in a batch.

    Raises:
        EnvironmentNotSupportedError: a ``ValueError``; the two differ in size or spaces.
    """

    has_reset_rows = True

    def __init__(self, first: EnvPoolVecEnv, second: EnvPoolVecEnv) -> None:
        for name in ("num_envs", "observation_space", "action_space"):
            one, other = getattr(first, name), getattr(second, name)
            if one != other:
                raise EnvironmentNotSupportedError(
                    f"Halves must have the same {name}, got {one} and {other}."
                )
        self.halves = first, second
        n = first.num_envs
        self.columns = slice(0, n), slice(n, 2 * n)
        self._under_way = [False, False]
        super().__init__(2 * n, first.observation_space, first.action_space)
        self.metadata = first.metadata

    @property
    def is_under_way(self) -> bool:
        """Whether a half was sent actions, and not received: an interrupt came between the two."""
        return any(self._under_way)

    def send(self, half: int, actions: NDArray[Any]) -> None:
        """Begin a raw step of one half, with its actions ``[B / 2, ...]``.

        Raises:
            RuntimeError: the one before was not received.
        """
        if self._under_way[half]:
            raise RuntimeError("A step was interrupted before its results came: call reset().")
        self._under_way[half] = True
        self.halves[half].send(actions)

    def receive(self, half: int) -> RawStep:
        """Wait for the step that ``send`` began."""
        raw = self.halves[half].receive(~self._ended[self.columns[half]])
        self._under_way[half] = False
        return raw

    def rows(self, first: RawStep, second: RawStep, obs: Observation) -> Rows:
        """Both halves' part of a step, counted: what ``step_rows`` returns. ``obs`` are those of both."""
        both = _joined(first._replace(obs=None), second._replace(obs=None))
        return self._taken(both._replace(obs=obs), ~self._ended)

    def put(self, half: int, part: Observation, obs: Observation = None) -> Observation:
        """Write the observations of a half into those of both, by default new ones; return these."""
        if obs is None:
            obs = jax.tree.map(lambda x: np.empty((self.num_envs, *x.shape[1:]), x.dtype), part)
        jax.tree.map(lambda rows, x: rows.__setitem__(self.columns[half], x), obs, part)
        return obs

    def _begin(self) -> tuple[Observation, Infos]:
        if any(self._options):
            raise ValueError(f"EnvPool takes no options at reset, got {self._options}.")
        for i, under_way in enumerate(self._under_way):
            if under_way:
                self.receive(i)
        obs = [half.reset() for half in self.halves]
        return _concatenated(*obs), [info for half in self.halves for info in half.reset_infos]

    def _advance(self, actions: NDArray[Any], valid: NDArray[np.bool_]) -> RawStep:
        for half, columns in enumerate(self.columns):
            self.send(half, actions[columns])
        return _joined(self.receive(0), self.receive(1))

    def _restart(self, obs: Observation, ended: NDArray[np.bool_]) -> None:
        for half, columns in zip(self.halves, self.columns, strict=True):
            if ended[columns].any():
                half._restart(jax.tree.map(lambda rows, columns=columns: rows[columns], obs), ended[columns])
                self.reset_infos[columns] = half.reset_infos

    def _close(self) -> None:
        for half in self.halves:
            half.close()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """The seeds of the environments, which are fixed; see ``EnvPoolVecEnv.seed``."""
        return [*self.halves[0].seed(seed), *self.halves[1].seed()]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the pools, once for each environment."""
        values = [value for half in self.halves for value in half.get_attr(attr_name)]
        return [values[i] for i in self._select(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse, see ``EnvPoolVecEnv.set_attr``."""
        self.halves[0].set_attr(attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call ``render`` for each chosen environment; EnvPool's environments have no other methods."""
        n = self.num_envs // 2
        return [
            self.halves[i // n].env_method(method_name, *method_args, indices=i % n, **method_kwargs)[0]
            for i in self._select(indices)
        ]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a frame of each environment, or ``None`` for each without ``render_mode="rgb_array"``."""
        return [image for half in self.halves for image in half.get_images()]


def _concatenated(first: Observation, second: Observation) -> Any:
    return jax.tree.map(lambda one, other: np.concatenate([one, other]), first, second)


def _joined(first: RawStep, second: RawStep) -> RawStep:
    infos = first.infos + second.infos
    arrays: RawStep = _concatenated(first._replace(infos=[]), second._replace(infos=[]))
    return arrays._replace(infos=infos)
