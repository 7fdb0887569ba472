"""Where XLA may not fuse: what it would otherwise compute again for each of its consumers."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def materialized(x: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """``x``, computed only once on the CPU.

    XLA would compute it again for each entry of a result, and for each consumer, that needs it. Only a branch whose
    condition XLA cannot predict prevents that.
    """

    def on_cpu(x: Array) -> Array:
        bits = lax.bitcast_convert_type(x.ravel()[0], jnp.uint32)
        once: Array = lax.cond((bits | 1) != 0, lambda y: y, lambda y: -y, x)
        return once

    chosen: Array = lax.platform_dependent(x, cpu=on_cpu, default=lambda y: y)
    return chosen


@jax.custom_vjp
def materialized_gradient(x: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """``x``, whose gradient is computed only once on the CPU; see ``materialized``."""
    return x


materialized_gradient.defvjp(lambda x: (x, None), lambda _, cotangent: (materialized(cotangent),))
