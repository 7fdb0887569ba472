"""What is done differently on a CPU and on an accelerator, so that the choices are made in one place."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from spi_plugins.types import PyTree

C = TypeVar("C")


def loop(body: Callable[[C, Any], tuple[C, PyTree]], start: C, rows: PyTree) -> tuple[C, PyTree]:
    """``scan`` over the few steps of a horizon, as a loop for XLA on every backend.

    Unrolled, a decision and a gradient step compile for twice as long and run no faster (``docs/performance.md``).
    """
    return jax.lax.scan(body, start, rows)
