"""A latent of categorical variables: one-hot vectors with straight-through gradients."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from spi_plugins.networks.dense import DenseTrunk, lecun_normal
from spi_plugins.networks.heads import action_features
from spi_plugins.types import ActionSpec


def straight_through(
    logits: Float[Array, "*batch C"], key: PRNGKeyArray | None = None
) -> Float[Array, "*batch C"]:
    """One-hot of the most likely class, or of one sampled by ``key``, with the gradient of the softmax."""
    probabilities = jax.nn.softmax(logits)
    scores = logits if key is None else logits + jax.random.gumbel(key, logits.shape)
    hot = jax.nn.one_hot(jnp.argmax(jax.lax.stop_gradient(scores), axis=-1), logits.shape[-1])
    # The bracket is exactly zero; another order of the additions would round the one-hots.
    return hot + (probabilities - jax.lax.stop_gradient(probabilities))


class CategoricalLatent(nnx.Module):
    """Dense head onto ``categories`` independent categorical variables with ``classes`` values each.

    Returns their modes, with straight-through gradients. The kernel is LeCun-normal, the bias 0.
    """

    def __init__(self, features_in: int, categories: int = 32, classes: int = 32, *, rngs: nnx.Rngs) -> None:
        shape = (features_in, categories * classes)
        self.categories, self.classes = categories, classes
        self.kernel = nnx.Param(lecun_normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((shape[1],)))

    def __call__(self, features: Float[Array, "B F"]) -> Float[Array, "B N C"]:
        """One-hot latents ``[B, categories, classes]``."""
        logits = features @ self.kernel[...] + self.bias[...][None, :]
        return straight_through(logits.reshape(-1, self.categories, self.classes))


class CategoricalTransition(nnx.Module):
    """Transition net on categorical latents: embeds entries and action, then dense layers to logits.

    Discrete actions are embedded, others enter as a vector. Embeddings start from a standard normal.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int],
        action_spec: ActionSpec,
        *,
        hidden_sizes: tuple[int, ...],
        embedding: int,
        rngs: nnx.Rngs,
    ) -> None:
        categories, classes = latent_shape
        self.action_spec, self.latent_shape = action_spec, latent_shape
        self.tokens = nnx.Param(jax.random.normal(rngs.params(), (categories, classes, embedding)))
        self.action_embedding = nnx.Param(jax.random.normal(rngs.params(), (action_spec.size, embedding)))
        self.trunk = DenseTrunk(categories * embedding, embedding, hidden_sizes, lipschitz=False, rngs=rngs)
        self.kernel = nnx.Param(lecun_normal(rngs.params(), (hidden_sizes[-1], categories * classes)))
        self.bias = nnx.Param(jnp.zeros((categories * classes,)))

    def __call__(
        self, z: Float[Array, "B N C"], action: Array, key: PRNGKeyArray | None
    ) -> Float[Array, "B N C"]:
        """Sample the next latent, or take the mode without a key: one-hot, with straight-through gradients."""
        tokens = jnp.einsum("bnc,nce->bne", z, self.tokens[...]).reshape(z.shape[0], -1)
        embedded = action_features(self.action_spec, action) @ self.action_embedding[...]
        logits = self.trunk(tokens, embedded) @ self.kernel[...] + self.bias[...][None, :]
        return straight_through(logits.reshape(-1, *self.latent_shape), key)
