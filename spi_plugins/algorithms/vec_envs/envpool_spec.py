"""The spaces and conventions of an EnvPool environment, read without importing EnvPool."""

import sys
import warnings
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.spaces import float32_bounds
from spi_plugins.types import Observation


class PoolSpec(NamedTuple):
    """Spaces of one environment of a pool, and the conventions of its numbers.

    ``counts_lives``: rewards may be clipped and lost lives may end episodes, while the infos ``reward`` and
    ``terminated`` tell of the game itself (Atari). ``is_64_bit``: an observation, action or info is, which
    EnvPool's XLA interface cannot carry while JAX narrows to 32 bits.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    action_dtype: np.dtype[Any]
    counts_lives: bool
    is_64_bit: bool


def is_envpool(env: Any) -> bool:
    """Whether the object is a raw EnvPool environment, of any ``env_type``.

    The test is by class: importing EnvPool takes more than a second and is not possible everywhere.
    """
    # The classes are made at run time, in "module" abc; only their bases are named.
    from_envpool = any(cls.__module__.split(".")[0] == "envpool" for cls in type(env).__mro__)
    return from_envpool and all(hasattr(env, name) for name in ("config", "send", "recv"))


def pool_spec(pool: Any) -> PoolSpec:
    """Read a pool.

    Raises:
        TypeError: it is not an EnvPool environment, or has dm_env's interface.
        EnvironmentNotSupportedError: a ``ValueError``; it is asynchronous or has several players.
    """
    if not is_envpool(pool):
        raise TypeError(f"pool must be an EnvPool environment, got {type(pool).__name__}.")
    if not hasattr(pool, "action_space"):
        raise TypeError(
            "The pool has dm_env's interface; make it with envpool.make(id, env_type='gymnasium')."
        )
    config = pool.config
    if config["batch_size"] not in (0, config["num_envs"]):
        raise EnvironmentNotSupportedError(
            f"The pool is asynchronous: batch_size={config['batch_size']} of num_envs={config['num_envs']}. "
            "A VecEnv steps all environments together; make the pool without batch_size."
        )
    if config["max_num_players"] > 1:
        raise EnvironmentNotSupportedError(
            f"The pool has max_num_players={config['max_num_players']}; only single-player ones can be used."
        )
    with warnings.catch_warnings():
        # EnvPool gives float64 bounds to float32 boxes; the pool keeps the spaces, so it warns only once.
        warnings.simplefilter("ignore")
        observation_space, action_space = pool.observation_space, pool.action_space
    states, actions = pool.spec.state_array_spec, pool.spec.action_array_spec
    dtypes = [np.dtype(spec.dtype) for spec in (*states.values(), *actions.values())]
    return PoolSpec(
        _narrow(observation_space, {key: np.dtype(spec.dtype) for key, spec in states.items()}),
        _within(_narrow(action_space, {}), action_space),
        np.dtype(list(actions.values())[-1].dtype),
        counts_lives={"info:reward", "info:terminated"} <= set(states),
        is_64_bit=any(dtype.itemsize == 8 for dtype in dtypes),
    )


def to_space(space: spaces.Space[Any], obs: Any) -> Observation:
    """Bring a batch, of NumPy or JAX, to the dtypes and shapes ``[B, ...]``, copying only if needed."""
    if isinstance(space, spaces.Dict):
        return {key: to_space(part, obs[key]) for key, part in space.spaces.items()}
    shape = (len(obs), *(space.shape or ()))
    return obs if (obs.dtype, obs.shape) == (space.dtype, shape) else obs.astype(space.dtype).reshape(shape)


def xla_supported(pool: Any, spec: PoolSpec) -> bool:
    """Whether the pool can be stepped inside ``jit`` here: Linux, JAX on the CPU, 32-bit arrays."""
    if sys.platform != "linux" or not hasattr(pool, "_xla"):
        return False
    import jax

    narrows = jax.numpy.result_type(float) == np.float32
    return jax.default_backend() == "cpu" and not (spec.is_64_bit and narrows)


def _narrow(space: Any, dtypes: dict[str, np.dtype[Any]], key: str = "obs") -> Any:
    """The space with float32 for float64, EnvPool's integer dtypes, and bounds that hold."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({k: _narrow(part, dtypes, f"{key}:{k}") for k, part in space.spaces.items()})
    if isinstance(space, spaces.Discrete):
        dtype: Any = dtypes.get(key, np.dtype(np.int64)).type
        return spaces.Discrete(int(space.n), start=int(space.start), dtype=dtype)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return spaces.Box(*_bounds(space), shape=space.shape, dtype=np.float32)
    return space


def _within(narrow: Any, space: Any) -> Any:
    """The narrowed action space without the float32 numbers that rounding put outside of the pool's bounds."""
    if not isinstance(narrow, spaces.Box) or not np.issubdtype(narrow.dtype, np.floating):
        return narrow
    given = zip((narrow.low, narrow.high), (space.low, space.high), strict=True)
    bounds = float32_bounds(*(np.where(np.isinf(near), near, bound) for near, bound in given))
    return spaces.Box(*bounds, dtype=np.float32)


def _bounds(space: spaces.Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # "No bound" comes as the smallest positive and the largest number of C++'s numeric_limits.
    limits: Any = np.finfo(np.dtype(space.dtype).name)
    low = np.where(space.low == limits.tiny, -np.inf, space.low)
    high = np.where(space.high == limits.max, np.inf, space.high)
    with np.errstate(over="ignore"):
        return low.astype(np.float32), high.astype(np.float32)
