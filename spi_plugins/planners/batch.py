"""One planner for many environments: encode, begin plans anew where episodes begin, map."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.planners.interface import Planner
from spi_plugins.types import Observation, Params, PyTree
from spi_plugins.world_models.interface import Model, ModelSpec


def init_plans(planner: Planner, spec: ModelSpec, n_envs: int) -> PyTree:
    """The planner's state at the start of ``n_envs`` episodes."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (n_envs, *jnp.shape(x))), planner.init(spec))


def plan_batch(
    planner: Planner,
    model: Model,
    params: Params,
    obs: Observation,
    plans: PyTree,
    episode_start: Bool[Array, " B"],
    key: Array,
    *,
    deterministic: bool,
) -> tuple[Float[Array, "B A"], PyTree, dict[str, Array]]:
    """Decide for ``B`` environments.

    Args:
        planner: what decides.
        model: the world.
        params: of the model.
        obs: ``[B, *obs]``.
        plans: of the last decisions.
        episode_start: where they are dropped.
        key: of the decisions; the same for each environment if ``deterministic``, so that what one gets does not depend
            on how many others there are.
        deterministic: no exploration noise.

    Returns:
        Actions in [-1, 1], plans, and the planner's reports ``[B]`` by name.
    """
    n_envs = episode_start.shape[0]

    def restart(start: Array, kept: Array) -> Array:
        return jnp.where(episode_start.reshape((-1,) + (1,) * (kept.ndim - 1)), start, kept)

    plans = jax.tree.map(restart, init_plans(planner, model.spec, n_envs), plans)
    z = model.encode(params, obs)

    def plan_one(z: Array, state: PyTree, key: Array) -> tuple[Array, PyTree, dict[str, Array]]:
        return planner.plan(model, params, z, state, key, deterministic=deterministic)

    if deterministic:
        return jax.vmap(plan_one, in_axes=(0, 0, None))(z, plans, key)
    return jax.vmap(plan_one)(z, plans, jax.random.split(key, n_envs))
