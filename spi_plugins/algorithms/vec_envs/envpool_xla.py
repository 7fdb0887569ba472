"""Steps of an EnvPool environment inside ``jit`` and ``lax.scan``, on the CPU.

EnvPool's XLA interface has these rules:

* The handle is threaded: each step takes the handle that the step before returned. A handle used twice inside
  one compiled function aborts the process.
* No ``vmap``, and no second copy of the step: each call really steps the environments.
* The pool must outlive whatever was compiled from it, because its address is compiled in. The functions
  here hold it.
* Compiled steps run asynchronously. Before the pool is stepped from Python again, their outputs must have
  arrived; ``EnvPoolVecEnv.record`` waits for them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from spi_plugins.algorithms.vec_envs.envpool_spec import to_space
from spi_plugins.types import Observation

if TYPE_CHECKING:
    import jax

    from spi_plugins.algorithms.vec_envs.envpool_vec_env import EnvPoolVecEnv


class XlaHandle(NamedTuple):
    """A pool between two compiled steps: carry it through ``scan`` as it is."""

    pool: "jax.Array"  # uint8 [8], the address of the pool
    ended: "jax.Array"  # bool [B], where the last row ended an episode


class XlaRows(NamedTuple):
    """One compiled step, or ``T`` stacked by ``scan``; the first six fields are those of ``Rows``.

    ``raw_reward`` is the reward before clipping, and ``game_over`` the true end of an episode: the game's
    end or a truncation, but not the loss of a life. Without lives they equal ``reward`` and the end of an
    episode.
    """

    obs: Observation  # [B, ...]
    reward: "jax.Array"  # float32 [B]
    terminated: "jax.Array"  # bool [B]
    truncated: "jax.Array"  # bool [B]
    valid: "jax.Array"  # bool [B]
    raw_reward: "jax.Array"  # float32 [B]
    game_over: "jax.Array"  # bool [B]


class XlaFunctions(NamedTuple):
    """The compiled face of an ``EnvPoolVecEnv``.

    Attributes:
        handle: ``() -> XlaHandle`` of the pool as it stands. Take one before each stretch of compiled steps
            that follows a reset or steps from Python; between stretches the last one may be carried on.
        step: ``(XlaHandle, action [B, ...]) -> (XlaHandle, XlaRows)`` for use inside ``jit`` and ``scan``.
    """

    handle: Callable[[], XlaHandle]
    step: "Callable[[XlaHandle, jax.Array], tuple[XlaHandle, XlaRows]]"


def make_xla_functions(env: "EnvPoolVecEnv") -> XlaFunctions:
    """Build the functions; see ``EnvPoolVecEnv.xla_functions``, which checks and keeps them."""
    import jax.numpy as jnp

    pool, spec = env.pool, env.pool_spec
    address, _, _, native_step = pool.xla()

    def handle() -> XlaHandle:
        return XlaHandle(jnp.asarray(address), jnp.asarray(env.ended))

    def step(handle: XlaHandle, action: "jax.Array") -> tuple[XlaHandle, XlaRows]:
        after, (obs, reward, terminated, truncated, info) = native_step(
            handle.pool, action.astype(spec.action_dtype)
        )
        valid = ~handle.ended
        ended = terminated | truncated
        raw_reward = info["reward"] if spec.counts_lives else reward
        rows = XlaRows(
            obs=to_space(spec.observation_space, obs),
            reward=jnp.where(valid, reward, 0.0),
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            raw_reward=jnp.where(valid, raw_reward, 0.0),
            game_over=truncated | (info["terminated"] > 0) if spec.counts_lives else ended,
        )
        return XlaHandle(after, ended), rows

    return XlaFunctions(handle, step)
