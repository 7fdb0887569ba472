"""How a run makes its environments: what ``--env``, ``--wrapper``, ``--vec-env`` and the like say."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError, parse_pairs
from spi_plugins.cli.env_names import check_imports, find_source
from spi_plugins.env_copies import Wrappers
from spi_plugins.literals import read_value

VEC_ENVS = ("dummy", "subproc", "sync", "async")

# Arguments of VecNormalize that a user chooses, and what they are.
_NORMALIZE: Mapping[str, tuple[type, ...]] = {
    "norm_obs": (bool,),
    "norm_reward": (bool,),
    "clip_obs": (int, float),
    "clip_reward": (int, float),
    "gamma": (int, float),
    "epsilon": (int, float),
    "norm_obs_keys": (list, tuple),
}


class EnvRecipe(NamedTuple):
    """Everything that makes a run's environments besides their number and seeds."""

    env: str  # a registered name, ``"<family>:<id>"`` or a Gymnasium id
    env_kwargs: Mapping[str, Any]  # for the environment's factory
    wrappers: Wrappers = ()  # ``(name, arguments)`` each, the innermost first
    vec_env: str | None = None  # one of ``VEC_ENVS``; ``None`` for the default
    normalize: Mapping[str, Any] | None = None  # arguments of ``VecNormalize``; ``None`` for none
    frame_stack: int | None = None  # observations that ``VecFrameStack`` puts together; ``None`` for none


class EvaluationTask(NamedTuple):
    """What to play. ``seed`` is that of the evaluation's own environment.

    ``deterministic=None`` samples actions if observations are images and takes the most likely ones otherwise, as
    the RL Zoo does: in an Atari game, a deterministic policy that is stuck stays stuck until the time limit.
    """

    recipe: EnvRecipe
    n_episodes: int
    deterministic: bool | None
    seed: int
    n_envs: int | None = None  # copies to play in; ``None`` for one per episode, up to ``MOST_COPIES``
    cost_limit: float | None = None  # of an episode's mean cost; ``None`` for the algorithm's own, if any


def parse_wrappers(words: Sequence[Sequence[str]] | None) -> Wrappers:
    """Read the words of each ``--wrapper``: a name and its ``key=value`` pairs.

    Raises:
        CommandError: a word is not a pair.
    """
    return [(_with_colon(name), parse_pairs(f"--wrapper {name}", rest)) for name, *rest in words or ()]


def _with_colon(name: str) -> str:
    """``module.Class``, as the RL Zoo writes it, as ``module:Class``."""
    module, dot, attribute = name.rpartition(".")
    return f"{module}:{attribute}" if dot and ":" not in name else name


def check_wrappers(wrappers: Wrappers) -> None:
    """Refuse wrappers that nobody registers, modules that are not installed, and arguments that ours do not take.

    Raises:
        SPIError: names the wrapper, and the closest one that exists.
    """
    registry = plugins.registry("wrappers")
    for name, kwargs in wrappers:
        module, colon, _ = name.partition(":")
        if colon:
            package = module.partition(".")[0]
            if package not in sys.modules and importlib.util.find_spec(package) is None:
                raise CommandError(f"--wrapper {name} cannot be imported: there is no module {package!r}.")
            continue
        target = registry.get(name).target
        # Those of other packages may be slow to import; they are checked when they are applied.
        if isinstance(target, str) and target.startswith("spi_wrappers:"):
            _check_arguments(name, plugins.resolve_wrapper(name), kwargs)


def _check_arguments(name: str, cls: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    signature = inspect.signature(cls)
    known = [key for key in signature.parameters if key != "env"]
    for key in kwargs.keys() - known:
        hint = plugins.did_you_mean(key, known)
        allowed = ", ".join(known) or "none"
        raise CommandError(f"--wrapper {name} has no argument {key!r}.{hint} Allowed: {allowed}.")
    try:
        signature.bind("env", **kwargs)
    except TypeError as error:
        raise CommandError(f"--wrapper {name}: {error}.") from error


def check_recipe_imports(recipe: EnvRecipe, *, named: str | None = None) -> None:
    """Refuse to import what only a run's file names, but for an environment that the user ``named``.

    Raises:
        CommandError: the environment or a wrapper asks for it; the message names the option that allows it.
    """
    if named is None:
        check_imports(recipe.env)
    for name, text in _wrapper_imports(recipe):
        raise CommandError(
            f"The run's wrapper {name!r} would import {text!r}; if you trust it, add --trust-imports."
        )


def needs_trust(recipe: EnvRecipe) -> bool:
    """Whether the next command, which does not know that the run is the user's own, needs ``--trust-imports``."""
    by_module = ":" in recipe.env and find_source(recipe.env) == "gymnasium"
    return by_module or any(True for _ in _wrapper_imports(recipe))


def _wrapper_imports(recipe: EnvRecipe) -> Iterator[tuple[str, str]]:
    """What wrappers import by ``module:name``, with the wrapper's name.

    That a module is loaded already does not make it harmless: ``os`` is.
    """
    for name, kwargs in recipe.wrappers:
        yield from ((name, text) for text in _texts([name, kwargs]) if ":" in text)


def _texts(value: Any) -> Iterator[str]:
    """All strings in a value that JSON can hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def parse_normalize(option: str, value: Any) -> Mapping[str, Any] | None:
    """Arguments of ``VecNormalize`` from ``True``, ``False``, ``None``, a dict, or the text of one of these.

    Raises:
        CommandError: it is none of these, or an argument is unknown or of the wrong type.
    """
    if isinstance(value, str):
        value = read_value(value.capitalize() if value.isalpha() else value)
    if value is None or value is False:
        return None
    if value is True:
        return {}
    if not isinstance(value, Mapping):
        raise CommandError(
            f"{option} takes a dict such as \"{{'norm_obs': True, 'norm_reward': False}}\", or nothing, got {value!r}."
        )
    for key, argument in value.items():
        kinds = _NORMALIZE.get(key)
        if kinds is None:
            hint = plugins.did_you_mean(str(key), _NORMALIZE)
            raise CommandError(f"{option} has no argument {key!r}.{hint} Allowed: {', '.join(_NORMALIZE)}.")
        if not isinstance(argument, kinds) or (isinstance(argument, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise CommandError(f"{option}: {key} must be {names}, got {argument!r}.")
    return dict(value)
