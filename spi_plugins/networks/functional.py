"""NNX modules turned into pure functions on plain dictionaries of parameters.

``nnx.jit`` and ``nnx.Optimizer`` cost ten times as much as a ``jax.jit`` call on a dict of arrays, and framework
objects must not leak into saved files. So a module is split once, here, and merged again inside the caller's ``jit``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from spi_plugins.types import Params


class Network(NamedTuple):
    """A pair of pure functions.

    ``init(key)`` draws the parameters, ``apply(params, *args, **kwargs)`` calls the module.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]


def functional(factory: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Split the module that ``factory`` builds, whose variables must all be ``nnx.Param``."""
    graphdef = nnx.split(nnx.eval_shape(lambda: factory(nnx.Rngs(0))))[0]

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.split(factory(nnx.Rngs(key)))[1])

    def apply(params: Params, *args: Any, **kwargs: Any) -> Any:
        return nnx.merge(graphdef, nnx.State(params))(*args, **kwargs)

    return Network(init, apply)
