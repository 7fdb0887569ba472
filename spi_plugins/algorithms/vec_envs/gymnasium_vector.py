"""Gymnasium's ``VectorEnv`` as a Stable-Baselines3 ``VecEnv``, in the three autoreset modes."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from spi_plugins.algorithms.vec_envs.envpool_spec import is_envpool
from spi_plugins.algorithms.vec_envs.last_observation import last_observations_kept
from spi_plugins.algorithms.vec_envs.native import NativeVecEnv, RawStep, put_rows, take_rows, to_host
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, raw_rewards, split_infos
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.spaces import flat_observation
from spi_plugins.types import Observation


class GymVectorEnvAdapter(NativeVecEnv):
    """A ``gymnasium.vector.VectorEnv``, wrapped or not, with correct terminal observations.

    * ``NEXT_STEP``: ``step_rows`` works with every environment. ``step`` resets the environments that ended,
      and only those, by ``reset(options={"reset_mask": mask})``. ``SyncVectorEnv``, ``AsyncVectorEnv`` and
      any class with ``honours_reset_mask = True`` know that option; the others would reset everything, so
      ``step`` refuses them, unless the adapter was made ``for_step_rows``.
    * ``SAME_STEP``: terminal observations and infos come from ``final_obs`` and ``final_info``.
    * ``DISABLED``: the adapter resets by the mask, as this mode requires.

    If wrappers shape the reward and report the original one in ``infos["reward_raw"]``, as those of
    ``spi_wrappers`` do, ``infos[i]["episode"]["r"]`` is the sum of the original rewards.

    ``seed`` takes effect at the next ``reset``, as does ``set_options``, with one dict for all environments.

    Args:
        env: the vector environment; ``metadata["autoreset_mode"]`` must name its mode.
        for_step_rows: whoever trains uses ``step_rows``. ``step`` then also works with environments that cannot reset
            alone, and shows their resets as steps with reward 0. That is right for ``evaluate_policy``, which reads
            ``infos[i]["episode"]``, but not for Stable-Baselines3's training, which would learn from them.

    Attributes:
        env: the vector environment.

    Raises:
        EnvironmentNotSupportedError: a ``ValueError``; the mode is not declared, a space is not supported, or
            the environment would lose transitions (``AsyncVectorEnv`` in mode ``NEXT_STEP`` with
            ``shared_memory=False``).
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, for_step_rows: bool = False) -> None:
        self.env = env
        self.base = env.unwrapped
        self.mode = _autoreset_mode(env)
        self.has_reset_rows = self.mode is AutoresetMode.NEXT_STEP
        self.shows_resets = for_step_rows and self.has_reset_rows and not _honours_reset_mask(self.base)
        self._subs: Sequence[gym.Env[Any, Any]] | None = (
            self.base.envs if isinstance(self.base, SyncVectorEnv) else None
        )
        if self.has_reset_rows and isinstance(self.base, AsyncVectorEnv) and not self.base.shared_memory:
            raise EnvironmentNotSupportedError(
                "AsyncVectorEnv with shared_memory=False and AutoresetMode.NEXT_STEP resets environments "
                "once more after reset(), because its workers keep the autoreset flag. Use "
                "shared_memory=True or autoreset_mode=AutoresetMode.SAME_STEP."
            )
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = dict(env.metadata)

    @property
    def spec(self) -> Any:
        """The environment's ``EnvSpec``, or ``None``."""
        return self.env.spec

    def _begin(self) -> tuple[Observation, Infos]:
        # seed() made consecutive seeds, as a VectorEnv makes them from the first one.
        # A pool keeps the seed that it was made with.
        seed = None if is_envpool(self.base) else self._seeds[0]
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("A VectorEnv takes one options dict for all environments, got different ones.")
        obs, infos = self.env.reset(seed=seed, options=dict(options) or None)
        return to_host(self.observation_space, obs), split_infos(infos, self.num_envs)

    def _advance(self, actions: NDArray[Any], valid: NDArray[np.bool_]) -> RawStep:
        actions = actions.astype(self.action_space.dtype, copy=False)
        resets = self.mode is AutoresetMode.SAME_STEP and self._subs is not None
        with last_observations_kept(self.base) if resets else contextlib.nullcontext():
            batch, reward, terminated, truncated, infos = self.env.step(actions)
        obs = to_host(self.observation_space, batch)
        reward = np.where(valid, np.asarray(reward, np.float32), np.float32(0))
        terminated, truncated = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        done = terminated | truncated
        if self.mode is AutoresetMode.SAME_STEP and done.any():
            split = self._take_final(obs, infos, done)
        else:
            split = split_infos(infos, self.num_envs)
        return RawStep(
            obs, reward, terminated, truncated, split, raw_rewards(infos, split, reward), episode_over=done
        )

    def _take_final(self, obs: Observation, infos: dict[str, Any], done: NDArray[np.bool_]) -> Infos:
        """Put last observations into ``obs``; keep the first ones of the next episodes for ``_restart``."""
        if infos.get("final_obs") is None:
            raise EnvironmentNotSupportedError(
                f"{self.env} declares AutoresetMode.SAME_STEP but returned no infos['final_obs'] where "
                "an episode ended, so the last observation is lost."
            )
        split = split_infos(infos, self.num_envs, skip=("final_obs", "final_info"))
        final_infos = split_infos(infos.get("final_info", {}), self.num_envs)
        self._next_obs = take_rows(obs, done)
        for i in np.flatnonzero(done).tolist():
            self.reset_infos[i] = split[i]
            if "final_info" in infos:
                split[i] = final_infos[i]
            put_rows(obs, i, flat_observation(_final_row(infos["final_obs"], i)))
        return split

    def _restart(self, obs: Observation, ended: NDArray[np.bool_]) -> None:
        if self.mode is AutoresetMode.SAME_STEP:
            put_rows(obs, ended, self._next_obs)
            return
        # A fresh dict and mask, because environments and wrappers pop the key.
        batch, infos = self.env.reset(options={"reset_mask": ended.copy()})
        rows = to_host(self.observation_space, batch)
        indices = np.flatnonzero(ended).tolist()
        count = len(next(iter(rows.values())) if isinstance(rows, dict) else rows)
        split = split_infos(infos, count)
        if count == self.num_envs:
            rows = take_rows(rows, ended)
            split = [split[i] for i in indices]
        # Otherwise the rows of the mask came alone, as EnvPool gives them.
        put_rows(obs, ended, rows)
        for i, info in zip(indices, split, strict=True):
            self.reset_infos[i] = info

    def _check_restart(self) -> None:
        if self.has_reset_rows and not _honours_reset_mask(self.base):
            name = type(self.base).__name__
            raise EnvironmentNotSupportedError(
                f"step() has to reset the environments that ended, and only those, but {name} is not known "
                "to honour reset(options={'reset_mask': mask}) and may reset all. Make it with "
                "gymnasium.make_vec(id, n, vectorization_mode='sync') or with AutoresetMode.SAME_STEP; or "
                f"set {name}.honours_reset_mask = True if that is true. step_rows() works as it is, and so does "
                "the evaluate_policy of spi_integrations.stable_baselines3 with the environment itself."
            )

    def _close(self) -> None:
        self.env.close()

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return true for ``Monitor``; look for other wrappers in sub-environments of this process."""
        chosen = self._select(indices)
        wrapped = super().env_is_wrapped(wrapper_class, indices)
        if self._subs is None:
            return wrapped
        return [w or is_wrapped(self._subs[i], wrapper_class) for w, i in zip(wrapped, chosen, strict=True)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each sub-environment, or the vector environment's own, once for each."""
        chosen = self._select(indices)
        if (layer := self._wrapper_with(attr_name)) is not None:
            return [getattr(layer, attr_name)] * len(chosen)
        if isinstance(self.base, (SyncVectorEnv, AsyncVectorEnv)):
            # Asked first: a worker process of AsyncVectorEnv does not survive an AttributeError.
            if not all(self.base.call("has_wrapper_attr", attr_name)):
                raise AttributeError(f"The sub-environments of {self.env} have no attribute {attr_name!r}.")
            values = self.base.get_attr(attr_name)
            return [values[i] for i in chosen]
        return [getattr(self.base, attr_name)] * len(chosen)

    def has_attr(self, attr_name: str) -> bool:
        """Whether all sub-environments, or the vector environment itself, have an attribute."""
        if isinstance(self.base, (SyncVectorEnv, AsyncVectorEnv)) and self._wrapper_with(attr_name) is None:
            # Not get_attr, because Gymnasium's calls the methods that it finds.
            return all(self.base.call("has_wrapper_attr", attr_name))
        return super().has_attr(attr_name)

    def _wrapper_with(self, attr_name: str) -> VectorWrapper[Any, Any, Any, Any, Any] | None:
        """The outermost wrapper with an attribute of its own."""
        for layer in _wrappers(self.env):
            own = hasattr(type(layer), attr_name) and not hasattr(VectorWrapper, attr_name)
            if own or attr_name in vars(layer):
                return layer
        return None

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute in the sub-environments, or on the vector environment where there are none."""
        if self._subs is not None:
            for i in self._select(indices):
                self._subs[i].set_wrapper_attr(attr_name, value)
            return
        self._check_all(indices, f"set_attr({attr_name!r})")
        if isinstance(self.base, AsyncVectorEnv):
            self.base.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(self.base, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each chosen sub-environment and return the results.

        ``action_masks`` may also be a method of the vector environment, for all at once. Where the next step is a
        reset, which ignores its action, the mask allows every one.
        """
        if method_name == "action_masks" and (vector := self._vector_with_masks()) is not None:
            masks = vector.action_masks()
            results = [masks[i] for i in self._select(indices)]
        else:
            results = self._call(method_name, *method_args, indices=indices, **method_kwargs)
        if method_name == "action_masks":
            pairs = zip(self._select(indices), results, strict=True)
            results = [np.ones_like(mask) if self._ended[i] else mask for i, mask in pairs]
        return results

    def _vector_with_masks(self) -> Any:
        """The vector environment or wrapper that has the masks of all, if it is not the sub-environments."""
        several = isinstance(self.base, (SyncVectorEnv, AsyncVectorEnv))
        return self._wrapper_with("action_masks") or (None if several else self.base)

    def _call(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        if self._subs is not None:
            methods = [self._subs[i].get_wrapper_attr(method_name) for i in self._select(indices)]
            return [method(*method_args, **method_kwargs) for method in methods]
        if not isinstance(self.base, AsyncVectorEnv):
            raise AttributeError(
                f"{type(self.base).__name__} has no sub-environments with a method {method_name!r}; "
                "the vector environment itself is the attribute env of this adapter."
            )
        self._check_all(indices, f"env_method({method_name!r})")
        if not all(self.base.call("has_wrapper_attr", method_name)):
            raise AttributeError(f"The sub-environments of {self.env} have no method {method_name!r}.")
        return list(self.base.call(method_name, *method_args, **method_kwargs))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a frame of each environment, or ``None`` for each without ``render_mode="rgb_array"``."""
        frames = self.env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else [np.asarray(frame) for frame in frames]

    def _check_all(self, indices: VecEnvIndices, what: str) -> None:
        if sorted(self._select(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"{what} reaches all environments of {type(self.base).__name__} at once, got {indices=}."
            )

    def _name(self) -> str:
        return str(self.env)


def _autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = (env.metadata or {}).get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise EnvironmentNotSupportedError(
            f"{env} does not say how it resets: metadata['autoreset_mode'] is {mode!r}. Set it to "
            "gymnasium.vector.AutoresetMode.NEXT_STEP, SAME_STEP or DISABLED, whichever is true."
        )
    return mode


def _honours_reset_mask(base: VectorEnv[Any, Any, Any]) -> bool:
    if is_envpool(base):
        # With episodic_life the mask would start a new game where only a life was lost.
        return not base.config.get("episodic_life", False)  # type: ignore[attr-defined]
    return isinstance(base, (SyncVectorEnv, AsyncVectorEnv)) or getattr(base, "honours_reset_mask", False)


def _wrappers(env: VectorEnv[Any, Any, Any]) -> Iterator[VectorWrapper[Any, Any, Any, Any, Any]]:
    """Walk from the outermost vector wrapper inwards, without the environment itself."""
    while isinstance(env, VectorWrapper):
        yield env
        env = env.env


def _final_row(final_obs: Any, index: int) -> Observation:
    """One last observation: Gymnasium returns an object array, others batches."""
    if isinstance(final_obs, dict):
        return {key: _final_row(part, index) for key, part in final_obs.items()}
    if isinstance(final_obs, tuple):
        return tuple(_final_row(part, index) for part in final_obs)
    return final_obs[index]
