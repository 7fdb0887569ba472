"""A latent of categorical variables: one-hot vectors with straight-through gradients."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray


def straight_through(
    logits: Float[Array, "*batch C"], key: PRNGKeyArray | None = None
) -> Float[Array, "*batch C"]:
    """One-hot of the most likely class, or of a sampled one, with the gradient of the probabilities.

    Args:
        logits: unnormalized log probabilities.
        key: draws the class by Gumbel noise; without it, the mode.

    Returns:
        Exact one-hot vectors; their gradient is the softmax's.
    """
    probabilities = jax.nn.softmax(logits)
    scores = logits if key is None else logits + jax.random.gumbel(key, logits.shape)
    hot = jax.nn.one_hot(jnp.argmax(jax.lax.stop_gradient(scores), axis=-1), logits.shape[-1])
    # The bracket is exactly zero in value; adding it the other way around would round the one-hots.
    return hot + (probabilities - jax.lax.stop_gradient(probabilities))


class CategoricalLatent(nnx.Module):
    """Dense head onto ``categories`` independent categorical variables of ``classes`` values each.

    Deterministic: the mode, straight-through. Kernel LeCun-normal, bias 0.

    Args:
        features_in: length of the input vectors.
        categories: number of variables.
        classes: values of each.
        rngs: source of the initial kernel.
    """

    def __init__(self, features_in: int, categories: int = 32, classes: int = 32, *, rngs: nnx.Rngs) -> None:
        shape = (features_in, categories * classes)
        self.categories, self.classes = categories, classes
        self.kernel = nnx.Param(jax.nn.initializers.lecun_normal()(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((shape[1],)))

    def __call__(self, features: Float[Array, "B F"]) -> Float[Array, "B N C"]:
        """One-hot latents ``[B, categories, classes]``."""
        logits = features @ self.kernel[...] + self.bias[...][None, :]
        return straight_through(logits.reshape(-1, self.categories, self.classes))
