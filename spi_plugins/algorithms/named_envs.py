"""Copies of an environment that is known by its name, in wrappers."""

import dataclasses
import functools
import importlib
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.environments import DEFAULT_COPIES
from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv, NativeVecEnv, as_vec_env
from spi_plugins.algorithms.vec_envs.adapt import reporting
from spi_plugins.env_copies import (
    Copy,
    Layer,
    Wrappers,
    divide,
    for_copies,
    made_and_wrapped,
    resolve_layers,
    wrapped,
)
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.errors import EnvironmentNotSupportedError

# Copies of an environment that is stepped in Python; where copies are cheap there are DEFAULT_COPIES.
SINGLE_COPIES = 8

VecEnvKind = Literal["dummy", "subproc", "sync", "async"]


def make_copies(
    name: str,
    *,
    n_envs: int | None = None,
    seed: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Wrappers = (),
    vec_env: VecEnvKind | None = None,
    for_step_rows: bool = False,
) -> VecEnv:
    """Make copies of an environment, by default 8 of a Gymnasium environment and 128 of others.

    Args:
        name: registered, of a family such as ``"envpool:Pong-v5"``, or a Gymnasium id.
        n_envs: the number of copies.
        seed: of their first episodes.
        env_kwargs: arguments of each copy.
        wrappers: the first innermost: a registered name or ``"module:Class"``, and its arguments. Environments whose
            copies are one program, functional ones and families, get the wrappers' counterparts for vector
            environments; a functional one that meets a wrapper without a counterpart is copied like any other.
        vec_env: how single copies are run: Stable-Baselines3's ``"dummy"`` and ``"subproc"``, or Gymnasium's
            ``"sync"`` and ``"async"``, which also take wrappers of vector environments; ``None`` for ``"dummy"``, or
            ``"sync"`` where such a wrapper needs it.
        for_step_rows: see ``as_vec_env``.

    Raises:
        SPIError: an environment or wrapper is unknown, or they do not go together.
    """
    kwargs = dict(env_kwargs or {})
    envs = plugins.registry("envs")
    layers = resolve_layers(wrappers)
    family = plugins.find_family(name)
    if family is not None and not family.functional:
        _refuse_kind(vec_env, name)
        seeded = {} if seed is None else {"seed": seed}
        made = plugins.make_env(name, num_envs=n_envs or DEFAULT_COPIES, **seeded, **kwargs)
        return _of_family(made, layers, for_step_rows)
    registered = family is not None or name in envs.names()
    # Made to see what kind it is, and the first copy.
    first = plugins.make_env(name, **kwargs) if registered else None
    if isinstance(first, FunctionalEnv):
        if all(layer.vector is not None for layer in layers):
            _refuse_kind(vec_env, name)
            return _of_functional(first, layers, n_envs or DEFAULT_COPIES, seed)
        first = None
    copies = _Copies(Copy(name, kwargs, registered), layers, n_envs or SINGLE_COPIES, first)
    if vec_env in ("sync", "async") or (vec_env is None and not for_copies(layers)):
        return copies.in_gymnasium(vec_env or "sync", seed, for_step_rows)
    return copies.in_stable_baselines3(vec_env or "dummy", seed)


def default_policy(vec_env: VecEnv) -> str:
    """``CnnPolicy`` for images, ``MultiInputPolicy`` for dicts, ``MlpPolicy`` for all else."""
    space = vec_env.observation_space
    if isinstance(space, gymnasium.spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(space, check_channels=False) else "MlpPolicy"


def _refuse_kind(vec_env: str | None, name: str) -> None:
    if vec_env is not None:
        raise EnvironmentNotSupportedError(
            f"vec_env {vec_env!r} does not apply to {name}, whose copies are one program already."
        )


def _around_all(env: Any, layers: Sequence[Layer]) -> Any:
    for layer in layers:
        env = layer.around_all(env)
    return env


def _of_family(made: Any, layers: Sequence[Layer], for_step_rows: bool) -> VecEnv:
    if not (layers and isinstance(made, EnvPoolVecEnv)):
        return as_vec_env(_around_all(made, layers), for_step_rows=for_step_rows)
    vec_env = as_vec_env(_around_all(made.pool, layers))
    if for_step_rows and isinstance(vec_env, NativeVecEnv):
        vec_env.shows_resets = (
            True  # a pool returns only the rows that it resets, which wrappers do not expect
        )
    return vec_env


def _of_functional(env: FunctionalEnv, layers: Sequence[Layer], n_envs: int, seed: int | None) -> VecEnv:
    if not layers:
        return FunctionalVecEnv(env, n_envs, seed=seed)
    functional = importlib.import_module("spi_wrappers.functional")
    vec_env = as_vec_env(_around_all(functional.FunctionalVectorEnv(n_envs, env), layers))
    vec_env.seed(seed)
    return vec_env


@dataclasses.dataclass(frozen=True)
class _Copies:
    """Single environments to be run side by side."""

    one: Copy
    layers: Sequence[Layer]
    count: int
    first: gymnasium.Env[Any, Any] | None  # one that is there already

    def in_stable_baselines3(self, kind: VecEnvKind, seed: int | None) -> VecEnv:
        if not for_copies(self.layers):
            raise EnvironmentNotSupportedError(
                f"vec_env {kind!r} has no place for wrappers of vector environments; use 'sync' or 'async'."
            )
        return make_vec_env(
            self._factory(self.one.bare, here=kind == "dummy"),
            n_envs=self.count,
            seed=seed,
            wrapper_class=functools.partial(_finished, layers=self.layers),
            vec_env_cls=DummyVecEnv if kind == "dummy" else SubprocVecEnv,
        )

    def in_gymnasium(self, kind: VecEnvKind, seed: int | None, for_step_rows: bool) -> VecEnv:
        inner, outer = divide(self.layers)
        bare = self._factory(self.one.bare, here=kind == "sync")
        makers = [functools.partial(made_and_wrapped, bare, inner)] * self.count
        if kind == "sync":
            vector: Any = SyncVectorEnv(makers)
        else:
            # Not fork: JAX's threads may hold locks at that moment.
            method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            vector = AsyncVectorEnv(makers, context=method)
        vec_env = as_vec_env(_around_all(vector, outer), for_step_rows=for_step_rows)
        vec_env.seed(seed)
        return vec_env

    def _factory(
        self, make: Callable[[], gymnasium.Env[Any, Any]], *, here: bool
    ) -> Callable[[], gymnasium.Env[Any, Any]]:
        """A factory that returns ``first`` before it makes others, unless other processes make them."""
        if self.first is None:
            return make
        if not here:
            self.first.close()
            return make
        ready = [self.first]
        return lambda: ready.pop() if ready else make()


def _finished(env: gymnasium.Env[Any, Any], layers: Sequence[Layer]) -> gymnasium.Env[Any, Any]:
    """A monitored environment in its wrappers."""
    return reporting(wrapped(env, layers))
