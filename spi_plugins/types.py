"""Data that crosses module boundaries, with no framework but JAX arrays.

Shape letters, throughout the project: ``T`` time, ``B`` batch or environments, ``Z`` latent, ``A`` action,
``H`` horizon, ``N`` samples, ``E`` ensemble. Time leads.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float

# A tree of arrays. Parameters are nested dicts of arrays, never framework objects.
PyTree: TypeAlias = Any
Params: TypeAlias = Any
Observation: TypeAlias = Any  # an array, or a dict of arrays for Dict spaces

COST_KEY = "cost"


def device_dtype(dtype: Any) -> str:
    """Name the dtype in which JAX keeps an array of ``dtype``: 32 bits for 64, the rest as they are."""
    name: str = np.dtype(dtype).name
    return {"float64": "float32", "int64": "int32", "uint64": "uint32"}.get(name, name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array of an observation. Hashable, so that it can be a static argument of ``jit``.

    Attributes:
        kind: how an encoder reads it: ``image`` (uint8, scaled by 1/255), ``box`` (flattened floats),
            ``discrete`` (one-hot of ``nvec[0]``), ``multi_discrete`` (one-hots), ``multi_binary``.
        shape: shape of one observation, without a batch axis.
        dtype: NumPy name of the dtype, for example ``"uint8"``.
        low: lower bound of every element.
        high: upper bound of every element.
        nvec: number of values for each entry of a discrete kind; empty otherwise.
        channels_first: for images, ``(C, H, W)`` if true, ``(H, W, C)`` if false.
        start: the environment's first value of each discrete entry, where they are not all 0. Arrays on the device
            count from 0 all the same.
    """

    kind: Literal["image", "box", "discrete", "multi_discrete", "multi_binary"]
    shape: tuple[int, ...]
    dtype: str
    low: float = -math.inf
    high: float = math.inf
    nvec: tuple[int, ...] = ()
    channels_first: bool = False
    start: tuple[int, ...] = ()


# A Dict is (key, spec) pairs sorted by key, which are hashable.
ObservationSpec: TypeAlias = ArraySpec | tuple[tuple[str, ArraySpec], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """An action. Discrete values count from 0; ``actions.to_action`` adds a space's ``start``.

    Attributes:
        kind: ``discrete`` (int32 scalar), ``multi_discrete`` (int32 ``shape``), ``box`` (float32 ``shape``).
        shape: shape of one action, ``()`` for ``discrete``.
        nvec: number of values for each discrete entry in flat order; empty for ``box``.
        low: for ``box``, lower bound of each element in flat order, in action units.
        high: for ``box``, upper bound of each element in flat order.
        dtype: for ``box``, that of the environment's space; integers are whole float32 numbers on the device.
    """

    kind: Literal["discrete", "multi_discrete", "box"]
    shape: tuple[int, ...] = ()
    nvec: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Length of the action as a flat vector, one-hot for discrete entries."""
        return sum(self.nvec) if self.nvec else math.prod(self.shape)


class CostRows(NamedTuple):
    """The part of a rollout that an agent with a constraint learns from: ``K`` costs, laid out as the rewards are."""

    cost: Float[Array, "T B K"]
    value: Float[Array, "T+1 B K"]  # of the cost critic
    final_value: Float[Array, "T B K"] | None


class Rollout(NamedTuple):
    """``T`` steps of ``B`` environments, the input of an on-policy update.

    ``obs`` has one more row than the rest: step ``t`` led from ``obs[t]`` to ``obs[t + 1]``, or, where an episode
    ended and the environment reset itself in the same step, to ``final_obs[t]``.

    There are two layouts:

    * ``final_obs is None``: next-step autoreset (envpool, Gymnasium's default). ``obs[t + 1]`` is the true successor
      even at an episode's end, and the row after it is a reset, not a transition: ``valid`` is false there.
    * otherwise: same-step autoreset (SB3's VecEnv, functional environments). Every row is valid, and ``final_obs``
      equals ``obs[t + 1]`` where the episode continued. ``final_value`` is the critic at ``final_obs`` where
      ``truncated`` is true and zero elsewhere.
    """

    obs: Observation  # [T + 1, B, ...]
    action: Array  # [T, B, ...]
    log_prob: Float[Array, "T B"]
    value: Float[Array, "T+1 B"]
    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]  # the state reached is terminal: no bootstrap
    truncated: Bool[Array, "T B"]  # by a time limit, for example: the return continues with the state's value
    valid: Bool[Array, "T B"]  # false in reset rows, which are not transitions
    final_obs: Observation | None  # [T, B, ...]
    final_value: Float[Array, "T B"] | None
    action_masks: Bool[Array, "T B P"] | None = None  # the actions that were allowed, if the environment says
    costs: CostRows | None = None  # with a constraint
