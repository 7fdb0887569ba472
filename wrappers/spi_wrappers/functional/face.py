"""Copies of a functional environment and their state, as both Gymnasium faces hold them."""

import abc
import pkgutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from numpy.typing import NDArray

from spi_plugins.envs.autoreset import VectorState
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import action_space, observation_space
from spi_plugins.types import COST_KEY, ActionSpec, ArraySpec, Observation, ObservationSpec, PyTree
from spi_wrappers.functional.compiled import Signals, compile_env, unpack


class Face:
    """Holds copies of ``functional``, NumPy in and out. It can be pickled during an episode."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  as in Gymnasium
    render_mode: str | None
    functional: FunctionalEnv

    def _hold(
        self, env: str | FunctionalEnv, env_kwargs: dict[str, Any], copies: int, render_mode: str | None
    ) -> None:
        self._source, self._copies = (env, env_kwargs), copies
        self._state: VectorState | None = None  # until the first reset
        self._build()
        self.params = self.functional.params
        modes = [] if self.functional.render is None else ["rgb_array"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(
                f"render_mode must be None or one of {modes} for {self.functional.name}, got {render_mode!r}."
            )
        self.metadata = {**self.metadata, "render_modes": modes}
        self.render_mode = render_mode
        self._show(
            observation_space(self.functional.observation_spec), action_space(self.functional.action_spec)
        )

    @abc.abstractmethod
    def _show(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        """Set the spaces, of single observations and actions."""

    def _build(self) -> None:
        self.functional = build(*self._source)
        self._calls = compile_env(self.functional._replace(params=()))

    def __getstate__(self) -> dict[str, Any]:
        # The environment is made again from its source, because its functions may not be picklable.
        return {key: value for key, value in vars(self).items() if key not in ("functional", "_calls")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._build()

    @property
    def params(self) -> PyTree:
        """The current parameters; assigning others of the same shapes needs no new compilation."""
        return self._params

    @params.setter
    def params(self, params: PyTree) -> None:
        # On the device once, not at each call, and never as weakly typed scalars, which would be compiled separately.
        self._params = jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else jax.device_put(np.asarray(leaf)), params
        )

    def _begin(self, key_data: NDArray[np.uint32]) -> Observation:
        """Start all copies from the keys ``[B, 2]``."""
        self._state, obs = self._calls.begin(self._params, key_data)
        return self._to_host(obs)

    def _restart(
        self, mask: NDArray[np.bool_], seeded: NDArray[np.bool_], key_data: NDArray[np.uint32]
    ) -> Observation:
        """Begin new episodes where ``mask`` is true, from new keys where ``seeded`` is also true."""
        self._state, obs = self._calls.restart(self._params, self._state, mask, seeded, key_data)
        return self._to_host(obs)

    def _call(self, step: Any, *inputs: NDArray[Any]) -> tuple[Observation, Any, Signals]:
        """Take one of the compiled steps: observations, final ones (on the device), and signals."""
        self._state, obs, *final, signals = step(self._params, self._state, *inputs)
        return self._to_host(obs), final, unpack(signals, self.functional.info_dtypes)

    def _reset_info(self) -> dict[str, NDArray[Any]]:
        """The infos of a reset: cost and the environment's own, zeros ``[B]``."""
        dtypes = ((COST_KEY, "float64"), *self.functional.info_dtypes)
        return {name: np.zeros(self._copies, dtype) for name, dtype in dtypes}

    def _masks(self) -> NDArray[np.bool_]:
        """The action masks of all copies, ``[B, P]``."""
        if self._state is None:
            raise ResetNeeded("action_masks() needs a reset() first.")
        return np.array(self._calls.action_masks(self._params, self._state))

    def _require_masks(self) -> None:
        if self.functional.action_masks is None:
            raise AttributeError(f"{self.functional.name} has no action masks.")

    def _frame(self, index: int) -> NDArray[np.uint8]:
        if self._state is None:
            raise ResetNeeded("render() needs a reset() first.")
        assert self.functional.render is not None  # or there would be no render mode
        state = jax.tree.map(lambda leaf: leaf[index], self._state.env)
        return np.array(self.functional.render(state, self._params), np.uint8)

    def _to_host(self, obs: Observation) -> Observation:
        # Copies: callers keep observations and write into them, which JAX's buffers forbid.
        spec = self.functional.observation_spec
        if isinstance(spec, ArraySpec):
            return np.array(obs, spec.dtype)
        return {key: np.array(obs[key], part.dtype) for key, part in spec}


def build(env: str | FunctionalEnv, kwargs: dict[str, Any]) -> FunctionalEnv:
    """Make what a face is made from, and is made from again after pickling.

    ``env`` is a functional environment, a registered name, or ``"module:attribute"`` of an environment or of a factory;
    ``kwargs`` are for the factory behind a name.
    """
    made: Any = env
    if isinstance(env, str):
        # Imported late, because the plugin host may be importing this module.
        from spi_plugins.plugins import is_functional_member, make_env

        if ":" not in env or is_functional_member(env):
            return build(make_env(env, **kwargs), {})
    if isinstance(env, str):
        try:
            made = pkgutil.resolve_name(env)
        except AttributeError as error:
            raise ValueError(f"env={env!r}: the {error}.") from None
        # A FunctionalEnv is a tuple, so what can be called is a factory.
        if callable(made):
            made, kwargs = made(**kwargs), {}
    if not isinstance(made, FunctionalEnv):
        raise TypeError(
            "env must be a FunctionalEnv, or a registered name or 'module:attribute' of one, "
            f"got {type(made).__name__} for {env!r}."
        )
    if kwargs:
        raise TypeError(
            f"The arguments {sorted(kwargs)} are for an env given by name, but env is already a FunctionalEnv: "
            f"{made.name}."
        )
    return made


def row_of(spec: ObservationSpec, obs: Observation, index: int) -> Observation:
    """One copy's observation, as in Gymnasium: a discrete one is a Python int."""
    if not isinstance(spec, ArraySpec):
        return {key: row_of(part, obs[key], index) for key, part in spec}
    # A copy, so that keeping one observation does not keep the whole batch alive.
    return int(obs[index]) if spec.kind == "discrete" else np.array(obs[index])


def check_actions(spec: ActionSpec, actions: Any, num_envs: int) -> NDArray[Any]:
    """Actions as an array of the spec's dtype, ``[B, ...]``; a ``ValueError`` unless they are in its space."""
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
    count = np.reshape(spec.nvec, spec.shape)
    if (array < 0).any() or (array >= count).any():
        raise ValueError(f"action must be at least 0 and below {spec.nvec}, got {array.tolist()}.")
    return array.astype(np.int32)


def draw_key_data(rng: np.random.Generator) -> NDArray[np.uint32]:
    """Draw the data of one key, uint32 ``[2]``."""
    return rng.integers(2**32, size=2, dtype=np.uint32)


def read_seeds(
    seed: int | Sequence[int | None] | None, num_envs: int
) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """Which rows have a seed, bool ``[B]``, and the data of their keys, uint32 ``[B, 2]``.

    From the ``seed`` of ``VectorEnv.reset``: row i gets ``seed + i``, or the i-th of a sequence; the keys are those of
    single environments.
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
    return np.array([value is not None for value in each]), key_data


def read_reset_mask(options: dict[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """A copy of ``options["reset_mask"]``, bool ``[B]``, all true by default."""
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
    """Refuse options that would be ignored."""
    unknown = sorted(set(options or ()) - set(allowed))
    if unknown:
        raise ValueError(f"options must be among {list(allowed)}, got {unknown}.")
