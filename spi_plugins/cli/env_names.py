"""Where an environment's name is known. Imports no environment, JAX or torch."""

import importlib.util
import sys
from typing import Literal

import gymnasium

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_families import suggestion
from spi_plugins.errors import UnknownPluginError

Source = Literal["registered", "family", "gymnasium"]


def find_source(name: str) -> Source:
    """Where an environment's name is known.

    Raises:
        UnknownPluginError: nowhere; the message names the closest.
        DuplicatePluginError: several plugins claim the name.
        CommandError: its module is not installed.
    """
    envs = plugins.registry("envs")
    prefix, colon, _ = name.partition(":")
    if _is_family(prefix):
        plugins.find_env(name)  # raises if the member's name is missing
        return "family"
    if colon:  # "module:id": Gymnasium imports the module, which registers the id
        _check_module(name, prefix)
        return "gymnasium"
    if name in envs.names():
        return "registered"
    if name in gymnasium.registry:
        return "gymnasium"
    known = [known for known in envs.names() if not _is_family(known)] + list(gymnasium.registry)
    hint = suggestion(name, known)
    raise UnknownPluginError(
        f"No environment named {name!r}.{hint} Allowed: what 'spi list envs' shows, and any id that "
        "Gymnasium knows; one of another package may need its module, as in 'ale_py:ALE/Pong-v5'."
    )


def _is_family(name: str) -> bool:
    envs = plugins.registry("envs")
    return name in envs.names() and envs.peek(name).family


def check_gymnasium_id(name: str) -> None:
    """Refuse what ``gymnasium.make`` cannot know.

    Raises:
        CommandError: the id is unknown, or its module is not installed.
    """
    module, colon, _ = name.partition(":")
    if colon:
        _check_module(name, module)
    elif name not in gymnasium.registry:
        hint = suggestion(name, gymnasium.registry)
        raise CommandError(f"--env {name} is not a Gymnasium id.{hint}")


def _check_module(name: str, module: str) -> None:
    package = module.partition(".")[0]
    if package in sys.modules or (package.isidentifier() and importlib.util.find_spec(package) is not None):
        return
    families = [family for family in plugins.registry("envs").names() if _is_family(family)]
    hint = plugins.did_you_mean(package, families)
    raise CommandError(f"The environment {name!r} cannot be made: there is no module {package!r}.{hint}")


def check_imports(env: str) -> None:
    """Refuse to import a module only because a run's file names it.

    Raises:
        CommandError: the environment's name asks for it; the message names the option that allows it.
    """
    module = env.partition(":")[0]
    if ":" not in env or module in sys.modules or _is_family(module):
        return
    raise CommandError(
        f"The run's environment {env!r} would import the module {module!r}; if you trust it, add --trust-imports."
    )
