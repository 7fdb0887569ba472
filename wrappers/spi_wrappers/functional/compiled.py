"""The jitted calls behind the Gymnasium faces. Few arrays go in and out, because each costs microseconds."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spi_plugins.envs import autoreset
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import Observation, PyTree


class Compiled(NamedTuple):
    """Jitted functions of ``B`` copies of one environment; ``signals`` is ``Signals`` as float32 ``[4 + I, B]``.

    Attributes:
        begin: ``(params, key_data) -> (state, obs)``; ``key_data`` is uint32 ``[B, 2]``.
        restart: ``(params, state, mask, seeded, key_data) -> (state, obs)``, new episodes where ``mask`` is
            true, from new keys where ``seeded`` is also true.
        step: ``(params, state, action) -> (state, obs, signals)``, without resets.
        step_or_reset: ``(params, state, action, resetting) -> (state, obs, signals)``.
        step_and_reset: ``(params, state, action) -> (state, obs, final_obs, signals)``.
        action_masks: ``(params, state) -> bool [B, P]``, if the environment has masks.
    """

    begin: Callable[..., Any]
    restart: Callable[..., Any]
    step: Callable[..., Any]
    step_or_reset: Callable[..., Any]
    step_and_reset: Callable[..., Any]
    action_masks: Callable[..., Any]


class Signals(NamedTuple):
    """The results of one step other than observations, on the host."""

    reward: NDArray[np.float64]  # [B]
    cost: NDArray[np.float64]  # [B]
    terminated: NDArray[np.bool_]  # [B]
    truncated: NDArray[np.bool_]  # [B]
    info: dict[str, NDArray[Any]]  # of the environment's own, each [B]


# Cached, so that equal environments share their compilations: n single environments compile once.
@functools.lru_cache(maxsize=64)
def compile_env(env: FunctionalEnv) -> Compiled:
    """Jit the calls of one environment, given without its parameters, which may be arrays (``params=()``)."""

    def begin(params: PyTree, key_data: jax.Array) -> tuple[autoreset.VectorState, Observation]:
        return autoreset.reset(env, params, _keys(key_data))

    def restart(
        params: PyTree, state: autoreset.VectorState, mask: jax.Array, seeded: jax.Array, key_data: jax.Array
    ) -> tuple[autoreset.VectorState, Observation]:
        key = jnp.where(mask & seeded, _keys(key_data), state.key)
        return autoreset.reset_where(env, params, state._replace(key=key), mask)

    def stepping(step: Callable[..., Any], *, final: bool = False) -> Callable[..., Any]:
        def packed(params: PyTree, state: autoreset.VectorState, *inputs: jax.Array) -> Any:
            state, out = step(env, params, state, *inputs)
            seen = (out.obs, out.final_obs) if final else (out.obs,)
            return state, *seen, _pack(env, out)

        return jax.jit(packed)

    return Compiled(
        begin=jax.jit(begin),
        restart=jax.jit(restart),
        step=stepping(autoreset.step_without_reset),
        step_or_reset=stepping(autoreset.step_or_reset),
        step_and_reset=stepping(autoreset.step, final=True),
        action_masks=jax.jit(functools.partial(autoreset.action_masks, env)),
    )


def unpack(signals: jax.Array, info_dtypes: tuple[tuple[str, str], ...]) -> Signals:
    """Fetch a step's signals in one copy, in Gymnasium's dtypes."""
    rows = np.asarray(signals)
    reward, cost = rows[:2].astype(np.float64)
    terminated, truncated = rows[2:4] > 0.5
    info = {name: row.astype(dtype) for (name, dtype), row in zip(info_dtypes, rows[4:], strict=True)}
    return Signals(reward, cost, terminated, truncated, info)


def _keys(key_data: jax.Array) -> jax.Array:
    keys: jax.Array = jax.random.wrap_key_data(key_data, impl="threefry2x32")
    return keys


def _pack(env: FunctionalEnv, out: autoreset.VectorStep) -> jax.Array:
    flags = out.terminated.astype(jnp.float32), out.truncated.astype(jnp.float32)
    return jnp.stack([out.reward, out.cost, *flags, *(out.info[name] for name, _ in env.info_dtypes)])
