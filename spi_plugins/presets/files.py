"""The files, and what their entries say.

A key is an environment's id, ``atari`` for the games of EnvPool, or ``default`` for whatever is not listed. Of an
entry's keys, ``results`` and ``source`` say what is known of it, some others how to run, ``like`` whose entry for the
same environment it changes, and all that are left are the algorithm's arguments.
"""

import functools
import importlib.resources
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from spi_plugins import plugins
from spi_plugins.errors import UnknownPluginError
from spi_plugins.literals import read_value

FOLDER = importlib.resources.files("spi_plugins.presets")
DEFAULT, ATARI = "default", "atari"
_KNOWN_OF_IT = ("results", "source")
_RUN = ("n_timesteps", "policy", "n_envs", "normalize", "env_wrapper", *_KNOWN_OF_IT)
# Arguments and options whose dicts rl_zoo3 writes as a string of Python.
_DICTS = ("policy_kwargs", "planner_kwargs", "world_model_kwargs", "loss_kwargs", "normalize")

# EnvPool's ids of version 5 are games, except for MuJoCo's.
_ENVPOOL, _VERSION = "envpool:", "-v5"
_MUJOCO = (
    *("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedDoublePendulum"),
    *("InvertedPendulum", "Pusher", "Reacher", "Swimmer", "Walker2d"),
)

Wrappers = tuple[tuple[str, dict[str, Any]], ...]


class Preset(NamedTuple):
    """How to train an algorithm on an environment.

    Attributes:
        algorithm: its registered name.
        env: the environment's id, or ``"atari"`` or ``"default"``.
        n_timesteps: environment steps of all copies together.
        policy: such as ``"MlpPolicy"``; ``None`` for the one that the observations ask for.
        n_envs: copies of the environment; ``None`` for as many as there are by default.
        normalize: arguments of ``VecNormalize``; ``None`` for none. ``gamma`` is the algorithm's unless it is given.
        env_wrapper: wrappers around each copy, the first innermost: a registered name or ``"module:Class"``, and its
            arguments.
        hyperparameters: arguments of the algorithm.
        results: what was measured, see ``benchmarks/presets.py``; ``None`` if it was not measured.
        source: where the numbers are from, and figures published with them.
        entries: all of it but the last two, under the keys of the file.
    """

    algorithm: str
    env: str
    n_timesteps: int
    policy: str | None = None
    n_envs: int | None = None
    normalize: Mapping[str, Any] | None = None
    env_wrapper: Wrappers = ()
    hyperparameters: Mapping[str, Any] = {}
    results: Mapping[str, Any] | None = None
    source: str = ""
    entries: Mapping[str, Any] = {}


@functools.cache
def read(algorithm: str) -> Mapping[str, Preset]:
    """The presets of an algorithm by key; none if it has no file.

    Raises:
        ValueError: an entry is wrong; the message names it.
    """
    return {key: _preset(algorithm, key, entry) for key, entry in _entries(algorithm).items()}


@functools.cache
def _entries(algorithm: str) -> dict[str, Any]:
    """What a file says by key, with what ``like: ppo`` takes from another file."""
    file = FOLDER / f"{algorithm}.yml"
    if not file.is_file():
        return {}
    entries = {}
    for key, entry in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        if key.startswith("_"):  # shared by others
            continue
        own = dict(entry) if isinstance(entry, Mapping) else entry
        if isinstance(own, dict) and "like" in own:
            other = own.pop("like")
            own = {k: v for k, v in _entries(other)[key].items() if k not in _KNOWN_OF_IT} | own
        entries[key] = own
    return entries


def known() -> dict[str, list[str]]:
    """The environments with presets by algorithm."""
    names = sorted(file.name.removesuffix(".yml") for file in FOLDER.iterdir() if file.name.endswith(".yml"))
    return {name: [key for key in read(name) if key != DEFAULT] for name in names}


def find(algorithm: str, env: str) -> Preset | None:
    """The preset for an environment: its own, ``atari`` for a game, or else ``default``; ``None`` without a file.

    Args:
        algorithm: its registered name.
        env: an id as ``spi train --env`` takes it.
    """
    presets = read(algorithm)
    # "module:id" is Gymnasium's way to import what registers the id.
    keys = (env, env.partition(":")[2], ATARI if is_atari_game(env) else "", DEFAULT)
    return next((presets[key] for key in keys if key in presets), None)


def get(algorithm: str, env: str) -> Preset:
    """The preset made for an environment.

    Raises:
        UnknownPluginError: there is none; the message names a similar one, or the algorithms that have one.
    """
    found = find(algorithm, env)
    if found is not None and found.env != DEFAULT:
        return found
    others = [name for name, envs in known().items() if env in envs]
    hint = plugins.did_you_mean(env, known().get(algorithm, ()))
    hint += f" There is one of {', '.join(others)}." if others else ""
    raise UnknownPluginError(f"{algorithm} has no preset for {env!r}.{hint}")


def is_atari_game(env: str) -> bool:
    """Whether it is an Atari game of EnvPool, with the paper's wrappers built in."""
    name = env.removeprefix(_ENVPOOL).removesuffix(_VERSION)
    return env == f"{_ENVPOOL}{name}{_VERSION}" and name not in _MUJOCO


def _preset(algorithm: str, key: str, entry: Mapping[str, Any]) -> Preset:
    where = f"The preset of {algorithm} for {key}"
    if not isinstance(entry, Mapping) or "n_timesteps" not in entry:
        raise ValueError(f"{where} must be a mapping with n_timesteps, got {entry!r}.")
    values = {
        name: read_value(value) if name in _DICTS and isinstance(value, str) else value
        for name, value in entry.items()
    }
    results = values.get("results")
    return Preset(
        algorithm=algorithm,
        env=key,
        n_timesteps=int(values["n_timesteps"]),
        policy=values.get("policy"),
        n_envs=values.get("n_envs"),
        normalize=_normalize(where, values.get("normalize")),
        env_wrapper=_wrappers(where, values.get("env_wrapper")),
        hyperparameters={name: value for name, value in values.items() if name not in _RUN},
        results=results if isinstance(results, Mapping) else None,
        source=str(values.get("source", "")),
        entries={name: value for name, value in values.items() if name not in _KNOWN_OF_IT},
    )


def _normalize(where: str, value: Any) -> Mapping[str, Any] | None:
    if value in (None, False):
        return None
    if value is True:
        return {}
    if isinstance(value, Mapping):
        return value
    raise ValueError(f"{where} has normalize={value!r}; it must be true, false or a dict.")


def _wrappers(where: str, value: Any) -> Wrappers:
    """A name, or a list of names and of ``{name: arguments}``."""
    found: list[tuple[str, dict[str, Any]]] = []
    for each in value if isinstance(value, list) else [value] if value is not None else []:
        pairs = each.items() if isinstance(each, Mapping) else [(each, {})]
        for name, arguments in pairs:
            if not isinstance(name, str) or not isinstance(arguments, Mapping):
                raise ValueError(
                    f"{where} has env_wrapper={value!r}; it must be names, or names with arguments."
                )
            found.append((name, dict(arguments)))
    return tuple(found)
