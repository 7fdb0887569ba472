"""Random bits by a hash of the entry's index: a fraction of the cost of JAX's generator, for noise and dropout."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray, UInt32


def draw_seed(key: PRNGKeyArray) -> UInt32[Array, "2"]:
    """The 64 bits of a key that ``hashed_bits`` takes; consumes the key."""
    return jax.random.bits(key, (2,), jnp.uint32)


def hashed_bits(seed: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, " *shape"]:
    """Uniform 32-bit words from a seed of ``draw_seed``."""
    index = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _scramble(_scramble(index + seed[0]) ^ seed[1])


def _scramble(x: UInt32[Array, " *any"]) -> UInt32[Array, " *any"]:
    """A bijection of 32-bit words in which every input bit flips every output bit about half of the time.

    Two rounds of multiply and xor-shift with the constants of C. Wellons' search ("lowbias32").
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
