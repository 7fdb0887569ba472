"""The contents of a model file: how to build the model again, and where its training stood."""

import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from flax import nnx
from gymnasium import spaces

from spi_plugins.algorithms.schedules import decode_schedule, encode_schedule
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.archive import Archive, describing
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.checks import check_choice
from spi_plugins.errors import ModelFileError
from spi_plugins.hyperparameters import ByPolicy
from spi_plugins.space_json import decode_space, encode_space
from spi_plugins.types import Observation, PyTree

if TYPE_CHECKING:
    from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm

COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_num_timesteps_at_start",
    "_episode_num",
    "_n_updates",
    "_current_progress_remaining",
    "_n_predictions",
)

# What begins the names of the arrays of an environment.
_ENV, _LAST_OBS, _LAST_STARTS = "env/", "last_obs/", "last_episode_starts"
NORMALIZATION = "vec_normalize/"


class ResumePoint(NamedTuple):
    """A point of a training run from which it continues exactly; the agent's state is stored separately.

    Attributes:
        num_timesteps: environment steps so far.
        n_updates: gradient steps so far.
        ep_info: the last episodes, SB3's ``ep_info_buffer``.
        ep_success: and their successes.
        env_state: of a functional environment; ``None`` for any other, whose state is not accessible.
        last_obs: the observations that the next decision sees; ``None`` before the first reset.
        last_starts: ``[B]``, which of them begin an episode.
        statistics: of a ``VecNormalize`` around the environment, if any.
    """

    num_timesteps: int
    n_updates: int
    ep_info: list[dict[str, Any]]
    ep_success: list[Any]
    env_state: PyTree | None
    last_obs: Observation | None
    last_starts: Any
    statistics: PyTree

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The environment's part of a model file."""
        parts = {
            _ENV: self.env_state,
            _LAST_OBS: self.last_obs,
            _LAST_STARTS: None if self.last_obs is None else self.last_starts,
            NORMALIZATION: self.statistics,
        }
        return {
            f"{part}{key}": value
            for part, tree in parts.items()
            for key, value in flatten_arrays(tree).items()
        }


class SavedModel(NamedTuple):
    """The description in a model file, checked and decoded.

    Attributes:
        default_kind: whose defaults the sizes have that were left open.
    """

    default_kind: Literal["mlp", "cnn"]
    arguments: dict[str, Any]
    policy: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    n_envs: int
    stats_window_size: int
    counters: dict[str, Any]
    ep_info: list[dict[str, Any]]
    ep_success: list[Any]


def describe(
    model: "StoredAlgorithm",
    point: ResumePoint,
    counters: dict[str, Any],
    stats_window_size: int,
    left_out: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The JSON description of a model.

    Args:
        model: the model.
        point: where a resume will go on.
        counters: the present values of ``COUNTERS``.
        stats_window_size: SB3's.
        left_out: arguments and statistics to leave out.
    """
    arguments: dict[str, Any] = {}
    for name in model.stored_arguments:
        if name in left_out:
            continue
        # What was left open is stored as open: with another number of copies another size is right.
        value: Any = None if name in model.automatic_arguments else getattr(model, name)
        if name in model.schedules:
            value = encode_schedule(name, value, max(counters["_current_progress_remaining"], 0.0))
        arguments[name] = value
    aliases = {cls: name for name, cls in model.policy_aliases.items()}
    custom = f"{model.policy_class.__module__}:{model.policy_class.__qualname__}"
    return {
        "algorithm": type(model).__name__,
        "parents": _family(type(model))[1:],
        "policy": aliases.get(model.policy_class, custom),
        "arguments": to_json(arguments),
        # What the arguments became that are stored as open, and by whose defaults.
        "defaults": {"kind": model.default_kind}
        | {name: getattr(model, name) for name in sorted(model.automatic_arguments)},
        "observation_space": encode_space(model.observation_space),
        "action_space": encode_space(model.action_space),
        "n_envs": model.n_envs,
        "stats_window_size": stats_window_size,
        "counters": counters | {"num_timesteps": point.num_timesteps, "_n_updates": point.n_updates},
        "ep_info_buffer": [] if "ep_info_buffer" in left_out else to_json(point.ep_info),
        "ep_success_buffer": [] if "ep_success_buffer" in left_out else to_json(point.ep_success),
    }


def _family(cls: type[Any]) -> list[str]:
    """The names of an algorithm and of those that it extends."""
    return [each.__name__ for each in cls.__mro__ if each is cls or vars(each).get("hyperparameters")]


def _check_class(file: Archive, cls: "type[StoredAlgorithm]") -> None:
    """Refuse the file of another algorithm; one that extends ``cls``, or that ``cls`` extends, may fit."""
    data, stored = file.data, file.data.get("algorithm")
    if stored in _family(cls):
        return
    problem = f"{file.name} holds a {stored} model"
    if cls.__name__ in data.get("parents", ()):
        own = sorted(set(data["arguments"]) - set(cls.stored_arguments))
        if not own:
            return
        problem += f", which has arguments that {cls.__name__} lacks: {', '.join(own)}"
    raise ModelFileError(f"{problem}; load it with that class, not {cls.__name__}.")


def parse(file: Archive, cls: "type[StoredAlgorithm]", replaced: Mapping[str, Any]) -> SavedModel:
    """Check and decode a file's description.

    Args:
        file: the file.
        cls: the class that loads it.
        replaced: arguments whose stored values are not used, and need no warnings.

    Raises:
        ModelFileError: it is of another class, or garbled.
    """
    data = file.data
    with describing(file.name):
        _check_class(file, cls)
        stored = dict(data["arguments"])
        for name in cls.outdated_arguments.keys() & stored.keys():
            raise ModelFileError(f"{file.name} {cls.outdated_arguments[name]}.")
        # An argument that came after the file was written has its default.
        known = {name: each.default for name, each in cls.hyperparameters.items()} | stored
        arguments = {name: known[name] for name in cls.stored_arguments if name in known}
        for name in cls.schedules:
            if name not in replaced and name in stored:
                arguments[name] = decode_schedule(name, arguments[name])
        n_envs, window = int(data["n_envs"]), int(data["stats_window_size"])
        for name, value in (("n_envs", n_envs), ("stats_window_size", window)):
            cls.hyperparameters[name].check(value)
        # Before defaults depended on the policy, all had those of ``CnnPolicy``.
        default_kind = data.get("defaults", {}).get("kind", "cnn")
        check_choice("defaults", default_kind, ByPolicy._fields)
        return SavedModel(
            default_kind=default_kind,
            arguments=arguments,
            policy=str(data["policy"]),
            observation_space=decode_space(data["observation_space"]),
            action_space=decode_space(data["action_space"]),
            n_envs=n_envs,
            stats_window_size=window,
            counters={name: _number(data["counters"][name]) for name in COUNTERS},
            ep_info=[
                dict(info, r=_number(info["r"]), l=_number(info["l"])) for info in data["ep_info_buffer"]
            ],
            ep_success=[_number(success) for success in data["ep_success_buffer"]],
        )


def _number(value: Any) -> Any:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def restore_env(env: FunctionalVecEnv, file: Archive) -> bool:
    """Put a functional environment where a file left it; false if the file's arrays do not fit."""
    arrays = file.part(_ENV)
    if not arrays:
        return False
    env.reset()
    target = env.get_state()
    like = {key: value.shape for key, value in flatten_arrays(target).items()}
    if like != {key: value.shape for key, value in arrays.items()}:
        return False
    with describing(file.name):
        state = restore_arrays(target, arrays, what="The environment's arrays", finite=False)
    env.set_state(state)
    return True


def last_observations(
    space: spaces.Space[Any], n_envs: int, file: Archive
) -> tuple[Observation, np.ndarray[Any, Any]] | None:
    """The last observations in a file and which of them begin an episode; ``None`` if there are none that fit."""
    stored = file.part(_LAST_OBS)
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    like = {key: np.zeros((n_envs, *(part.shape or ())), part.dtype) for key, part in parts.items()}
    if {key: x.shape for key, x in like.items()} != {key: x.shape for key, x in stored.items()}:
        return None
    starts = file.arrays.get(_LAST_STARTS, np.zeros(n_envs, bool))
    with describing(file.name):
        obs = restore_arrays(like, stored, what="The last observations")
        starts = restore_arrays(np.zeros(n_envs, bool), {"": starts}, what="The beginnings of episodes")
    return (obs if isinstance(space, spaces.Dict) else obs[""]), starts


def to_json(value: Any) -> Any:
    """NumPy scalars as numbers, tuples as lists, functions and classes by name."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pathlib.Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type) and issubclass(value, nnx.Module):
        return f"{value.__module__}:{value.__qualname__}"
    return getattr(value, "__name__", type(value).__name__)
