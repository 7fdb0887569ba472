"""From Gymnasium's seeds and reset masks to the arrays that the jitted calls take."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray


class Seeds(NamedTuple):
    """Keys for the environments that were given a seed."""

    seeded: NDArray[np.bool_]  # [B]
    key_data: NDArray[np.uint32]  # [B, 2], arbitrary where not seeded


def draw_key_data(rng: np.random.Generator) -> NDArray[np.uint32]:
    """Draw the data of one key, uint32 ``[2]``."""
    return rng.integers(2**32, size=2, dtype=np.uint32)


def read_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> Seeds:
    """Make keys from the ``seed`` of ``VectorEnv.reset``: the same as single environments make.

    Args:
        seed: the i-th environment gets ``seed + i``, or the i-th of a sequence.
        num_envs: ``B``.

    Raises:
        ValueError: there are more or fewer seeds than environments.
    """
    if seed is None or isinstance(seed, int):
        each: Sequence[int | None] = [None if seed is None else seed + i for i in range(num_envs)]
    else:
        each = list(seed)
    if len(each) != num_envs:
        raise ValueError(f"seed must be one for each of the {num_envs} environments, got {len(each)}.")
    key_data = np.zeros((num_envs, 2), np.uint32)
    for i, value in enumerate(each):
        if value is not None:
            key_data[i] = draw_key_data(seeding.np_random(value)[0])
    return Seeds(np.array([value is not None for value in each]), key_data)


def read_reset_mask(options: dict[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """A copy of ``options["reset_mask"]``, all true by default.

    Raises:
        TypeError: the mask is not a boolean array.
        ValueError: its shape is wrong, it resets nothing, or there are other options.
    """
    check_options(options, allowed=("reset_mask",))
    if not options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = f"dtype {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"options['reset_mask'] must be a NumPy array of bool, got {got}.")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] must have shape {(num_envs,)}, got {mask.shape}.")
    if not mask.any():
        raise ValueError("options['reset_mask'] must be true somewhere, got all false.")
    return mask.copy()


def check_options(options: dict[str, Any] | None, *, allowed: tuple[str, ...]) -> None:
    """Refuse options that would be ignored.

    Raises:
        ValueError: one is not allowed.
    """
    unknown = sorted(set(options or ()) - set(allowed))
    if unknown:
        raise ValueError(f"options must be among {list(allowed)}, got {unknown}.")
