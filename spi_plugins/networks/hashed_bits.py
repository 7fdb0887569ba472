"""Random bits by a hash of the entry's index: a fraction of the cost of JAX's generator, for noise and dropout."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import define_prng_impl
from jaxtyping import Array, PRNGKeyArray, UInt32


def draw_seed(key: PRNGKeyArray) -> UInt32[Array, "2"]:
    """The 64 bits of a key that ``hashed_bits`` takes; consumes the key."""
    return jax.random.bits(key, (2,), jnp.uint32)


def hashed_bits(seed: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, " *shape"]:
    """Uniform 32-bit words from a seed of ``draw_seed``."""
    index = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _scramble(_scramble(index + seed[0]) ^ seed[1])


def hashed_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key from which ``jax.random`` draws by ``hashed_bits``; consumes the key.

    Threefry is a loop of a dozen kernels at every place where something is drawn or a key is split. A decision has
    fifteen such places, so they were a fifth of what XLA compiled.
    """
    hashed: PRNGKeyArray = jax.random.wrap_key_data(draw_seed(key), impl=_HASHED)
    return hashed


def _drawn(seed: UInt32[Array, "2"], bit_width: int, shape: tuple[int, ...]) -> Any:
    if bit_width > 32:
        raise ValueError(f"Hashed keys draw numbers of up to 32 bits, got bit_width={bit_width}.")
    words = hashed_bits(seed, shape) >> (32 - bit_width)
    return words.astype(f"uint{bit_width}")


def _split(seed: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "*shape 2"]:
    return hashed_bits(seed ^ jnp.uint32(_SPLIT), (*shape, 2))


def _fold_in(seed: UInt32[Array, "2"], data: Array | int) -> UInt32[Array, "2"]:
    number = jnp.asarray(data).astype(jnp.uint32)
    return hashed_bits(jnp.stack([seed[0] ^ jnp.uint32(_FOLD), seed[1] ^ _scramble(number)]), (2,))


def _seeded(number: Array | int) -> UInt32[Array, "2"]:
    return _fold_in(jnp.zeros(2, jnp.uint32), number)


def _scramble(x: UInt32[Array, " *any"]) -> UInt32[Array, " *any"]:
    """A bijection of 32-bit words in which every input bit flips every output bit about half of the time.

    Two rounds of multiply and xor-shift with the constants of C. Wellons' search ("lowbias32").
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


# Keys are split and folded in other streams than those that numbers are drawn from.
_SPLIT, _FOLD = 0x9E3779B9, 0x85EBCA6B
_HASHED = define_prng_impl(
    key_shape=(2,),
    seed=_seeded,
    split=_split,
    random_bits=_drawn,
    fold_in=_fold_in,
    name="hashed_bits",
    tag="hashed",
)
