"""Binds the functions of an environment to the settings that determine its shapes."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Configured:
    """``function`` with ``config`` as its first argument.

    Unlike two ``functools.partial``, two of these are equal if their parts are. So environments with equal settings
    share one compilation, even after pickling.

    Attributes:
        function: defined at the top of a module, so that it can be pickled.
        config: frozen, therefore hashable.
    """

    function: Callable[..., Any]
    config: Hashable

    def __call__(self, *args: Any) -> Any:
        """Call ``function(config, *args)``."""
        return self.function(self.config, *args)
