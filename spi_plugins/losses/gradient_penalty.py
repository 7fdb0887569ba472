"""Gradient penalty: the soft way to keep a latent model's Lipschitz constant small (Gelada et al., 2019)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gradient_penalty(
    model: Callable[[Array, Array], Array], z: Float[Array, " B *z"], action: Float[Array, "B N"]
) -> Float[Array, ""]:
    """Mean squared norm of the gradient of the *sum* of a model's outputs with respect to latent and action.

    Args:
        model: maps ``(z, action)`` to any array whose first axis is the batch; samples must not mix.
        z: latents, taken as constants.
        action: action vectors (one-hot for discrete actions), taken as constants.

    Returns:
        A scalar whose gradient reaches only what ``model`` closes over: the parameters.
    """

    def summed(point: tuple[Array, Array]) -> Array:
        return jnp.sum(model(*point))

    gradients = jax.grad(summed)(jax.lax.stop_gradient((z, action)))
    squares = sum(jnp.sum(jnp.square(part).reshape(part.shape[0], -1), axis=1) for part in gradients)
    return jnp.mean(jnp.asarray(squares))
