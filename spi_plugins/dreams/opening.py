"""Open a world-model file as a dream, for the Gymnasium environments and for compiled training."""

import os
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spi_plugins.checks import check_choice
from spi_plugins.dreams.env import DreamConfig, make_dream
from spi_plugins.dreams.file import StoredWorldModel, latent_bounds, load_world_model
from spi_plugins.dreams.ids import locate_world_model
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import float32_bounds
from spi_plugins.world_models.model import FittedModel

Start = Literal["buffer", "distinct", "initial", "fixed"]


def find_world_model(model: str | os.PathLike[str]) -> StoredWorldModel:
    """Load a world model by path or by the name of a registered dream.

    Raises:
        FileNotFoundError: ``model`` is neither.
        ModelFileError: the file is damaged.
    """
    return load_world_model(locate_world_model(model))


def open_dream(
    model: str | os.PathLike[str] | StoredWorldModel, *, start: Start = "buffer", **options: Any
) -> FunctionalEnv:
    """Make a functional environment from a world model.

    Args:
        model: the path of a file, the name of a registered dream, or a loaded file.
        start: where episodes begin: ``"buffer"`` in any real state of the file, as often as it was visited,
            ``"distinct"`` in each of them equally often, ``"initial"`` in those that began an episode, ``"fixed"``
            always in the first of these.
        **options: fields of ``spi_plugins.dreams.env.DreamConfig``, except the bounds of the latent, which the file
            sets.

    Raises:
        FileNotFoundError: there is no such file or name.
        ModelFileError: the file is damaged.
        ValueError: an option is out of range, or needs a part that the model lacks.
        TypeError: an option is unknown.
    """
    stored = model if isinstance(model, StoredWorldModel) else find_world_model(model)
    config = DreamConfig(latent_low=stored.latent_low, latent_high=stored.latent_high, **options)
    space = stored.decoded_space
    low, high = (-np.inf, np.inf) if space is None else float32_bounds(space.low, space.high)
    return make_dream(
        stored.fitted,
        jnp.asarray(_choose_starts(stored, start)),
        config,
        obs_low=low,
        obs_high=high,
        name="Dream",
    )


def _choose_starts(stored: StoredWorldModel, start: str) -> NDArray[np.float32]:
    check_choice("start", start, get_args(Start))
    if start == "buffer":
        return stored.starts
    if start == "distinct":
        return np.unique(stored.starts, axis=0)
    if not stored.first.any():
        raise ValueError(f"start={start!r} needs a state that began an episode; the file has none.")
    beginnings: NDArray[np.float32] = stored.starts[stored.first]
    return beginnings if start == "initial" else beginnings[:1]


def live_dream(fitted: FittedModel, starts: Any, **options: Any) -> FunctionalEnv:
    """Make a functional environment from a model that is still being trained.

    Args:
        fitted: model and parameters, for example ``model.world_model``.
        starts: latents of real states, ``[S, *Z]``.
        **options: fields of ``spi_plugins.dreams.env.DreamConfig``.

    Raises:
        ValueError: an option is out of range or needs a part that the model lacks, or ``starts`` are not latents of
            the model.
        TypeError: an option is unknown.
    """
    if "latent_low" not in options and "latent_high" not in options:
        low, high = latent_bounds(fitted.model, np.asarray(starts, np.float32))
        options |= {"latent_low": low, "latent_high": high}
    return make_dream(fitted, jnp.asarray(starts), DreamConfig(**options), name="Dream")
