"""Action masks: where environments offer them, as sb3-contrib finds them, and the forms that they may come in.

A mask has a boolean for each value of each discrete entry of an action, ``P`` in all, one entry after the other.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import allow_some, to_action
from spi_plugins.spaces import action_spec
from spi_plugins.types import ActionSpec

METHOD = "action_masks"


def offers_masks(env: VecEnv) -> bool:
    """Whether the environments have discrete actions and a method ``action_masks``, in any wrapper."""
    if action_spec(env.action_space).kind == "box":
        return False
    try:
        return env.has_attr(METHOD)
    except NotImplementedError:  # not every VecEnv gives access to its environments
        return False


def current_masks(env: VecEnv, num_timesteps: int) -> NDArray[np.bool_]:
    """The masks of the environments as they are, bool ``[B, P]``.

    Raises:
        ValueError: a mask has a wrong shape or allows no action; the message names environment and time step.
    """
    rows, spec = env.env_method(METHOD), action_spec(env.action_space)
    return _checked(spec, rows, lambda i: f"at time step {num_timesteps}: action_masks() of environment {i}")


def given_masks(space: Any, masks: Any, n_rows: int) -> NDArray[np.bool_]:
    """The masks of ``n_rows`` observations as users pass them, as bool ``[B, P]``.

    Args:
        space: of one action.
        masks: ``[B, P]``, or ``[P]`` of one observation. As in sb3-contrib, ``P`` may be several axes.
        n_rows: ``B``.

    Raises:
        ValueError: they do not fit the actions or the observations, or allow no action.
    """
    spec = action_spec(space)
    if spec.kind == "box":
        raise ValueError(
            f"action_masks are for Discrete, MultiDiscrete and MultiBinary actions, but these are {space}."
        )
    rows = [masks] if n_rows == 1 else list(np.atleast_1d(masks))
    if len(rows) != n_rows:
        raise ValueError(
            f"action_masks must have shape ({n_rows}, {spec.size}), one mask for each observation, got "
            f"{np.shape(masks)}."
        )
    return _checked(spec, rows, lambda i: "action_masks" if n_rows == 1 else f"action_masks[{i}]")


def no_action(name: str) -> ValueError:
    """The error of a mask that is false everywhere, or for all values of one entry."""
    return ValueError(f"{name} allows no action: each entry of an action needs a value whose mask is true.")


def random_allowed(space: Any, masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
    """Draw actions ``[B, ...]`` of a space uniformly among those that ``masks`` allow."""
    spec = action_spec(space)
    scores = np.where(masks, rng.random(masks.shape), -1.0)
    entries = np.split(scores, np.cumsum(spec.nvec)[:-1], axis=-1)
    drawn = np.stack([each.argmax(axis=-1) for each in entries], axis=-1)
    return to_action(space, drawn.reshape(-1, *spec.shape))


def with_masks(model: Any, env: VecEnv) -> Any:
    """What predicts for ``env`` as ``model`` does, with the masks of ``env`` if both know masks."""
    takes = METHOD in inspect.signature(model.predict).parameters
    return _MaskedModel(model, env) if takes and offers_masks(env) else model


class _MaskedModel:
    def __init__(self, model: Any, env: VecEnv) -> None:
        self._model, self._env, self._n_steps = model, env, 0

    def predict(self, observation: Any, **options: Any) -> tuple[Any, Any]:
        masks = current_masks(self._env, self._n_steps)
        self._n_steps += self._env.num_envs
        actions, state = self._model.predict(observation, action_masks=masks, **options)
        return actions, state


def _checked(spec: ActionSpec, rows: Iterable[Any], name: Callable[[int], str]) -> NDArray[np.bool_]:
    masks = np.stack([_row(spec, row, name, i) for i, row in enumerate(rows)])
    some = allow_some(spec, masks)
    if not some.all():
        raise no_action(name(int(np.argmin(some))))
    return masks


def _row(spec: ActionSpec, row: Any, name: Callable[[int], str], i: int) -> NDArray[np.bool_]:
    """One mask, bool ``[P]``."""
    try:
        mask = np.asarray(row)
    except ValueError:
        raise ValueError(f"{name(i)} must be one array, got entries of different lengths.") from None
    if mask.size != spec.size:
        raise ValueError(f"{name(i)} must have shape ({spec.size},), got {mask.shape}.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError(f"{name(i)} must hold booleans, or 0 and 1, got {mask.ravel().tolist()}.")
    return mask.astype(bool).ravel()
