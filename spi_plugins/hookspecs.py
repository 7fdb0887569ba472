"""The hooks that a plugin may implement; each docstring is the hook's reference.

A hook receives a ``register`` callback and calls it once per thing it offers, as ``register(name, target,
summary="one line for listings")``. Prefer a string ``"package.module:attribute"`` as the target: it is imported
when the name is first used, so listing imports nothing. Names are lower case, words joined by ``_`` (commands: by
``-``; environments: as in Gymnasium). ``register`` raises for a name that is taken or malformed, and for a target
that is neither callable nor of that form.
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
    """The callback of every hook that needs only a name and a target."""

    def __call__(self, name: str, target: Target, *, summary: str = "") -> None:
        """Offer ``target`` under ``name``; ``summary`` is one line for listings."""


class RegisterEnv(Protocol):
    """The callback of ``register_envs``."""

    def __call__(
        self,
        name: str,
        target: Target,
        *,
        summary: str = "",
        family: bool = False,
        functional: bool = False,
    ) -> None:
        """Offer an environment, or with ``family=True`` a whole family of them; ``functional`` if in JAX."""


class RegisterWrapper(Protocol):
    """The callback of ``register_wrappers``."""

    def __call__(self, name: str, target: Target, *, summary: str = "", vector: Target | None = None) -> None:
        """Offer a wrapper and, as ``vector``, its counterpart for vector environments."""


@hookspec
def register_algorithms(register: Register) -> None:
    """Offer algorithms with Stable-Baselines3's interface.

    Each target is a subclass of ``stable_baselines3.common.base_class.BaseAlgorithm``, built as ``cls(policy, env,
    seed=..., verbose=..., **hyperparameters)``. ``spi_plugins.make(name, ...)`` and ``spi train NAME`` use it;
    ``spi_plugins.testing.check_algorithm`` checks it.

    Args:
        register: ``register(name, target, *, summary="")``, called once per algorithm.

    Example::

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
    ``spi_plugins.planners.planner.Planner``, a named tuple of pure functions. ``spi_plugins.get_planner(name)``
    finds it; ``spi_plugins.testing.check_planner`` checks what it builds.

    Args:
        register: ``register(name, target, *, summary="")``, called once per planner.

    Example::

        from spi_plugins import hookimpl

        @hookimpl
        def register_planners(register):
            register("my_cem", "my_package.planner:make_cem", summary="Cross-entropy method")
    """


@hookspec
def register_constraints(register: Register) -> None:
    """Offer methods that keep the cost of an episode below a limit.

    Each target is a factory: called with the method's settings as keyword arguments, it returns a
    ``spi_plugins.constraints.method.ConstraintMethod``, a named tuple of pure functions.
    ``PPO("MlpPolicy", env, constraint=name, cost_limit=5.0, constraint_kwargs=settings)`` and ``spi train ppo
    --constraint NAME`` use it; ``spi_plugins.get_constraint(name)`` finds it.

    Args:
        register: ``register(name, target, *, summary="")``, called once per method.

    Example::

        from spi_plugins import hookimpl

        @hookimpl
        def register_constraints(register):
            register("my_barrier", "my_package.barrier:make_barrier", summary="Interior-point penalty")
    """


@hookspec
def register_world_models(register: Register) -> None:
    """Offer world models: latent dynamics, rewards and costs that are fitted to data.

    Each target is a factory, called as ``target(observations, actions, **settings)`` with the specifications of
    ``spi_plugins.types``. It returns a ``spi_plugins.world_models.model.WorldModel``: pure functions for planners
    and dreams, a learner that fits them to a replay buffer, and the settings from which the same factory rebuilds the
    model when a file is loaded. ``spi_plugins.fit_world_model(env, kind=name)`` uses it;
    ``spi_plugins.testing.check_world_model`` checks it.

    Args:
        register: ``register(name, target, *, summary="")``, called once per world model.

    Example::

        from spi_plugins import hookimpl

        @hookimpl
        def register_world_models(register):
            register("my_rssm", "my_package.rssm:make_rssm", summary="Recurrent state-space model")
    """


@hookspec
def register_envs(register: RegisterEnv) -> None:
    """Offer environments, one by one or as families.

    A plain target is a factory that takes the user's keyword arguments and returns a
    ``spi_plugins.envs.base.FunctionalEnv`` or a ``gymnasium.Env``. A *family* stands for the many environments of an
    outside package: its target is called as ``target(env_id, num_envs=..., seed=..., **env_kwargs)`` and returns a
    vector environment (of Gymnasium, Stable-Baselines3 or EnvPool); users write ``"<family>:<env_id>"``, for example
    ``"envpool:Breakout-v5"``. With ``functional=True`` the members of a family are ``FunctionalEnv``: its target is
    called as ``target(env_id, **env_kwargs)``. ``spi_plugins.make_env(name, ...)`` and ``spi train ALGO --env NAME``
    use all of them.

    Args:
        register: ``register(name, target, *, summary="", family=False, functional=False)``, called once per environment
            or family. An environment is named as in Gymnasium, ``namespace/Name-v0``; a family by one lower-case word.

    Example::

        from spi_plugins import hookimpl

        @hookimpl
        def register_envs(register):
            register("mine/Corridor-v0", "my_package.corridor:make_corridor", summary="A corridor")
            register("myarcade", "my_package.arcade:make_vec", family=True, summary="My arcade's games")
            register("myworlds", "my_package.worlds:make", family=True, functional=True, summary="Worlds in JAX")
    """


@hookspec
def register_wrappers(register: RegisterWrapper) -> None:
    """Offer environment wrappers.

    Each target is a ``gymnasium.Wrapper`` class, called with an environment and keyword arguments. ``vector`` is its
    counterpart for vector environments: a ``gymnasium.vector.VectorWrapper`` class with the same keyword arguments.
    ``spi_plugins.get_wrapper(name, vector=...)`` finds them; ``spi_plugins.testing.check_wrapper`` checks them.

    Args:
        register: ``register(name, target, *, summary="", vector=None)``, called once per wrapper.

    Example::

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
    """Offer training callbacks by name, for ``spi train --callback NAME key=value ...``.

    Each target is a subclass of ``stable_baselines3.common.callbacks.BaseCallback``, or a function that returns an
    instance of one; it is called with the keyword arguments. ``spi_plugins.get_callback(name)`` finds it.

    Args:
        register: ``register(name, target, *, summary="")``, called once per callback.

    Example::

        from spi_plugins import hookimpl

        @hookimpl
        def register_callbacks(register):
            register("slack", "my_package.slack:SlackCallback", summary="Post each evaluation to Slack")
    """


@hookspec
def register_commands(register: Register) -> None:
    """Offer subcommands of ``spi``.

    Each target is a function that takes the subcommand's ``argparse.ArgumentParser``, adds arguments, and returns the
    function that runs the command: it takes the parsed ``argparse.Namespace`` and returns the exit code. Only the
    command that is called is imported. A ``spi_plugins.errors.SPIError`` raised by a command becomes one line and
    exit code 2.

    Args:
        register: ``register(name, target, *, summary="")``, called once per command; ``summary`` is the command's
            line in ``spi --help``.

    Example::

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
