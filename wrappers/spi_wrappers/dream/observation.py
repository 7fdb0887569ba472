"""The way back: the real environment as a dream of it looks."""

import os
from typing import Any, Literal

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.dreams.opening import find_world_model
from spi_plugins.spaces import flat_observation, flat_space, to_device
from spi_plugins.types import Observation

_WorldModel = str | os.PathLike[str] | StoredWorldModel


class View:
    """Shows batches of real observations of a space as a dream of the model would: ``"latent"`` or ``"decoded"``.

    Attributes:
        space: of one shown observation.
    """

    def __init__(self, world_model: _WorldModel, kind: str, space: spaces.Space[Any]) -> None:
        if kind not in ("latent", "decoded"):
            raise ValueError(f"observation must be 'latent' or 'decoded', got {kind!r}.")
        stored = world_model if isinstance(world_model, StoredWorldModel) else find_world_model(world_model)
        self._turned = _turned(flat_space(space), stored.observation_space)
        self._stored, self._kind = stored, kind
        self.space: spaces.Space[Any]
        if kind == "decoded":
            if stored.decoded_space is None:
                raise ValueError(
                    f"observation='decoded' needs observations in a Box; the model's are in {stored.observation_space}."
                )
            self.space = stored.decoded_space
        else:
            shape = stored.fitted.model.spec.latent_shape
            self.space = spaces.Box(stored.latent_low, stored.latent_high, shape)
        self._encode = jax.jit(stored.fitted.model.encode)

    def __call__(self, obs: Observation) -> NDArray[Any]:
        """View a batch ``[B, ...]``."""
        obs = self.turned(obs)
        if self._kind == "decoded":
            box: Any = self.space
            return np.clip(np.asarray(obs), box.low, box.high).astype(box.dtype)  # type: ignore[no-any-return]
        numbers = to_device(self._stored.observation_space, obs)
        z = np.asarray(self._encode(self._stored.fitted.params, numbers), np.float32)
        low, high = np.float32(self._stored.latent_low), np.float32(self._stored.latent_high)
        return np.clip(z, low, high)

    def one(self, obs: Observation) -> NDArray[Any]:
        """View one observation."""
        return self(jax.tree.map(lambda x: np.asarray(x)[None], obs))[0]  # type: ignore[no-any-return]

    def turned(self, obs: Observation) -> Observation:
        """A batch with its image channels on the model's axis, flat as the model's space is."""
        return flat_observation(obs) if self._turned is None else np.moveaxis(np.asarray(obs), *self._turned)


def _turned(given: spaces.Space[Any], wanted: spaces.Space[Any]) -> tuple[int, int] | None:
    """The axes to move image channels from and to; ``None`` if the spaces are equal."""
    if given == wanted:
        return None
    if isinstance(given, spaces.Box) and isinstance(wanted, spaces.Box) and len(given.shape) == 3:
        for source, destination in ((-1, -3), (-3, -1)):
            turned = [np.moveaxis(bound, source, destination) for bound in (given.low, given.high)]
            alike = turned[0].shape == wanted.shape and given.dtype == wanted.dtype
            bounds = zip(turned, (wanted.low, wanted.high), strict=True)
            if alike and all((x == y).all() for x, y in bounds):
                return source, destination
    raise ValueError(f"The world model takes observations in {wanted}, but the environment's are in {given}.")


class _Viewing:
    """The constructor of both wrappers."""

    def __init__(
        self, env: Any, world_model: _WorldModel, observation: Literal["latent", "decoded"] = "latent"
    ) -> None:
        # A path is recorded as text, so that the environment's spec can be JSON.
        path = world_model if isinstance(world_model, StoredWorldModel) else os.fspath(world_model)
        record: Any = RecordConstructorArgs.__init__
        record(self, world_model=path, observation=observation)
        super().__init__(env)  # type: ignore[call-arg]
        if isinstance(env, VectorEnv):
            self._view = View(world_model, observation, env.single_observation_space)
            self.single_observation_space = self._view.space
            self.observation_space = batch_space(self._view.space, env.num_envs)
        else:
            self._view = View(world_model, observation, env.observation_space)
            self.observation_space = self._view.space


class LatentObservation(_Viewing, gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """An environment seen as its dream is seen, for an agent that was trained there.

    Args:
        env: the real environment, with the observation space that the model was fitted on: frame stacks and the
            like go inside. Images may have their channels at the other end, as ``VecTransposeImage`` turns them.
        world_model: path of its file, name of a registered dream, or the loaded file.
        observation: ``"latent"``, or ``"decoded"`` for an agent that was trained on decoded observations: the real
            ones, clipped to the dream's finite space.

    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: the model is of other observations.
    """

    def observation(self, observation: Observation) -> NDArray[Any]:
        """One observation as the dream would show it."""
        return self._view.one(observation)


class LatentVectorObservation(_Viewing, VectorWrapper, RecordConstructorArgs):
    """``LatentObservation`` for vector environments, in every autoreset mode; final observations are viewed too."""

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Reset, and view the observations."""
        obs, infos = self.env.reset(seed=seed, options=options)
        return self._view(obs), infos

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step, and view the observations."""
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        if self.env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP and "final_obs" in infos:
            infos = {**infos, "final_obs": self._view_final(infos["final_obs"])}
        return self._view(obs), rewards, terminated, truncated, infos

    def _view_final(self, final: NDArray[Any]) -> NDArray[Any]:
        viewed = np.full(len(final), None, dtype=object)
        for i, obs in enumerate(final):
            if obs is not None:
                viewed[i] = self._view.one(obs)
        return viewed
