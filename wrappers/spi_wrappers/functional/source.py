"""Where a functional environment comes from: an object, a registered name, or ``"module:attribute"``."""

import dataclasses
import importlib
from typing import Any

from spi_plugins.envs.base import FunctionalEnv


@dataclasses.dataclass(frozen=True)
class Source:
    """What a face is made from, and is made from again after pickling.

    Attributes:
        env: a functional environment, a registered name, or ``"module:attribute"``.
        kwargs: for the factory behind the name.
    """

    env: str | FunctionalEnv
    kwargs: dict[str, Any]

    def build(self) -> FunctionalEnv:
        """Make the functional environment.

        Raises:
            TypeError: ``env`` is not a functional environment and does not name one, or it is an object and
                there are also arguments.
            ValueError: the module does not have the attribute.
            ImportError: there is no such module.
            UnknownPluginError: nothing is registered under the name.
        """
        if isinstance(self.env, FunctionalEnv):
            if self.kwargs:
                raise TypeError(
                    f"The arguments {sorted(self.kwargs)} are for an env given by name, but env is already a "
                    f"FunctionalEnv: {self.env.name}."
                )
            return self.env
        if not isinstance(self.env, str):
            raise TypeError(
                "env must be a FunctionalEnv, a registered name or 'module:attribute', "
                f"got {type(self.env).__name__}."
            )
        made = self._make(self.env)
        if not isinstance(made, FunctionalEnv):
            raise TypeError(f"env={self.env!r} must be a functional environment, got {type(made).__name__}.")
        return made

    def _make(self, name: str) -> Any:
        module, colon, attribute = name.partition(":")
        if not colon:
            # Imported late, because the plugin host may be importing this module.
            from spi_plugins.plugins import make_env

            return make_env(name, **self.kwargs)
        target = getattr(importlib.import_module(module), attribute, None)
        if target is None:
            raise ValueError(f"env={name!r}: the module {module!r} has no attribute {attribute!r}.")
        # A FunctionalEnv is a tuple, so what can be called is a factory.
        return target(**self.kwargs) if callable(target) else Source(target, self.kwargs).build()
