"""Learned worlds as Gymnasium environments: one, or many that are stepped by one jitted call."""

import os
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode

from spi_plugins.actions import from_action
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.dreams.opening import find_world_model, live_dream, open_dream
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import observation_space
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.model import FittedModel
from spi_wrappers.functional.face import Face
from spi_wrappers.functional.gym_env import FunctionalGymEnv
from spi_wrappers.functional.vector_env import FunctionalVectorEnv, StepResult

# What the face of a file is made from, and is made from again after pickling.
_FACTORY = "spi_plugins.dreams.opening:open_dream"

_Path = str | os.PathLike[str]


class DreamFace(Face):
    """A face whose parameters hold a world model."""

    def set_params(self, params: Params, starts: Any = None) -> None:
        """Swap the model's parameters, and the start latents if given, without a new compilation.

        Args:
            params: of the same shapes.
            starts: as many as there are.
        """
        new = self.params._replace(model=params)
        self.params = new if starts is None else new._replace(starts=starts)

    def _show_stored(self, model: _Path | StoredWorldModel | FittedModel, options: dict[str, Any]) -> None:
        """Take the spaces of the real environment, which a file knows."""
        if isinstance(model, FittedModel):
            return
        stored = model if isinstance(model, StoredWorldModel) else find_world_model(model)
        decoded = stored.decoded_space if options.get("observation") == "decoded" else None
        shown = observation_space(self.functional.observation_spec) if decoded is None else decoded
        self._show(shown, stored.action_space)


class DreamEnv(DreamFace, FunctionalGymEnv):
    """Episodes inside a world model: they begin in the latent of a real state and never touch the real environment.

    Episodes are truncated at the horizon, and terminated where the model predicts an end. ``info`` has ``cost``,
    ``dream_step``, and ``model_uncertainty`` if the model is an ensemble. ``gymnasium.make("spi/Dream-v0",
    model=path)`` makes one; so does an id of ``spi_plugins.register_dream``.

    Args:
        model: path of a world model's file, or the name of a registered dream.
        render_mode: ``None`` or ``"rgb_array"``: the latent as a grid of colors from blue (low) to red (high), the
            decoded image if there is one, and bars of reward (blue) and cost (red) of the last 64 steps.
        **options: ``horizon=15``; ``observation="latent"`` or ``"decoded"``; ``start="buffer"``, ``"distinct"``,
            ``"initial"`` or ``"fixed"``; ``stochastic=True``; ``termination="model"`` or ``"none"``;
            ``uncertainty_penalty=0.0``; ``cost=True``: see ``spi_plugins.open_dream``.

    Raises:
        FileNotFoundError: there is no such file or name.
        ModelFileError: the file is damaged.
        ValueError: an option is out of range, or the model lacks what it needs.
    """

    def __init__(self, model: _Path, render_mode: str | None = None, **options: Any) -> None:
        super().__init__(_FACTORY, render_mode, **_file_options(model, options, render_mode))
        self._show_stored(model, options)

    @classmethod
    def from_model(
        cls,
        model: StoredWorldModel | FittedModel,
        starts: Any = None,
        *,
        render_mode: str | None = None,
        **options: Any,
    ) -> Self:
        """Dream of a live object, for example while it trains; such an environment cannot be pickled.

        Args:
            model: the result of ``load_world_model`` or ``fit_world_model``, or an algorithm's ``world_model``.
            starts: for the latter, latents ``[S, *Z]`` of real states.
            render_mode: as in the constructor.
            **options: as in the constructor; ``start`` for a loaded file only.

        Raises:
            TypeError: ``model`` has another type, or ``starts`` are missing.
            ValueError: an option is out of range, or the model lacks what it needs.
        """
        env = cls.__new__(cls)
        FunctionalGymEnv.__init__(env, _dream_of(model, starts, options, render_mode), render_mode)
        env._show_stored(model, options)
        return env

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one step with an action of the real environment."""
        return super().step(from_action(self.action_space, action))


class DreamVectorEnv(DreamFace, FunctionalVectorEnv):
    """``num_envs`` dreams in one program, with the episodes (and errors) of ``DreamEnv`` with the same seeds.

    Args:
        num_envs: number of dreams.
        model: path of a world model's file, or the name of a registered dream.
        autoreset_mode: any of Gymnasium's, as in ``FunctionalVectorEnv``.
        render_mode: as in ``DreamEnv``.
        **options: as in ``DreamEnv``.
    """

    def __init__(
        self,
        num_envs: int,
        model: _Path,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        given = _file_options(model, options, render_mode)
        super().__init__(num_envs, _FACTORY, autoreset_mode=autoreset_mode, render_mode=render_mode, **given)
        self._show_stored(model, options)

    @classmethod
    def from_model(
        cls,
        num_envs: int,
        model: StoredWorldModel | FittedModel,
        starts: Any = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> Self:
        """Dream of a live object, with the arguments of ``DreamEnv.from_model``."""
        env, dream = cls.__new__(cls), _dream_of(model, starts, options, render_mode)
        modes: dict[str, Any] = {"autoreset_mode": autoreset_mode, "render_mode": render_mode}
        FunctionalVectorEnv.__init__(env, num_envs, dream, **modes)
        env._show_stored(model, options)
        return env

    def step(self, actions: Any) -> StepResult:
        """Step all dreams with actions of the real environment."""
        return super().step(from_action(self.single_action_space, np.asarray(actions)))


def _file_options(model: _Path, options: dict[str, Any], render_mode: str | None) -> dict[str, Any]:
    """The arguments of ``_FACTORY``; pictures need the history of the episode."""
    return {"model": os.fspath(model), "history": render_mode is not None, **options}


def _dream_of(
    model: StoredWorldModel | FittedModel, starts: Any, options: dict[str, Any], render_mode: str | None
) -> FunctionalEnv:
    options = {"history": render_mode is not None, **options}
    if isinstance(model, StoredWorldModel):
        if starts is not None:
            raise TypeError("starts= is for a FittedModel; a loaded file has its own, chosen by start=.")
        return open_dream(model, **options)
    if not isinstance(model, FittedModel):
        raise TypeError(
            f"model must be a StoredWorldModel (load_world_model, fit_world_model) or a FittedModel "
            f"(model.world_model), got {type(model).__name__}."
        )
    if starts is None:
        raise TypeError("A FittedModel needs starts=, latents of real states to begin episodes in.")
    return live_dream(model, starts, **options)
