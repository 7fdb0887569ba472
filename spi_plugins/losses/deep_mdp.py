"""Per-sample losses of a latent model (DeepMDP, Gelada et al., 2019), in the forms that Deep SPI trains on.

No gradient is stopped: it reaches the encoder through the latent (the model's input), the next latent (the target)
and the reward. There is no target network.
"""

from typing import TypeVar

import jax
from jax import lax
from jax import numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

SQRT_2_OVER_PI = 0.7978845608028654
Tree = TypeVar("Tree")


def smooth_l1(error: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """Huber loss with threshold 1: ``e^2 / 2`` where ``|e| < 1``, else ``|e| - 1/2``."""
    magnitude = jnp.minimum(jnp.abs(error), 1.0)
    return magnitude * (jnp.abs(error) - 0.5 * magnitude)


def total(elements: Float[Array, " B *any"]) -> Float[Array, " B"]:
    """Sum over all axes but the first."""
    return jnp.sum(elements, axis=tuple(range(1, elements.ndim)))


def share_gradient(x: Float[Array, " *any"], share: float) -> Float[Array, " *any"]:
    """Keep the value of ``x`` and scale its gradient by ``share``."""
    return lax.stop_gradient(x) + share * (x - lax.stop_gradient(x))


def balance(prediction: Tree, target: Array, weight: float | None) -> tuple[Tree, Array]:
    """Split a loss' gradient between prediction and target; without a weight, leave both whole.

    For any loss ``l`` of the two, the result has the value and gradient of ``weight l(prediction, sg(target)) + (1 -
    weight) l(sg(prediction), target)``, at the cost of one ``l``.
    """
    if weight is None:
        return prediction, target
    shared: Tree = jax.tree.map(lambda x: share_gradient(x, weight), prediction)
    return shared, share_gradient(target, 1.0 - weight)


def sample_transition_loss(
    prediction: Float[Array, " B *z"], target: Float[Array, " B *z"]
) -> Float[Array, " B"]:
    """Smooth-L1 between one sampled next latent and the true one, *summed* over the latent's entries.

    The published coefficient 5e-4 belongs to this sum over 3,136 entries.
    """
    return total(smooth_l1(prediction - target))


def deterministic_transition_loss(
    prediction: Float[Array, " B *z"], target: Float[Array, " B *z"]
) -> Float[Array, " B"]:
    """Smooth-L1 between the predicted next latent and the true one, the *mean* over the latent's entries."""
    return total(smooth_l1(prediction - target)) * (prediction.shape[0] / prediction.size)


def expected_deviation(
    loc: Float[Array, " *any"], scale: Float[Array, " *any"], target: Float[Array, " *any"]
) -> Float[Array, " *any"]:
    """``E |target - loc - scale n|`` for a standard normal ``n``: the mean of a folded normal."""
    distance = (target - loc) / (scale + 1e-8)
    density = SQRT_2_OVER_PI * jnp.exp(-0.5 * jnp.square(distance))
    return scale * (distance * (2.0 * ndtr(distance) - 1.0) + density)


def mixture_transition_loss(
    loc: Float[Array, "B K Z"],
    scale: Float[Array, "B K Z"],
    log_weights: Float[Array, "B K"],
    target: Float[Array, "B Z"],
) -> Float[Array, " B"]:
    """Smooth-L1 of the expected deviation, averaged over components and summed over the latent's entries.

    Log weights are normalized; for one normal they are zeros of shape ``[B, 1]``.
    """
    deviation = expected_deviation(loc, scale, jnp.broadcast_to(target[:, None, :], loc.shape))
    return total(smooth_l1(jnp.sum(jnp.exp(log_weights)[:, :, None] * deviation, axis=1)))


def categorical_transition_loss(
    prediction: Float[Array, "B N C"], target: Float[Array, "B N C"]
) -> Float[Array, " B"]:
    """Smooth-L1 between sampled and true one-hots: summed over classes, mean over categories."""
    return total(smooth_l1(prediction - target)) / prediction.shape[1]


def termination_cross_entropy(
    probability: Float[Array, " B"], terminated: Float[Array, " B"]
) -> Float[Array, " B"]:
    """Cross-entropy of the predicted probability of a terminal next state.

    Unlike ``smooth_l1`` of the two, it has a gradient where the predictor is sure and wrong: termination is rare, and a
    predictor that first learns "never" must be able to recover.
    """
    kept = jnp.clip(probability, 1e-30, 1.0 - 1e-6)
    return -terminated * jnp.log(kept) - (1.0 - terminated) * jnp.log1p(-kept)
