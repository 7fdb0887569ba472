"""Values of a policy in a latent model, by rollouts that imagine the end of episodes as a share of them."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# ``(z, key) -> LatentOutcome`` of one step of the policy in the model.
LatentStep: TypeAlias = Callable[[Array, Array], "LatentOutcome"]


class LatentOutcome(NamedTuple):
    """A step in latents ``[N, *Z]``."""

    next_z: Float[Array, " N *Z"]
    reward: Float[Array, " N"]
    ends: Float[Array, " N"]  # probability that the episode ends with it; 0 without a predictor


def latent_returns(
    step: LatentStep, z: Float[Array, " N *Z"], key: Array, horizon: int, gamma: float
) -> Float[Array, " N"]:
    """One discounted return from each latent: samples whose mean is ρ̄ up to what ``gamma ** horizon`` leaves out."""

    def one(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        z, weight = carry
        out = step(z, key)
        return (out.next_z, weight * gamma * (1.0 - out.ends)), weight * out.reward

    weight = jnp.ones(z.shape[0])
    _, rewards = jax.lax.scan(one, (z, weight), jax.random.split(key, horizon))
    total: Float[Array, " N"] = jnp.sum(rewards, axis=0)
    return total
