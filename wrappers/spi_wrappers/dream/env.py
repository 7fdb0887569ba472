"""A learned world as a ``gymnasium.Env``."""

import os
from typing import Any, Self

from spi_plugins.actions import from_action
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.types import Observation
from spi_plugins.world_models.model import FittedModel
from spi_wrappers.dream.source import FACTORY, DreamFace, DreamSpaces, dream_spaces, file_options, from_object
from spi_wrappers.functional.gym_env import FunctionalGymEnv


class DreamEnv(DreamFace, FunctionalGymEnv):
    """Episodes inside a world model: they begin in the latent of a real state and never touch the real environment.

    Episodes are truncated at the horizon, and terminated where the model predicts an end. ``info`` has ``cost``,
    ``dream_step``, and ``model_uncertainty`` if the model is an ensemble. ``gymnasium.make("spi/Dream-v0",
    model=path)`` makes one; so does an id of ``spi_plugins.register_dream``.

    Args:
        model: path of a world model's file, or the name of a registered dream.
        render_mode: ``None`` or ``"rgb_array"``: the latent as a grid of colors from blue (low) to red (high), the
            decoded image if there is one, and bars of reward (blue) and cost (red) of the last 64 steps.
        **options: ``horizon=15``; ``observation="latent"`` or ``"decoded"``; ``start="buffer"``, ``"initial"`` or
            ``"fixed"``; ``stochastic=True``; ``termination="model"`` or ``"none"``; ``uncertainty_penalty=0.0``;
            ``cost=True``: see ``spi_plugins.open_dream``.

    Raises:
        FileNotFoundError: there is no such file or name.
        ModelFileError: the file is damaged.
        ValueError: an option is out of range, or the model lacks what it needs.
    """

    def __init__(self, model: str | os.PathLike[str], render_mode: str | None = None, **options: Any) -> None:
        super().__init__(FACTORY, render_mode, **file_options(model, options, render_mode))
        self._adopt(dream_spaces(model, self.functional, options))

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
        functional, spaces = from_object(model, starts, options, render_mode)
        env = cls.__new__(cls)
        FunctionalGymEnv.__init__(env, functional, render_mode)
        env._adopt(spaces)
        return env

    def _adopt(self, spaces: DreamSpaces) -> None:
        self.observation_space, self.action_space = spaces

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one step with an action of the real environment."""
        return super().step(from_action(self.action_space, action))
