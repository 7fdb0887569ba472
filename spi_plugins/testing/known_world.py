"""A world model with known answers: a quadratic reward, and a cost beyond a line."""

from collections.abc import Set
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.types import Params
from spi_plugins.world_models.model import PARTS, Model, ModelSpec, Step

# Actions have two entries. The reward is the negative squared distance to BEST, which moves a little with the
# latent; first entries above LIMIT cost 1. The policy stays near MODE, which costs nothing and gives about -1.
BEST = (0.6, -0.5)
LIMIT = 0.2
MODE = (-0.2, 0.1)
_POLICY_RANGE = 0.15
_COUNTS = {"cost": ("n_costs", 2), "value": ("n_values", 5), "cost_value": ("n_cost_values", 3)}


def make_known_world(parts: Set[str] = frozenset(PARTS)) -> Model:
    """Build the world with some of the ``PARTS`` that a model may have; its parameters are ``known_params()``."""
    counts: dict[str, Any] = {field: count for part, (field, count) in _COUNTS.items() if part in parts}
    spec = ModelSpec(
        latent_shape=(2,),
        action_size=2,
        horizon=2,
        gamma=0.9,
        cost_gamma=0.95,
        has_termination="termination" in parts,
        **counts,
    )

    def step(params: Params, z: Array, action: Array, key: Array | None) -> Step:
        cost = jnp.broadcast_to(known_cost(params, action)[None], (spec.n_costs, len(z)))
        ended = jnp.full(len(z), 0.02 if spec.has_termination else 0.0)
        return Step(0.5 * z, known_reward(params, z, action), cost, ended)

    def value(params: Params, z: Array, action: Array, members: Array | None) -> Array:
        heads = jnp.arange(spec.n_values) if members is None else members
        return known_reward(params, z, action)[None] + 0.01 * heads[:, None].astype(jnp.float32)

    def cost_value(params: Params, z: Array, action: Array, members: Array | None) -> Array:
        heads = jnp.arange(spec.n_cost_values) if members is None else members
        return known_cost(params, action)[None] + 0.0 * heads[:, None].astype(jnp.float32)

    def policy(params: Params, z: Array, key: Array, *, deterministic: bool) -> Array:
        mode = jnp.broadcast_to(jnp.asarray(MODE)[None], (len(z), 2))
        if deterministic:
            return mode
        # Differs by key and by row, and compiles in a tenth of the time that a normal draw takes.
        phase = jnp.sum(jax.random.key_data(key) % 997).astype(jnp.float32)
        return mode + _POLICY_RANGE * jnp.sin(phase + 12.9898 * jnp.arange(2.0 * len(z))).reshape(-1, 2)

    return Model(
        spec=spec,
        encode=lambda params, obs: obs,
        step=step,
        value=value if spec.n_values else None,
        cost_value=cost_value if spec.n_cost_values else None,
        policy=policy if "policy" in parts else None,
        decode=(lambda params, z: 3.0 * z) if "decoder" in parts else None,
        uncertainty=(lambda params, z, action: jnp.abs(action[:, 1])) if "uncertainty" in parts else None,
    )


def known_params() -> Params:
    """Parameters of the world."""
    return {"best": jnp.array(BEST, jnp.float32), "limit": jnp.array(LIMIT, jnp.float32)}


def best_action(params: Params, z: Float[Array, "N 2"], *, safe: bool) -> Float[Array, "N 2"]:
    """The action with the highest reward; if ``safe``, among those that cost nothing."""
    best: Array = params["best"][None] + 0.1 * z
    return best.at[:, 0].min(params["limit"]) if safe else best


def known_reward(params: Params, z: Float[Array, "N 2"], action: Float[Array, "N 2"]) -> Float[Array, " N"]:
    """The negative squared distance to the best action."""
    distance: Array = action - best_action(params, z, safe=False)
    return -jnp.sum(distance**2, axis=1)


def known_cost(params: Params, action: Float[Array, "N 2"]) -> Float[Array, " N"]:
    """1 beyond the line, 0 elsewhere."""
    beyond: Array = action[:, 0] > params["limit"]
    return beyond.astype(jnp.float32)
