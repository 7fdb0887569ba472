"""EnvPool environments as a Stable-Baselines3 ``VecEnv``."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from spi_plugins.algorithms.vec_envs.envpool_spec import pool_spec, to_space, xla_supported
from spi_plugins.algorithms.vec_envs.envpool_xla import XlaFunctions, XlaRows, make_xla_functions
from spi_plugins.algorithms.vec_envs.native import NativeVecEnv, RawStep, put_rows
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, split_infos
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import Observation

_BOOKKEEPING = ("env_id", "players")


class EnvPoolVecEnv(NativeVecEnv):
    """A raw EnvPool environment, steppable from Python and inside ``jit``.

    Where an episode ends, ``step`` makes EnvPool's own autoreset step for the environments that ended, and
    no others. So the same actions lead to the same episodes through ``step``, ``step_rows`` and compiled
    steps, and with Atari's ``episodic_life`` the game goes on after a lost life. (``pool.reset(ids)`` would
    begin a new game there, and an agent would never see a second life.)

    With Atari, ``infos[i]["episode"]`` holds the unclipped return of the whole game, and comes at the end of
    the game or at the time limit, not where a life is lost.

    float64 observations and actions are float32 here. The seed is fixed when the pool is made.

    Args:
        pool: from ``envpool.make(id, env_type="gymnasium", ...)`` with all environments in one batch.

    Attributes:
        pool: the raw environment.
        pool_spec: its spaces and conventions.

    Raises:
        TypeError: the object is not an EnvPool environment, or has dm_env's interface.
        EnvironmentNotSupportedError: a ``ValueError``; the pool is asynchronous, has several players or
            spaces that are not supported.
    """

    has_reset_rows = True

    def __init__(self, pool: Any) -> None:
        self.pool_spec = pool_spec(pool)
        self.pool = pool
        self._xla: XlaFunctions | None = None
        super().__init__(
            int(pool.config["num_envs"]), self.pool_spec.observation_space, self.pool_spec.action_space
        )
        self.metadata = dict(pool.metadata)

    def _begin(self) -> tuple[Observation, Infos]:
        if any(self._options):
            raise ValueError(f"EnvPool takes no options at reset, got {self._options}.")
        obs, info = self.pool.reset()
        return to_space(self.observation_space, obs), split_infos(info, self.num_envs, _BOOKKEEPING)

    def _advance(self, actions: NDArray[Any], valid: NDArray[np.bool_]) -> RawStep:
        self.send(actions)
        return self.receive(valid)

    def send(self, actions: NDArray[Any]) -> None:
        """Begin a raw step, which ``receive`` waits for; the caller keeps the statistics and the pending resets."""
        self.pool.send(self._check_actions(actions).astype(self.pool_spec.action_dtype, copy=False))

    def receive(self, valid: NDArray[np.bool_]) -> RawStep:
        """The step that ``send`` began; ``valid`` is false where the step before ended an episode."""
        obs, reward, terminated, truncated, info = self.pool.recv()
        if self._xla is not None and np.any((info["elapsed_step"] == 0) & valid):
            raise RuntimeError(
                "The pool was stepped without this adapter's knowledge: pass the rows of compiled steps to "
                "record(rows), then step from Python."
            )
        reward = np.where(valid, reward, np.float32(0))
        score, over = reward, terminated | truncated
        if self.pool_spec.counts_lives:
            score, over = info["reward"], truncated | (info["terminated"] > 0)
        infos = split_infos(info, self.num_envs, _BOOKKEEPING)
        return RawStep(
            to_space(self.observation_space, obs), reward, terminated, truncated, infos, score, over
        )

    def _restart(self, obs: Observation, ended: NDArray[np.bool_]) -> None:
        indices = np.flatnonzero(ended).astype(np.int32)
        # The actions of an autoreset step are ignored.
        shape = (len(indices), *(self.action_space.shape or ()))
        rows, _, _, _, info = self.pool.step(np.zeros(shape, self.pool_spec.action_dtype), indices)
        put_rows(obs, indices, to_space(self.observation_space, rows))
        for i, first in zip(indices, split_infos(info, len(indices), _BOOKKEEPING), strict=True):
            self.reset_infos[i] = first

    def _close(self) -> None:
        self.pool.close()

    @property
    def xla_supported(self) -> bool:
        """Whether ``xla_functions`` works: Linux, JAX on the CPU, and no 64-bit arrays (MuJoCo has them)."""
        return xla_supported(self.pool, self.pool_spec)

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Where the next row will be a reset, bool ``[B]``."""
        return self._ended.copy()

    def xla_functions(self) -> XlaFunctions:
        """Return pure functions that step the pool inside ``jit`` and ``scan``; the same ones at each call.

        They give the rows of ``step_rows`` bit for bit. Pass the rows of every compiled step to ``record``,
        in order, before stepping from Python.

        Raises:
            EnvironmentNotSupportedError: ``xla_supported`` is false.
        """
        if not self.xla_supported:
            width = "has" if self.pool_spec.is_64_bit else "has no"
            raise EnvironmentNotSupportedError(
                "EnvPool's XLA interface needs Linux, JAX on the CPU (JAX_PLATFORMS=cpu), and 32-bit "
                f"observations, actions and infos; this pool {width} 64-bit arrays."
            )
        if self._xla is None:
            self._xla = make_xla_functions(self)
        return self._xla

    def record(self, rows: XlaRows) -> list[Infos]:
        """Take compiled steps into the statistics and the bookkeeping of pending resets.

        Args:
            rows: stacked ``[T, B]`` as ``scan`` stacks them. ``obs`` is not read and may be ``None``. Waits
                until the arrays are computed.

        Returns:
            ``T`` lists of ``B`` infos with ``"TimeLimit.truncated"`` and, at the true end of an episode,
            ``"episode"``, as ``step_rows`` gives them.

        Raises:
            RuntimeError: the rows do not follow on from the last step that is known here.
        """
        terminated, truncated = np.asarray(rows.terminated), np.asarray(rows.truncated)
        valid, over = np.asarray(rows.valid), np.asarray(rows.game_over)
        score, reward = np.asarray(rows.raw_reward), np.asarray(rows.reward)
        if not np.array_equal(valid[0], ~self._ended):
            raise RuntimeError(
                "The rows do not follow on from the last recorded step: their handle was taken before other "
                "steps or a reset. Take a new handle() after those."
            )
        recorded = []
        for t in range(len(terminated)):
            infos: Infos = [{} for _ in range(self.num_envs)]
            self._record(
                RawStep(None, reward[t], terminated[t], truncated[t], infos, score[t], over[t]), valid[t]
            )
            recorded.append(infos)
        self._ended = terminated[-1] | truncated[-1]
        return recorded

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Return the seeds of the environments; they are fixed when the pool is made.

        Warns where another seed is asked for than the pool has.
        """
        config = self.pool.config
        seeds = list(config.get("env_seed") or range(config["seed"], config["seed"] + self.num_envs))
        if seed is not None and seed != seeds[0]:
            warnings.warn(
                f"EnvPool fixes seeds when a pool is made: this one keeps seed={seeds[0]}, and {seed} is not "
                f"used. Make it with seed={seed} instead.",
                stacklevel=2,
            )
        return seeds

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the pool, once for each environment."""
        return [getattr(self.pool, attr_name)] * len(self._select(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: a pool's environments cannot be changed after it is made."""
        raise AttributeError(f"An EnvPool environment cannot be changed; make the pool with {attr_name}=...")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call ``render`` for each chosen environment; EnvPool's environments have no other methods."""
        if method_name != "render":
            raise AttributeError(f"EnvPool's environments have no method {method_name!r}, only 'render'.")
        return [self.pool.render(i, *method_args, **method_kwargs) for i in self._select(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a frame of each environment, or ``None`` for each without ``render_mode="rgb_array"``."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return list(self.pool.render(np.arange(self.num_envs)))
