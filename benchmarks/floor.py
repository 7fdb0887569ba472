"""The least time that work can take: its matrix products at the speed of one large product on this machine."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def cpu_seconds(call: Callable[[], Any], rounds: int) -> float:
    """Median CPU time of a call, without compilation."""
    jax.block_until_ready(call())
    times = []
    for _ in range(rounds):
        start = time.process_time()
        jax.block_until_ready(call())
        times.append(time.process_time() - start)
    return float(np.median(times))


def matmul_flops(size: int = 512) -> float:
    """Operations per CPU-second of a float32 product of square matrices."""
    product, matrix = jax.jit(lambda a: a @ a), jnp.ones((size, size))
    return 2 * size**3 / cpu_seconds(lambda: product(matrix), 50)


def product_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of all matrix products and convolutions of a call, two for each multiplication with its sum.

    Loops of a known length count as often as they run, others once; of branches, the most expensive counts.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        inner = [_count(each) for each in _inside(equation.params)]
        name, (out, *_) = equation.primitive.name, equation.outvars or [None]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(out.aval.shape) * math.prod(shape[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(out.aval.shape) * math.prod(kernel) / features
        elif name == "scan":
            total += equation.params["length"] * sum(inner)
        elif name == "cond":
            total += max(inner)
        else:
            total += sum(inner)
    return total


def _inside(params: dict[str, Any]) -> Iterator[Any]:
    """The programs that an operation holds."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(each, "jaxpr", each)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
