"""One planner for many environments: encode observations, restart plans where episodes begin, map over the batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from spi_plugins.networks.hashed_bits import hashed_key
from spi_plugins.planners.planner import Decision, Planner
from spi_plugins.sharding import apart
from spi_plugins.types import Observation, Params, PyTree
from spi_plugins.world_models.model import Model, ModelSpec


def init_plans(planner: Planner, spec: ModelSpec, n_envs: int) -> PyTree:
    """The planner's state at the start of ``n_envs`` episodes."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_envs, *jnp.shape(x))), planner.init(spec))


def batch_planner(
    planner: Planner, model: Model
) -> Callable[..., tuple[Float[Array, "B A"], PyTree, dict[str, Array]]]:
    """Make a planner decide for ``B`` environments.

    Returns:
        ``(params, obs, plans, episode_start, key, *, deterministic) -> (action, plans, metrics)``, where ``plans``
        are the states after the last decisions, restarted where ``episode_start``, ``bool [B]``, is true. Actions are
        in [-1, 1], metrics ``[B]``.

        ``deterministic`` leaves out the exploration noise and draws random sequences by ``key`` and the environment's
        own observation: the same observation leads to the same action, whatever else is decided, and another one to
        other sequences. If all shared the same sequences, what these happen to miss would be missed at every step.
    """

    def plan(
        params: Params,
        obs: Observation,
        plans: PyTree,
        episode_start: Bool[Array, " B"],
        key: Array,
        *,
        deterministic: bool,
    ) -> tuple[Float[Array, "B A"], PyTree, dict[str, Array]]:
        n_envs = episode_start.shape[0]

        def restart(start: Array, kept: Array) -> Array:
            return jnp.where(episode_start.reshape((-1,) + (1,) * (kept.ndim - 1)), start, kept)

        def plan_own(params: Params, z: Array, plans: PyTree, keys: Array) -> PyTree:
            def plan_one(z: Array, state: PyTree, key: Array) -> Decision:
                return planner.plan(model, params, z, state, key, deterministic=deterministic)

            decisions: PyTree = jax.vmap(plan_one)(z, plans, keys)
            return decisions

        plans = jax.tree.map(restart, init_plans(planner, model.spec, n_envs), plans)
        z, key = model.encode(params, obs), hashed_key(key)
        if deterministic:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, _digest(obs))
        else:
            keys = jax.random.split(key, n_envs)
        decided: tuple[Array, PyTree, dict[str, Array]] = apart(plan_own, params, z, plans, keys)
        return decided

    return plan


def _digest(obs: Observation) -> UInt32[Array, " B"]:
    """Hash each observation by integer arithmetic, which is exact in any order."""
    total = jnp.zeros((), jnp.uint32)
    for leaf in jax.tree.leaves(obs):
        numbers = jnp.where(leaf == 0, 0.0, leaf.astype(jnp.float32))  # -0.0 is the same observation as 0.0
        words = jax.lax.bitcast_convert_type(numbers, jnp.uint32).reshape(len(leaf), -1)
        places = 2 * jnp.arange(words.shape[1], dtype=jnp.uint32) + 1
        mixed = (words ^ (words >> 15)) * jnp.uint32(2654435761) * places[None]
        total = total * jnp.uint32(31) + jnp.sum(mixed ^ (mixed >> 13), axis=1, dtype=jnp.uint32)
    return total
