"""State-dependent exploration (gSDE, arXiv:2005.05719): noise that is a linear function of the actor's last layer.

A matrix is drawn for each environment and kept for some steps, so that the noise changes as the state does. Numbers
are those of SB3's ``StateDependentNoiseDistribution``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPSILON = 1e-6


def deviations(log_std: Float[Array, "H _"], n_actions: int, *, use_expln: bool) -> Float[Array, "H A"]:
    """Standard deviations of a matrix's entries.

    Args:
        log_std: one for each entry, or ``[H, 1]`` for each row.
        n_actions: ``A``.
        use_expln: grow like a logarithm above 1 instead of exponentially.
    """
    std = jnp.exp(log_std)
    if use_expln:
        # Both branches are kept finite for the sake of gradients.
        std = jnp.where(
            log_std <= 0,
            jnp.exp(jnp.minimum(log_std, 0.0)),
            jnp.log1p(jnp.maximum(log_std, 0.0) + _EPSILON) + 1,
        )
    return jnp.broadcast_to(std, (len(log_std), n_actions))


def action_log_std(hidden: Float[Array, "B H"], std: Float[Array, "H A"]) -> Float[Array, "B A"]:
    """Log standard deviation of actions, whatever the matrix; the noise does not train the layers below."""
    return 0.5 * jnp.log(jax.lax.stop_gradient(hidden) ** 2 @ std**2 + _EPSILON)


def draw_matrices(std: Float[Array, "H A"], n_envs: int, key: Array) -> Float[Array, "B H A"]:
    """A matrix for each environment."""
    return std[None] * jax.random.normal(key, (n_envs, *std.shape), std.dtype)


def noise(hidden: Float[Array, "B H"], matrices: Float[Array, "B H A"]) -> Float[Array, "B A"]:
    """What to add to the mean actions."""
    return jnp.einsum("bh,bha->ba", hidden, matrices)
