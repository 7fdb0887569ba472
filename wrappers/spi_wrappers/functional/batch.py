"""Copies of a functional environment and their state, as both Gymnasium faces hold them."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from spi_plugins.envs.autoreset import VectorState
from spi_plugins.types import COST_KEY, ActionSpec, ArraySpec, Observation, ObservationSpec, PyTree
from spi_wrappers.functional.compiled import Signals, compile_env, unpack
from spi_wrappers.functional.source import Source


class Batch:
    """``B`` copies, NumPy in and out. It can be pickled during an episode.

    Attributes:
        functional: the functional environment.
        num_envs: ``B``.
        state: as JAX arrays, or ``None`` before ``begin``.
    """

    def __init__(self, source: Source, num_envs: int) -> None:
        self._source = source
        self.num_envs = num_envs
        self.functional = source.build()
        self.state: VectorState | None = None
        self.params = self.functional.params
        self._prepare()

    def _prepare(self) -> None:
        self._calls = compile_env(self.functional._replace(params=()))
        spec = self.functional.observation_spec
        self._dtypes: Any = (
            spec.dtype if isinstance(spec, ArraySpec) else {key: part.dtype for key, part in spec}
        )

    def __getstate__(self) -> dict[str, Any]:
        # The environment is made again from its source, because its functions may not be picklable.
        gone = ("functional", "_calls", "_dtypes")
        return {key: value for key, value in vars(self).items() if key not in gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.functional = self._source.build()
        self._prepare()

    @property
    def params(self) -> PyTree:
        """The environment's parameters, as JAX arrays."""
        return self._params

    @params.setter
    def params(self, params: PyTree) -> None:
        # On the device once, not at each call, and never as weakly typed scalars, which would be compiled separately.
        self._params = jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else jax.device_put(np.asarray(leaf)), params
        )

    def begin(self, key_data: NDArray[np.uint32]) -> Observation:
        """Start all copies from the keys ``[B, 2]``."""
        self.state, obs = self._calls.begin(self._params, key_data)
        return self._to_host(obs)

    def restart(
        self, mask: NDArray[np.bool_], seeded: NDArray[np.bool_], key_data: NDArray[np.uint32]
    ) -> Observation:
        """Begin new episodes where ``mask`` is true, from new keys where ``seeded`` is also true."""
        self.state, obs = self._calls.restart(self._params, self.state, mask, seeded, key_data)
        return self._to_host(obs)

    def step(self, action: NDArray[Any]) -> tuple[Observation, Signals]:
        """Step all copies without resets."""
        self.state, obs, signals = self._calls.step(self._params, self.state, action)
        return self._to_host(obs), unpack(signals, self.functional.info_dtypes)

    def step_or_reset(
        self, action: NDArray[Any], resetting: NDArray[np.bool_]
    ) -> tuple[Observation, Signals]:
        """Step the copies where ``resetting`` is false and reset the others."""
        self.state, obs, signals = self._calls.step_or_reset(self._params, self.state, action, resetting)
        return self._to_host(obs), unpack(signals, self.functional.info_dtypes)

    def step_and_reset(self, action: NDArray[Any]) -> tuple[Observation, Observation | None, Signals]:
        """Step all copies and reset those that end; the final observations are ``None`` if none does."""
        self.state, obs, final_obs, packed = self._calls.step_and_reset(self._params, self.state, action)
        signals = unpack(packed, self.functional.info_dtypes)
        ended = bool((signals.terminated | signals.truncated).any())
        return self._to_host(obs), self._to_host(final_obs) if ended else None, signals

    def reset_info(self) -> dict[str, NDArray[Any]]:
        """The infos of a reset: cost and the environment's own, zeros ``[B]``."""
        dtypes = ((COST_KEY, "float64"), *self.functional.info_dtypes)
        return {name: np.zeros(self.num_envs, dtype) for name, dtype in dtypes}

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Draw one copy."""
        render = self.functional.render
        if render is None or self.state is None:
            raise ValueError(f"{self.functional.name} does not render.")
        state = jax.tree.map(lambda leaf: leaf[index], self.state.env)
        return np.array(render(state, self._params), np.uint8)

    def _to_host(self, obs: Observation) -> Observation:
        # Copies: callers keep observations and write into them, which JAX's buffers forbid.
        if isinstance(self._dtypes, dict):
            return {key: np.array(obs[key], dtype) for key, dtype in self._dtypes.items()}
        return np.array(obs, self._dtypes)


def row_of(spec: ObservationSpec, obs: Observation, index: int) -> Observation:
    """One copy's observation, as in Gymnasium: a discrete one is a Python int."""
    if not isinstance(spec, ArraySpec):
        return {key: row_of(part, obs[key], index) for key, part in spec}
    # A copy, so that keeping one observation does not keep the whole batch alive.
    return int(obs[index]) if spec.kind == "discrete" else np.array(obs[index])


def check_actions(spec: ActionSpec, actions: Any, num_envs: int) -> NDArray[Any]:
    """Actions as an array of the spec's dtype, ``[B, ...]``.

    Raises:
        ValueError: the shape is wrong, or an action is not finite, not an integer where it should be, or out of range.
    """
    array = np.asarray(actions)
    shape = (num_envs, *spec.shape)
    if array.shape != shape:
        raise ValueError(f"action must have shape {shape} (environments first), got {array.shape}.")
    if spec.kind == "box":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"action must be finite, got {array.tolist()}.")
        return array
    if array.dtype.kind not in "iu":
        raise ValueError(f"action must hold integers, got dtype {array.dtype}.")
    count = spec.nvec[0] if spec.kind == "discrete" else np.asarray(spec.nvec)
    if (array < 0).any() or (array >= count).any():
        raise ValueError(f"action must be at least 0 and below {spec.nvec}, got {array.tolist()}.")
    return array.astype(np.int32)
