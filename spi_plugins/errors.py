"""The errors that this library raises on purpose: ``except SPIError`` catches all of them.

::

    SPIError
    ├── PluginError                               something is wrong with a plugin or a registered name
    │   ├── UnknownPluginError (KeyError)         nothing is registered under that name
    │   ├── DuplicatePluginError (ValueError)     two plugins claim the same name
    │   └── PluginLoadError (ImportError)         a plugin, or what it registered, cannot be imported
    ├── ModelFileError (ValueError)               a file is damaged, not a model file, or from a newer version
    ├── EnvironmentNotSupportedError (ValueError) an environment's kind or space is not supported
    ├── NotFiniteError (ValueError)               NaN or infinity where numbers are needed
    └── MissingDependencyError (ImportError)      an optional package is not installed; names the pip command

    UserWarning
    └── PluginWarning                             a plugin was left out, and why
"""


class SPIError(Exception):
    """Base class of the errors that this library raises on purpose; each says what came and what is allowed."""


class PluginError(SPIError):
    """Something is wrong with a plugin, or with a name that plugins register."""


class UnknownPluginError(PluginError, KeyError):
    """Nothing is registered under the name."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument: a sentence in quotes, with escaped line ends.
        return str(self.args[0]) if self.args else ""


class DuplicatePluginError(PluginError, ValueError):
    """Two plugins register the same name, or have the same name themselves; the message names both."""


class PluginLoadError(PluginError, ImportError):
    """A plugin, or a target that it registered, cannot be imported; the message names plugin and distribution."""


class ModelFileError(SPIError, ValueError):
    """A file is damaged, is not a model file, or was written by a newer version; or arrays do not fit a model."""


class EnvironmentNotSupportedError(SPIError, ValueError):
    """An environment's kind or space is not supported; the message names the fix where there is one."""


class NotFiniteError(SPIError, ValueError):
    """An observation, reward or cost is NaN or infinite; the message names environment and time step."""


class MissingDependencyError(SPIError, ImportError):
    """An optional package is not installed. The message ends with the pip command that installs it."""

    @classmethod
    def named(cls, package: str, purpose: str, extra: str) -> "MissingDependencyError":
        """Build the error for a package that one of our extras installs.

        Args:
            package: import name of the missing package, for example ``"envpool"``.
            purpose: what needs it, in the plural, for example ``"Atari environments"``; starts the sentence.
            extra: the extra of ``spi-plugins`` that installs it, for example ``"envpool"``.
        """
        return cls(
            f"{purpose} need the package {package!r}, which is not installed: "
            f"pip install 'spi-plugins[{extra}]'",
            name=package,
        )


class PluginWarning(UserWarning):
    """A plugin was left out or loaded in part; the text names the plugin, its distribution and the reason."""
