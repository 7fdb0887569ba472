"""The errors that the library raises on purpose: one tree, so that ``except SPIError`` catches them all.

::

    SPIError
    ├── PluginError                               something about a plugin or a registered name
    │   ├── UnknownPluginError (KeyError)         nothing is registered under that name
    │   ├── DuplicatePluginError (ValueError)     two plugins want the same name
    │   └── PluginLoadError (ImportError)         a plugin, or what it registered, cannot be imported
    ├── ModelFileError                            a model file is damaged, unknown or from a newer version
    ├── EnvironmentNotSupportedError (ValueError) an environment of a kind or with a space that cannot be used
    └── MissingDependencyError (ImportError)      an optional package is not installed; names the pip command

    UserWarning
    └── PluginWarning                             a plugin was left out, and why
"""


class SPIError(Exception):
    """Root of the errors that the library raises on purpose. They say what came and what is allowed."""


class PluginError(SPIError):
    """Something about a plugin, or about a name that plugins register, is wrong."""


class UnknownPluginError(PluginError, KeyError):
    """Nothing is registered under the name. A ``KeyError`` whose text can be read."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument: quotes around a sentence, and escaped line ends.
        return str(self.args[0]) if self.args else ""


class DuplicatePluginError(PluginError, ValueError):
    """Two plugins register the same name, or are themselves called the same; both are named."""


class PluginLoadError(PluginError, ImportError):
    """A plugin, or a target that it registered, cannot be imported; plugin and distribution are named."""


class ModelFileError(SPIError):
    """A model file is damaged, is no model file, or was written by a newer version.

    Not a ``ValueError``: Stable-Baselines3 takes one from ``set_parameters`` for an old DQN file and hides
    it.
    """


class EnvironmentNotSupportedError(SPIError, ValueError):
    """An environment is of a kind, or has a space, that cannot be used; names the fix where there is one."""


class MissingDependencyError(SPIError, ImportError):
    """An optional package is not installed. The message ends with the pip command that installs it."""

    @classmethod
    def named(cls, package: str, purpose: str, extra: str) -> "MissingDependencyError":
        """Build the error for a package that one of our extras brings.

        Args:
            package: import name of the missing package, for example ``"envpool"``.
            purpose: what needs it, for example ``"Atari environments"``; starts the sentence.
            extra: the extra of ``spi-plugins`` that installs it, for example ``"envpool"``.

        Returns:
            The error, to be raised ``from`` the ``ImportError`` at hand.
        """
        return cls(
            f"{purpose} need the package {package!r}, which is not installed: "
            f"pip install 'spi-plugins[{extra}]'",
            name=package,
        )


class PluginWarning(UserWarning):
    """A plugin was left out or loaded in part; the text names plugin, distribution, version and reason."""
