"""The hooks that a plugin may implement. Each docstring is the hook's documentation.

A hook hands over a ``register`` callback; a plugin calls it once for everything that it offers. A target is
best a string ``"package.module:attribute"``: it is imported when the name is first used, so listing imports
nothing. What ``register`` refuses (a name that is taken, a target that is no ``"module:attribute"``) it
refuses by raising.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import pluggy

PROJECT_NAME = "spi_plugins"

#: Version of the hooks. A plugin that needs newer ones sets ``SPI_PLUGIN_API`` to that version.
PLUGIN_API = 1

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)

#: ``"package.module:attribute"``, imported on first use, or the object itself.
Target: TypeAlias = str | Callable[..., Any]


class Register(Protocol):
    """The callback of every hook that needs nothing but a name and a target."""

    def __call__(self, name: str, target: Target, *, summary: str = "") -> None:
        """Offer ``target`` under ``name``; ``summary`` is one line for listings."""


class RegisterEnv(Protocol):
    """The callback of ``register_envs``."""

    def __call__(self, name: str, target: Target, *, summary: str = "", family: bool = False) -> None:
        """Offer an environment, or with ``family=True`` a whole family of them."""


class RegisterWrapper(Protocol):
    """The callback of ``register_wrappers``."""

    def __call__(self, name: str, target: Target, *, summary: str = "", vector: Target | None = None) -> None:
        """Offer a wrapper and, as ``vector``, its twin for vector environments."""


@hookspec
def register_algorithms(register: Register) -> None:
    """Offer algorithms with the face of Stable-Baselines3.

    Each target is a subclass of ``stable_baselines3.common.base_class.BaseAlgorithm``: it is built as
    ``cls(policy, env, seed=..., verbose=..., **hyperparameters)`` and has ``learn``, ``predict``, ``save``
    and ``load``. ``spi_plugins.testing.check_algorithm`` checks that. It is used by ``spi_plugins.make(name,
    ...)`` and ``spi train NAME``.

    Args:
        register: ``register(name, target, *, summary="")``, called once per algorithm. Names are lower case,
            words joined by ``_``.

    Example:
        A third-party package offers one algorithm in two steps::

            # my_package/plugin.py
            from spi_plugins import hookimpl

            @hookimpl
            def register_algorithms(register):
                register("my_spi", "my_package.algorithm:MySPI", summary="SPI with my trust region")

            # pyproject.toml
            [project.entry-points.spi_plugins]
            my-package = "my_package.plugin"
    """


@hookspec
def register_planners(register: Register) -> None:
    """Offer planners that search in a learned world model.

    Each target is a factory: called with the planner's settings as keyword arguments, it returns a
    ``spi_plugins.planners.planner.Planner``, a named tuple of pure functions. It is found by
    ``spi_plugins.get_planner(name)``, and ``spi_plugins.testing.check_planner`` checks what it builds.

    Args:
        register: ``register(name, target, *, summary="")``, called once per planner. Names are lower case,
            words joined by ``_``.

    Example:
        A package that offers the cross-entropy method::

            from spi_plugins import hookimpl

            @hookimpl
            def register_planners(register):
                register("my_cem", "my_package.planner:make_cem", summary="Cross-entropy method")
    """


@hookspec
def register_world_models(register: Register) -> None:
    """Offer world models: latent dynamics, rewards and costs that are fitted to data.

    Each target is a factory, called as ``target(observations, actions, **settings)`` with the specifications of
    ``spi_plugins.types``; it returns a ``spi_plugins.world_models.model.WorldModel``: pure functions for planners
    and dreams, how they are fitted to a replay buffer, and all settings, from which the same factory builds the same
    model again when a file is loaded. ``spi_plugins.fit_world_model(env, kind=name)`` uses it, its files are dreams,
    and ``spi_plugins.testing.check_world_model`` checks it.

    Args:
        register: ``register(name, target, *, summary="")``, called once per world model. Names are lower
            case, words joined by ``_``.

    Example:
        A package that offers a recurrent model::

            from spi_plugins import hookimpl

            @hookimpl
            def register_world_models(register):
                register("my_rssm", "my_package.rssm:make_rssm", summary="Recurrent state-space model")
    """


@hookspec
def register_envs(register: RegisterEnv) -> None:
    """Offer environments, one by one or as families.

    A plain target is a factory that is called with the user's keyword arguments and returns a
    ``spi_plugins.envs.base.FunctionalEnv`` or a ``gymnasium.Env``. A *family* stands for many environments of
    one outside package: its target is called as ``target(env_id, num_envs=..., seed=..., **env_kwargs)`` and
    returns a vector environment (of Gymnasium, Stable-Baselines3 or EnvPool), and users write
    ``"<family>:<env_id>"``, for example ``"envpool:Breakout-v5"``. Either is used by
    ``spi_plugins.make_env(name, ...)`` and ``spi train ALGO --env NAME``.

    Args:
        register: ``register(name, target, *, summary="", family=False)``, called once per environment or
            family. An environment is named as in Gymnasium, ``namespace/Name-v0``; a family by one lower-case
            word.

    Example:
        A package that offers one environment and the family ``"myarcade"``::

            from spi_plugins import hookimpl

            @hookimpl
            def register_envs(register):
                register("mine/Corridor-v0", "my_package.corridor:make_corridor", summary="A corridor")
                register("myarcade", "my_package.arcade:make_vec", family=True, summary="My arcade's games")
    """


@hookspec
def register_wrappers(register: RegisterWrapper) -> None:
    """Offer environment wrappers.

    Each target is a ``gymnasium.Wrapper`` class: called with an environment and keyword arguments. ``vector``
    is its twin for vector environments, a ``gymnasium.vector.VectorWrapper`` class that takes the same
    keyword arguments. They are found by ``spi_plugins.get_wrapper(name)`` and ``spi_plugins.get_wrapper(name,
    vector=True)``; ``spi_plugins.testing.check_wrapper`` checks them.

    Args:
        register: ``register(name, target, *, summary="", vector=None)``, called once per wrapper. Names are
            lower case, words joined by ``_``.

    Example:
        A package that offers a wrapper and its vector twin::

            from spi_plugins import hookimpl

            @hookimpl
            def register_wrappers(register):
                register(
                    "speed_limit",
                    "my_package.wrappers:SpeedLimit",
                    vector="my_package.vector_wrappers:SpeedLimit",
                    summary="A cost of 1 above a speed",
                )
    """


@hookspec
def register_callbacks(register: Register) -> None:
    """Offer training callbacks by name, for the command line.

    Each target is a subclass of ``stable_baselines3.common.callbacks.BaseCallback`` or a function that
    returns one; it is called with the keyword arguments of ``spi train --callback NAME key=value ...``, and
    found by ``spi_plugins.get_callback(name)``.

    Args:
        register: ``register(name, target, *, summary="")``, called once per callback. Names are lower case,
            words joined by ``_``.

    Example:
        A package that offers a callback for ``spi train ppo --env CartPole-v1 --callback slack
        channel=runs``::

            from spi_plugins import hookimpl

            @hookimpl
            def register_callbacks(register):
                register("slack", "my_package.slack:SlackCallback", summary="Post each evaluation to Slack")
    """


@hookspec
def register_commands(register: Register) -> None:
    """Offer subcommands of the ``spi`` command.

    Each target is a function that gets the subcommand's ``argparse.ArgumentParser``, adds the arguments and
    returns the function that runs the command: it takes the parsed ``argparse.Namespace`` and returns the
    exit code. The target is imported only when its command is called. A ``spi_plugins.errors.SPIError`` that
    is raised while the command runs becomes one line and exit code 2.

    Args:
        register: ``register(name, target, *, summary="")``, called once per command. Names are lower case,
            words joined by ``-``; ``summary`` is the command's line in ``spi --help``.

    Example:
        A package that offers ``spi hello NAME``::

            # my_package/plugin.py
            from spi_plugins import hookimpl

            @hookimpl
            def register_commands(register):
                register("hello", "my_package.hello:configure", summary="Greet somebody")

            # my_package/hello.py
            def configure(parser):
                parser.add_argument("name")
                return run

            def run(args):
                print(f"Hello, {args.name}.")
                return 0
    """
