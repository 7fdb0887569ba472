"""Binding a function of an environment to settings that fix its shapes."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Configured:
    """``function`` with ``config`` as its first argument.

    Unlike ``functools.partial``, two of these are equal if their parts are. So environments made alike share
    one compilation, also after a journey through pickle.

    Attributes:
        function: defined at the top of a module, so that it can be pickled.
        config: frozen, therefore hashable.
    """

    function: Callable[..., Any]
    config: Hashable

    def __call__(self, *args: Any) -> Any:
        """Call ``function(config, *args)``."""
        return self.function(self.config, *args)
