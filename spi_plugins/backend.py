"""What is done differently on a CPU and on an accelerator, so that the choices are made in one place."""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import jax

from spi_plugins.types import PyTree

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])
Precision: TypeAlias = Literal["highest", "tf32", "bf16"]
_PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def loop(body: Callable[[C, Any], tuple[C, PyTree]], start: C, rows: PyTree) -> tuple[C, PyTree]:
    """``scan`` over the few steps of a horizon, as a loop for XLA on every backend.

    Unrolled, a decision and a gradient step compile for twice as long and run no faster (``docs/performance.md``).
    """
    return jax.lax.scan(body, start, rows)


def at_precision(function: F, precision: Precision) -> F:
    """A function whose matrix products have that precision on an accelerator; a CPU has float32 alone."""
    if jax.default_backend() == "cpu":
        return function

    @functools.wraps(function)
    def precise(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(_PRECISIONS[precision]):
            return function(*args, **kwargs)

    return precise  # type: ignore[return-value]
