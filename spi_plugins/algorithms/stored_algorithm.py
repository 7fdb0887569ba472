"""Parameters, save and load, for an SB3 algorithm whose state is one pytree."""

import contextlib
import math
import os
import warnings
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self, TypeAlias

import jax
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from spi_plugins.algorithms.devices import Devices, device_bytes, resolve_devices, writes
from spi_plugins.algorithms.environments import is_template, prepare_env
from spi_plugins.algorithms.interrupts import Exchange
from spi_plugins.algorithms.model_file import read_model_file, write_model_file
from spi_plugins.algorithms.normalization import read_statistics, restore_statistics
from spi_plugins.algorithms.saved_model import (
    COUNTERS,
    ResumePoint,
    SavedModel,
    describe,
    last_observations,
    parse,
    restore_env,
)
from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv
from spi_plugins.archive import Archive, PathOrFile, describing
from spi_plugins.arrays import check_arrays, flatten_arrays, restore_arrays
from spi_plugins.errors import ModelFileError
from spi_plugins.hyperparameters import Hyperparameter
from spi_plugins.types import PyTree

Parameters: TypeAlias = dict[str, dict[str, np.ndarray[Any, Any]]]

_GROUPS = "parameters/"


class StoredAlgorithm(BaseAlgorithm):
    """The part of every algorithm that reads and writes files; ``JaxAlgorithm`` adds the training.

    Attributes:
        hyperparameters: the constructor's arguments besides ``policy`` and ``env``; each becomes an attribute.
        positional: those that may come without their names after ``policy`` and ``env``, in SB3's order.
        stored_arguments: those that go into the model file.
        outdated_arguments: arguments that only files have which this version cannot read, and why.
        schedules: those that may be functions of the remaining progress.
        automatic_arguments: those that the user left open, filled in by the number of copies.
        open_arguments: those that the user left open, filled in by the policy as well.
        default_kind: whose defaults they have, the field of ``ByPolicy``.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}
    positional: ClassVar[tuple[str, ...]] = ()
    stored_arguments: ClassVar[tuple[str, ...]] = ()
    outdated_arguments: ClassVar[Mapping[str, str]] = {}
    schedules: ClassVar[tuple[str, ...]] = ()
    automatic_arguments: frozenset[str] = frozenset()
    open_arguments: tuple[str, ...] = ()
    default_kind: Literal["mlp", "cnn"] = "cnn"
    _told_of_functions = False
    devices: Devices
    # All that training changes: what a resume needs.
    _agent_state: Any
    # The file that is being loaded.
    _file: Archive | None = None
    # Around every use of it that another thread or a signal's handler may come into.
    _exchange: Exchange

    @property
    def jax_device(self) -> jax.Device:
        """The device for what takes one; the first of several."""
        return self.devices.first

    @abstractmethod
    def _parameter_groups(self, state: Any) -> dict[str, PyTree]:
        """The state's parts under the names that ``get_parameters`` shows."""

    @abstractmethod
    def _with_parameter_groups(self, state: Any, groups: dict[str, PyTree]) -> PyTree:
        """The state with those parts replaced."""

    @classmethod
    def _adapt_loaded_env(cls, env: VecEnv, arguments: Mapping[str, Any]) -> VecEnv:
        """The environment given to ``load``, with the spaces of the stored model.

        Args:
            env: the environment.
            arguments: the constructor's.
        """
        del arguments
        return env

    def _extra_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Further arrays that a subclass stores."""
        return {}

    def _function_env(self) -> FunctionalVecEnv | None:
        """The functional environment behind ``env``, unless something wraps it whose state is not accessible."""
        env = self.env.venv if type(self.env) is VecNormalize else self.env
        return env if isinstance(env, FunctionalVecEnv) else None

    def get_parameters(self) -> Parameters:
        """Copies of all arrays, ``{group: {path: array}}``.

        The groups are ``policy``, ``optimizer`` and, with a world model, ``world_model``.
        """
        with self._exchange:
            groups = self._parameter_groups(self._agent_state)
            return {
                name: {k: v.copy() for k, v in flatten_arrays(tree).items()} for name, tree in groups.items()
            }

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: Any = "auto") -> None:
        """Replace arrays in place, from a model file or a dict as ``get_parameters`` returns it.

        Args:
            load_path_or_dict: a path or open file, or ``{group: {path: array}}``.
            exact_match: require every group and array; otherwise replace only those given.
            device: part of SB3's signature; only ``"auto"`` is allowed, because arrays stay on the model's device.

        Raises:
            ModelFileError: names or shapes do not match, as a ``ValueError``.
        """
        if device != "auto":
            raise ValueError(
                f"device must be 'auto': a model's device is chosen when it is made, got {device!r}."
            )
        if isinstance(load_path_or_dict, Mapping):
            self._take(load_path_or_dict, exact_match)
            return
        file = read_model_file(load_path_or_dict)
        with describing(file.name):
            self._take(_by_group(file), exact_match)

    def _take(self, given: Mapping[str, Mapping[str, Any]], exact_match: bool) -> None:
        with self._exchange:
            self._put_state(self._with(given, exact_match))

    def _with(self, given: Mapping[str, Mapping[str, Any]], exact_match: bool) -> PyTree:
        """The state with some parameters replaced."""
        groups = self._parameter_groups(self._agent_state)
        unknown, missing = sorted(set(given) - set(groups)), sorted(set(groups) - set(given))
        if unknown or (exact_match and missing):
            raise ModelFileError(
                f"Parameter groups do not fit: unknown {unknown}, missing {missing}; this model has "
                f"{sorted(groups)}."
            )
        for name, values in given.items():
            arrays = {key: np.asarray(value) for key, value in values.items()}
            if not exact_match:
                arrays = {**flatten_arrays(groups[name]), **arrays}
            groups[name] = restore_arrays(groups[name], arrays, what=f"The parameters of {name!r}")
        return self._with_parameter_groups(self._agent_state, groups)

    def _check_shapes(self, state: PyTree) -> None:
        """Refuse a state, of which only shapes are known, that memory or the file being loaded do not allow."""
        if self._file is not None:
            stored = _by_group(self._file)
            for name, group in self._parameter_groups(state).items():
                check_arrays(group, stored.get(name, {}), what=f"The parameters of {name!r}")
        size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))
        if size > device_bytes(self.jax_device):
            raise ValueError(
                f"The networks and what they learn with take {size} bytes, more than the memory of "
                f"{self.jax_device}; make policy_kwargs or other sizes smaller."
            )

    def _put_state(self, state: PyTree) -> None:
        self._agent_state = self.devices.put(state, self.devices.whole)

    def _without_groups(self) -> PyTree:
        """The state except for its parameter groups."""
        empty = dict.fromkeys(self._parameter_groups(self._agent_state), ())
        return self._with_parameter_groups(self._agent_state, empty)

    def _resume_point(self) -> ResumePoint:
        """Where training stands, for ``save``."""
        env = None if self._last_obs is None else self._function_env()
        return ResumePoint(
            num_timesteps=self.num_timesteps,
            n_updates=self._n_updates,
            ep_info=list(self.ep_info_buffer or ()),
            ep_success=list(self.ep_success_buffer or ()),
            env_state=None if env is None else env.get_state(),
            last_obs=self._last_obs,
            last_starts=self._last_episode_starts,
            statistics=read_statistics(self._vec_normalize_env),
        )

    def save(
        self, path: PathOrFile, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
    ) -> None:
        """Write the model, atomically: configuration as JSON, all arrays, counters and random keys.

        The file includes the state of a functional environment and the statistics of a ``VecNormalize`` around
        it, so that training resumes bit for bit. The state of any other environment is not accessible; on resume
        it starts new episodes.

        A file that a callback saves during a rollout on a functional environment holds the nearest point from
        which training continues exactly, ``num_timesteps`` included: the start of the rollout or, where
        rollout and update are one program that has already run, the end of the iteration.

        Of several processes, all must call it, and the first one writes.

        Args:
            path: a path, to which ``.zip`` is appended if it has no suffix, or an open binary file.
            exclude: constructor arguments, ``"ep_info_buffer"`` or ``"ep_success_buffer"`` to leave out; the model
                that is loaded has their defaults. Other names are ignored, as in SB3.
            include: names that are stored even if ``exclude`` has them.
        """
        with self._exchange:
            point = self._resume_point()
            groups = self._parameter_groups(self._agent_state)
            arrays = {f"run/{key}": value for key, value in flatten_arrays(self._without_groups()).items()}
            for name, group in groups.items():
                arrays |= {f"{_GROUPS}{name}/{key}": value for key, value in flatten_arrays(group).items()}
            counters = {name: getattr(self, name) for name in COUNTERS}
            left_out = frozenset(exclude or ()) - frozenset(include or ())
            data = describe(self, point, counters, self._stats_window_size, left_out)
            arrays |= point.arrays() | self._extra_arrays()
            if writes(path):
                write_model_file(path, data, arrays)
        self._tell_of_functions(data["arguments"])

    def _tell_of_functions(self, stored: Mapping[str, Any]) -> None:
        """Warn, once, that the file has only the present values of custom schedules."""
        kept = [
            f"{name}={stored[name]['current']:g}"
            for name in self.schedules
            if isinstance(stored.get(name), dict) and stored[name]["schedule"] == "custom"
        ]
        if kept and not self._told_of_functions:
            self._told_of_functions = True
            warnings.warn(
                "Model files do not hold functions; of custom schedules they keep the present value: "
                f"{', '.join(kept)}. LinearSchedule and strings such as 'lin_0.001' are kept whole.",
                stacklevel=3,
            )

    def _restore(self, file: Archive) -> None:
        """Take all arrays of a file."""
        self._take(_by_group(file), exact_match=True)
        groups = self._parameter_groups(self._agent_state)
        rest = restore_arrays(self._without_groups(), file.part("run/"), what="The arrays of the file")
        self._put_state(self._with_parameter_groups(rest, groups))

    @classmethod
    def load(
        cls,
        path: PathOrFile,
        env: Any = None,
        device: Any = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Read a model. Nothing in the file is executed or unpickled.

        Args:
            path: the file that ``save`` wrote.
            env: environment to continue with; ``None`` for prediction only. It may have another number of
                copies; sizes that were left open when the model was made are then chosen again.
            device: as in the constructor.
            custom_objects: replacements of constructor arguments, SB3's other spelling of ``kwargs``; unknown
                keys are ignored, as in SB3.
            print_system_info: print the versions in use.
            force_reset: True starts new episodes; False goes on in the episodes that the environments are in. By
                default the state of a functional environment is restored from the file if it fits, and any other
                environment is reset.
            **kwargs: constructor arguments that replace the stored ones.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: the file is damaged, or holds another class.
            ValueError: the environment's spaces differ from the model's.
        """
        if print_system_info:
            get_system_info()
        if not isinstance(path, str | os.PathLike) and not hasattr(path, "read"):
            raise TypeError(f"{cls.__name__}.load() takes a path or an open binary file, got {path!r}.")
        file = read_model_file(path)
        device = resolve_devices(device)
        replaced = bool(kwargs or custom_objects)
        known = (*cls.stored_arguments, "policy_class")
        custom = {name: value for name, value in (custom_objects or {}).items() if name in known}
        saved = parse(file, cls, {**custom, **kwargs})
        policy = kwargs.pop("policy", None) or custom.pop("policy_class", None) or saved.policy
        if isinstance(policy, str) and policy == saved.policy and policy not in cls.policy_aliases:
            raise ModelFileError(
                f"{file.name} used the policy class {policy}; pass it as load(..., policy=...)."
            )
        arguments = {**saved.arguments, **custom, **kwargs}
        if env is not None:
            copies = arguments.pop("n_envs", None) or (saved.n_envs if is_template(env) else None)
            env = cls._adapt_loaded_env(prepare_env(env, copies, arguments["seed"]), arguments)
            check_for_correct_spaces(env, saved.observation_space, saved.action_space)
        window = arguments.pop("stats_window_size", saved.stats_window_size)
        # What was given here, and fails, is not the file's fault.
        own = not replaced and (env is None or env.num_envs == saved.n_envs)
        with describing(file.name) if own else contextlib.nullcontext():
            model = cls(
                policy, env, device=device, stats_window_size=window, _init_setup_model=False, **arguments
            )  # type: ignore[call-arg]
            model._set_up(saved, file)
        model._resume(saved, file, force_reset)
        return model

    def _set_up(self, saved: SavedModel, file: Archive) -> None:
        """Set up a new model that fits a file."""
        if self.env is None:
            self.observation_space, self.action_space = saved.observation_space, saved.action_space
            self.n_envs = saved.n_envs
        self.default_kind = saved.default_kind
        self._file = file
        try:
            self._setup_model()
        finally:
            self._file = None

    def _resume(self, saved: SavedModel, file: Archive, force_reset: bool | None) -> None:
        """Take all that a file holds."""
        with describing(file.name):
            self._restore(file)
        for name, value in saved.counters.items():
            setattr(self, name, value)
        self.ep_info_buffer = deque(saved.ep_info, maxlen=self._stats_window_size)
        self.ep_success_buffer = deque(saved.ep_success, maxlen=self._stats_window_size)
        self._resume_env(file, force_reset)

    def _resume_env(self, file: Archive, force_reset: bool | None) -> None:
        """Put a functional environment where it was; give any other fresh seeds, not the first again."""
        env = self._function_env()
        exact = env is not None and not force_reset and restore_env(env, file)
        if self.env is not None:
            with describing(file.name):
                restore_statistics(self._vec_normalize_env, file, exact)
        if exact or force_reset is False:
            last = last_observations(self.observation_space, self.n_envs, file)
            if last is not None:
                self._last_obs, self._last_episode_starts = last
                return
            warnings.warn(
                f"The file has no observations of {self.n_envs} environments with this model's space; they begin new "
                "episodes.",
                stacklevel=4,
            )
        if self.env is None:
            return
        if env is None and force_reset is None and isinstance(self.env.unwrapped, FunctionalVecEnv):
            warnings.warn(
                f"The state of a functional environment behind {type(self.env).__name__} is not part of the file: new "
                "episodes begin, and training does not go on exactly. Pass force_reset=True to say that this is meant.",
                stacklevel=4,
            )
        # A pool keeps the seeds that it was made with.
        if self.seed is not None and not isinstance(self.env.unwrapped, EnvPoolVecEnv):
            self.env.seed((self.seed + self.num_timesteps) % 2**31)


def _by_group(file: Archive) -> Parameters:
    """A file's parameters in the layout of ``get_parameters``."""
    groups: Parameters = {}
    for key, value in file.part(_GROUPS).items():
        name, _, path = key.partition("/")
        groups.setdefault(name, {})[path] = value
    return groups
