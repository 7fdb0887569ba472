"""What both Gymnasium faces of a dream share."""

import os
from typing import Any, NamedTuple

from gymnasium import spaces

from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.dreams.opening import find_world_model, live_dream, open_dream
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import action_space, observation_space
from spi_plugins.types import Params
from spi_plugins.world_models.model import FittedModel
from spi_wrappers.functional.face import Face

#: The factory that the face of a file is made from, and is made from again after pickling.
FACTORY = "spi_plugins.dreams.opening:open_dream"


class DreamSpaces(NamedTuple):
    """Of one environment."""

    observation: spaces.Space[Any]
    action: spaces.Space[Any]


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


def file_options(
    model: str | os.PathLike[str], options: dict[str, Any], render_mode: str | None
) -> dict[str, Any]:
    """The arguments of ``FACTORY``; pictures need the history of the episode."""
    return {"model": os.fspath(model), "history": render_mode is not None, **options}


def dream_spaces(
    model: str | os.PathLike[str] | StoredWorldModel, functional: FunctionalEnv, options: dict[str, Any]
) -> DreamSpaces:
    """What the dream shows, and the real environment's actions."""
    stored = model if isinstance(model, StoredWorldModel) else find_world_model(model)
    shown = observation_space(functional.observation_spec)
    if options.get("observation") == "decoded" and stored.decoded_space is not None:
        shown = stored.decoded_space
    return DreamSpaces(shown, stored.action_space)


def from_object(
    model: StoredWorldModel | FittedModel, starts: Any, options: dict[str, Any], render_mode: str | None
) -> tuple[FunctionalEnv, DreamSpaces]:
    """The dream of a live object, and its spaces.

    Raises:
        TypeError: ``model`` is neither a loaded file nor a fitted model, or ``starts`` are missing or not allowed.
    """
    options = {"history": render_mode is not None, **options}
    if isinstance(model, StoredWorldModel):
        if starts is not None:
            raise TypeError("starts= is for a FittedModel; a loaded file has its own, chosen by start=.")
        functional = open_dream(model, **options)
        return functional, dream_spaces(model, functional, options)
    if not isinstance(model, FittedModel):
        raise TypeError(
            f"model must be a StoredWorldModel (load_world_model, fit_world_model) or a FittedModel "
            f"(model.world_model), got {type(model).__name__}."
        )
    if starts is None:
        raise TypeError("A FittedModel needs starts=, latents of real states to begin episodes in.")
    functional = live_dream(model, starts, **options)
    return functional, DreamSpaces(
        observation_space(functional.observation_spec), action_space(functional.action_spec)
    )
