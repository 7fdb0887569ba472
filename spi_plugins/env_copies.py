"""Environments known by name, one copy at a time, and wrappers around one or all.

Worker processes import this module, and with it neither JAX nor torch.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from spi_plugins import plugins
from spi_plugins.errors import EnvironmentNotSupportedError, SPIError
from spi_plugins.plugins.registry import describe

#: Wrappers by name, registered or ``"module:Class"``, each with its arguments; the innermost comes first.
Wrappers = Sequence[tuple[str, Mapping[str, Any]]]


class Layer(NamedTuple):
    """A wrapper and its arguments: the class for one environment, the one for vector environments, or both."""

    name: str
    kwargs: dict[str, Any]
    single: Callable[..., Any] | None
    vector: Callable[..., Any] | None

    def around(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """Wrap one copy."""
        return self._apply(self.single, env)  # type: ignore[no-any-return]

    def around_all(self, env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
        """Wrap all copies together."""
        return self._apply(self.vector, env)  # type: ignore[no-any-return]

    def _apply(self, cls: Callable[..., Any] | None, env: Any) -> Any:
        if cls is None:
            raise EnvironmentNotSupportedError(
                f"The wrapper {self.name!r} is for single environments, but the environment makes many at once."
            )
        try:
            return cls(env, **self.kwargs)
        except (SPIError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise EnvironmentNotSupportedError(
                f"The wrapper {self.name!r} cannot wrap the environment: {describe(error)}"
            ) from error


def resolve_layers(wrappers: Wrappers) -> list[Layer]:
    """Import wrappers.

    Raises:
        SPIError: one cannot be imported, or is not a wrapper.
    """
    return [_resolve(name, dict(kwargs)) for name, kwargs in wrappers]


def _resolve(name: str, kwargs: dict[str, Any]) -> Layer:
    if ":" not in name:
        both = plugins.registry("wrappers").get(name).vector is not None
        vector = plugins.resolve_wrapper(name, vector=True) if both else None
        return Layer(name, kwargs, plugins.resolve_wrapper(name), vector)
    module, _, attributes = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # some modules call sys.exit when they are imported
        raise EnvironmentNotSupportedError(
            f"The wrapper {name!r} cannot be imported: {describe(error)}"
        ) from error
    if isinstance(found, type) and issubclass(found, gym.Wrapper):
        return Layer(name, kwargs, found, None)
    if isinstance(found, type) and issubclass(found, VectorWrapper):
        return Layer(name, kwargs, None, found)
    raise EnvironmentNotSupportedError(
        f"The wrapper {name!r} must be a subclass of gymnasium.Wrapper or gymnasium.vector.VectorWrapper, "
        f"got {found!r}."
    )


def for_copies(layers: Sequence[Layer]) -> bool:
    """Whether each copy can be wrapped by itself in all of them."""
    return all(layer.single is not None for layer in layers)


def divide(layers: Sequence[Layer]) -> tuple[Sequence[Layer], Sequence[Layer]]:
    """The layers for each copy, and those around all copies together, of which there are as many as possible.

    Raises:
        EnvironmentNotSupportedError: one for single environments comes after one for vector environments.
    """
    last = max((i for i, layer in enumerate(layers) if layer.vector is None), default=-1)
    inner, outer = layers[: last + 1], layers[last + 1 :]
    for layer in inner:
        if layer.single is None:
            raise EnvironmentNotSupportedError(
                f"The wrapper {layer.name!r} wraps vector environments, so it must come after "
                f"{layers[last].name!r}, which wraps single ones."
            )
    return inner, outer


@dataclasses.dataclass(frozen=True)
class Copy:
    """Makes one environment; it can be sent to another process."""

    name: str
    kwargs: Mapping[str, Any]
    registered: bool  # with the plugin host rather than with Gymnasium

    def bare(self) -> gym.Env[Any, Any]:
        """The environment without wrappers."""
        if not self.registered:
            try:  # as Stable-Baselines3 makes them, so that any can be filmed
                return gym.make(self.name, **{"render_mode": "rgb_array", **self.kwargs})
            except TypeError:
                return gym.make(self.name, **self.kwargs)
        env = plugins.make_env(self.name, **self.kwargs)
        if isinstance(env, gym.Env):
            return env
        functional = importlib.import_module("spi_wrappers.functional")
        return functional.FunctionalGymEnv(env, "rgb_array" if env.render else None)  # type: ignore[no-any-return]


def wrapped(env: gym.Env[Any, Any], layers: Sequence[Layer]) -> gym.Env[Any, Any]:
    """The environment inside the layers, the first of which is the innermost."""
    for layer in layers:
        env = layer.around(env)
    return env


def made_and_wrapped(make: Callable[[], gym.Env[Any, Any]], layers: Sequence[Layer]) -> gym.Env[Any, Any]:
    """The same of an environment that is made now."""
    return wrapped(make(), layers)
