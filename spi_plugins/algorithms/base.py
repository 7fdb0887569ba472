"""The SB3 face, written once for all algorithms: environments, prediction, parameters, save, load, resume."""

import difflib
import sys
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import jax
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from spi_plugins.algorithms.constructors import constructor, documentation
from spi_plugins.algorithms.devices import resolve_device
from spi_plugins.algorithms.environments import is_template, prepare_env
from spi_plugins.algorithms.model_file import read_model_file, write_model_file
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, Policy
from spi_plugins.algorithms.saved_model import ResumePoint, describe, parse
from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv, as_vec_env
from spi_plugins.archive import Archive, PathOrFile
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.errors import ModelFileError
from spi_plugins.hyperparameters import Hyperparameter, declared
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, PyTree

C = TypeVar("C")
Parameters: TypeAlias = dict[str, dict[str, np.ndarray[Any, Any]]]


class JaxAlgorithm(BaseAlgorithm):
    """What Deep SPI and its relatives share with every SB3 algorithm.

    A subclass lists its constructor's arguments in ``hyperparameters``, builds its agent in ``_setup_model`` and
    exposes its state through ``_state``. Its ``__init__`` is made from them.

    Attributes:
        hyperparameters: the constructor's arguments besides ``policy`` and ``env``; each becomes an attribute.
        stored_arguments: those that go into the model file.
        schedules: those that may be functions of the remaining progress.
        automatic_arguments: those that the user left open, filled in by the number of copies.
    """

    policy_aliases: ClassVar[dict[str, Any]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}
    stored_arguments: ClassVar[tuple[str, ...]] = ()
    schedules: ClassVar[tuple[str, ...]] = ()
    automatic_arguments: frozenset[str] = frozenset()
    policy: Policy  # type: ignore[assignment]  # SB3's are torch modules
    policy_class: type[Policy]  # type: ignore[assignment]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Derive what follows from a class's hyperparameters."""
        super().__init_subclass__(**kwargs)
        if "hyperparameters" in vars(cls):
            cls.stored_arguments = tuple(name for name in cls.hyperparameters if name not in _NOT_STORED)
            cls.schedules = tuple(name for name, value in cls.hyperparameters.items() if value.is_schedule)
            cls.__doc__ = documentation(cls)
            cls.__init__ = constructor(cls)  # type: ignore[method-assign]

    def _initialize(self, policy: str | type[Policy], env: Any, arguments: Mapping[str, Any]) -> None:
        """What every constructor does."""
        values = {name: arguments[name] for name in self.hyperparameters}
        for name, declaration in self.hyperparameters.items():
            declaration.check(values[name])
            if name not in _NOT_STORED:
                setattr(self, name, dict(values[name] or {}) if declaration.is_mapping else values[name])
        if not isinstance(policy, str) and not (isinstance(policy, type) and issubclass(policy, Policy)):
            raise ValueError(
                f"policy must be one of {', '.join(map(repr, self.policy_aliases))} or a subclass of their "
                f"classes, got {policy!r}."
            )
        self._check_arguments()
        if env is None and arguments["_init_setup_model"]:
            raise ValueError("env is missing; without one, use load() for prediction only.")
        seed, verbose = values["seed"], values["verbose"]
        if env is not None:
            env = prepare_env(env, values["n_envs"], seed)
        self.jax_device = resolve_device(values["device"])
        super().__init__(
            policy=policy,  # type: ignore[arg-type]
            env=env,
            learning_rate=values[self.schedules[0]],  # of several, SB3 knows the first
            policy_kwargs=values["policy_kwargs"],
            stats_window_size=values["stats_window_size"],
            tensorboard_log=values["tensorboard_log"],
            support_multi_env=True,
            device="cpu",  # torch's, which computes nothing here
            seed=seed,
        )
        self.verbose = verbose
        self._n_predictions = 0
        if verbose >= 1:
            sys.stdout.write(f"Using {self.jax_device.platform} device\n")
        if arguments["_init_setup_model"]:
            self._setup_model()

    def _check_arguments(self) -> None:
        """Refuse arguments that do not go together, before the environment is opened."""

    def _configured(self, cls: type[C], **others: Any) -> C:
        """A config whose fields are this model's arguments of the same names, and ``others``."""
        own = {name: getattr(self, name) for name in declared(cls) if name in self.hyperparameters}
        return cls(**{**own, **others})

    # ------------------------------------------------------------------ for subclasses

    @property
    @abstractmethod
    def _state(self) -> PyTree:
        """Everything that training changes: what a resume needs, as one pytree."""

    @_state.setter
    @abstractmethod
    def _state(self, state: PyTree) -> None: ...

    @abstractmethod
    def _parameter_groups(self, state: PyTree) -> dict[str, PyTree]:
        """The state's parts under the names that ``get_parameters`` shows."""

    @abstractmethod
    def _with_parameter_groups(self, state: PyTree, groups: dict[str, PyTree]) -> PyTree:
        """The state with those parts replaced."""

    @classmethod
    def _adapt_loaded_env(cls, env: VecEnv, arguments: Mapping[str, Any]) -> VecEnv:
        """The environment given to ``load``, with the spaces of the stored model.

        Args:
            env: as it came.
            arguments: the constructor's.
        """
        del arguments
        return env

    # ------------------------------------------------------------------ set-up

    def _get_policy_from_name(self, policy_name: str) -> type[Any]:
        if policy_name in self.policy_aliases:
            return self.policy_aliases[policy_name]  # type: ignore[no-any-return]
        close = difflib.get_close_matches(policy_name, self.policy_aliases, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"policy={policy_name!r} is unknown.{hint} Allowed: {', '.join(self.policy_aliases)}."
        )

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Make it a ``VecEnv``. Images are not transposed: the encoders read either order of axes."""
        return as_vec_env(env)

    def _specs(self) -> tuple[ObservationSpec, ActionSpec]:
        return observation_spec(self.observation_space), action_spec(self.action_space)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Train on another environment with the same spaces and the same number of copies from here on."""
        env = prepare_env(env, self.n_envs if is_template(env) else None, self.seed)
        if env.num_envs != self.n_envs:
            raise ValueError(
                f"env has {env.num_envs} copies, the model {self.n_envs}; to change the number, use "
                f"{type(self).__name__}.load(path, env=env)."
            )
        check_for_correct_spaces(env, self.observation_space, self.action_space)
        self._vec_normalize_env = unwrap_vec_normalize(env)
        if force_reset:
            self._last_obs = None
        self.env = env

    def _function_env(self) -> FunctionalVecEnv | None:
        """The functional environment behind ``env``, if nothing wraps it."""
        return self.env if isinstance(self.env, FunctionalVecEnv) else None

    # ------------------------------------------------------------------ prediction

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray[Any, Any], Any]:
        """Actions for one observation or a batch.

        Args:
            observation: ``[*obs]`` or ``[B, *obs]``, or a dict of such arrays; images with either order of
                axes.
            state: passed through; these policies keep none between calls.
            episode_start: unused for the same reason.
            deterministic: the most likely action instead of a sample.

        Returns:
            The actions, batched as the observations were, inside the action space; and ``state``.

        Raises:
            ValueError: the observation has a wrong shape or holds NaN or infinity.
        """
        return self.policy.predict(observation, state, episode_start, deterministic)

    # ------------------------------------------------------------------ parameters

    def get_parameters(self) -> Parameters:
        """Copies of all arrays, ``{group: {path: array}}``.

        The groups are ``policy``, ``optimizer`` and, where there is one, ``world_model``.
        """
        groups = self._parameter_groups(self._state)
        return {name: {k: v.copy() for k, v in flatten_arrays(tree).items()} for name, tree in groups.items()}

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: Any = "auto") -> None:
        """Replace arrays in place, from a model file or from what ``get_parameters`` gives.

        Args:
            load_path_or_dict: a path or open file, or ``{group: {path: array}}``.
            exact_match: every group and array must be given. Otherwise those that are given are replaced.
            device: as SB3 has it; arrays go where the model lives, so only ``"auto"`` is allowed.

        Raises:
            ModelFileError: names or shapes that do not fit.
        """
        if device != "auto":
            raise TypeError(
                f"device must be 'auto': a model's device is chosen when it is made, got {device!r}."
            )
        if isinstance(load_path_or_dict, Mapping):
            given: Mapping[str, Mapping[str, Any]] = load_path_or_dict
        else:
            given = _by_group(read_model_file(load_path_or_dict))
        groups = self._parameter_groups(self._state)
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
        self._state = jax.device_put(self._with_parameter_groups(self._state, groups), self.jax_device)

    # ------------------------------------------------------------------ files

    def _resume_point(self) -> ResumePoint:
        """Where training stands, for ``save``."""
        env = None if self._last_obs is None else self._function_env()
        return ResumePoint(
            num_timesteps=self.num_timesteps,
            n_updates=self._n_updates,
            ep_info=list(self.ep_info_buffer or ()),
            ep_success=list(self.ep_success_buffer or ()),
            env_state=None if env is None else env.get_state(),
            last_obs=None if env is None else self._last_obs,
        )

    def save(self, path: PathOrFile) -> None:  # type: ignore[override]
        """Write the model, atomically: configuration as JSON, all arrays, counters and random keys.

        The state of a functional environment is part of the file, so that training resumes bit for bit. Of
        any other environment there is no state to take; on resume it starts new episodes.

        A file that a callback saves in the midst of a rollout on a functional environment holds the nearest
        place from which training goes on exactly, ``num_timesteps`` included: the rollout's start or, where
        rollout and update are one program that has run already, the iteration's end.

        Args:
            path: ``.zip`` is appended where there is no suffix; or an open binary file.
        """
        point = self._resume_point()
        groups = self._parameter_groups(self._state)
        arrays = {f"run/{key}": value for key, value in flatten_arrays(self._without_groups()).items()}
        for name, group in groups.items():
            arrays |= {f"{_GROUPS}{name}/{key}": value for key, value in flatten_arrays(group).items()}
        write_model_file(path, describe(self, point), arrays | point.arrays() | self._extra_arrays())

    def _extra_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """What else a subclass stores."""
        return {}

    def _without_groups(self) -> PyTree:
        """What the state has beside its parameter groups: the random key."""
        return self._with_parameter_groups(
            self._state, dict.fromkeys(self._parameter_groups(self._state), ())
        )

    def _restore(self, file: Archive) -> None:
        """Take all arrays of a file."""
        self.set_parameters(_by_group(file))
        groups = self._parameter_groups(self._state)
        rest = restore_arrays(self._without_groups(), file.part("run/"), what="The arrays of the file")
        self._state = jax.device_put(self._with_parameter_groups(rest, groups), self.jax_device)

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
            path: what ``save`` wrote.
            env: environment to go on with; ``None`` for prediction only. It may have another number of
                copies; sizes that were left open when the model was made are then chosen anew.
            device: see the constructor.
            custom_objects: replacements of constructor arguments, SB3's other spelling of ``kwargs``; keys
                that are no argument are ignored, as SB3 does.
            print_system_info: print the versions in use.
            force_reset: start new episodes. By default the state of a functional environment is restored from
                the file if it fits, and any other environment is reset.
            **kwargs: constructor arguments that replace the stored ones.

        Raises:
            FileNotFoundError: there is no such file.
            ModelFileError: the file is damaged, or not of this class.
            ValueError: the environment's spaces are not the model's.
        """
        if print_system_info:
            get_system_info()
        file = read_model_file(path)
        custom = {
            k: v for k, v in (custom_objects or {}).items() if k in (*cls.stored_arguments, "policy_class")
        }
        saved = parse(file, path, cls, {**custom, **kwargs})
        policy = kwargs.pop("policy", None) or custom.pop("policy_class", None) or saved.policy
        if isinstance(policy, str) and policy == saved.policy and policy not in cls.policy_aliases:
            raise ModelFileError(f"{path} used the policy class {policy}; pass it as load(..., policy=...).")
        arguments = {**saved.arguments, **custom, **kwargs}
        if env is not None:
            copies = arguments.pop("n_envs", None) or (saved.n_envs if is_template(env) else None)
            env = cls._adapt_loaded_env(prepare_env(env, copies, arguments["seed"]), arguments)
            check_for_correct_spaces(env, saved.observation_space, saved.action_space)
        window = arguments.pop("stats_window_size", saved.stats_window_size)
        model = cls(
            policy, env, device=device, stats_window_size=window, _init_setup_model=False, **arguments
        )  # type: ignore[call-arg]
        if env is None:
            model.observation_space, model.action_space = saved.observation_space, saved.action_space
            model.n_envs = saved.n_envs
        model._setup_model()
        model._restore(file)
        for name, value in saved.counters.items():
            setattr(model, name, value)
        model.ep_info_buffer = deque(saved.ep_info, maxlen=window)
        model.ep_success_buffer = deque(saved.ep_success, maxlen=window)
        model._resume_env(file, force_reset)
        return model

    def _resume_env(self, file: Archive, force_reset: bool | None) -> None:
        """Put a functional environment where it was; give any other fresh seeds, not the first again."""
        if self.env is None:
            return
        env, arrays = self._function_env(), file.part("env/")
        if env is not None and arrays and not force_reset:
            first_obs = env.reset()
            target = env.get_state()
            like = {key: value.shape for key, value in flatten_arrays(target).items()}
            if like == {key: value.shape for key, value in arrays.items()}:
                env.set_state(restore_arrays(target, arrays, what="The environment's arrays"))
                last_obs = restore_arrays(first_obs, file.part("last_obs/"), what="The last observations")
                self._last_obs = jax.tree.map(np.asarray, last_obs)
                self._last_episode_starts = np.zeros((self.n_envs,), bool)
                return
        # A pool keeps the seeds that it was made with.
        if self.seed is not None and not isinstance(self.env.unwrapped, EnvPoolVecEnv):
            self.env.seed((self.seed + self.num_timesteps) % 2**31)


# Given anew to `load`, or kept elsewhere in the file.
_NOT_STORED = ("n_envs", "stats_window_size", "device")
_GROUPS = "parameters/"


def _by_group(file: Archive) -> Parameters:
    """A file's parameters as ``get_parameters`` gives them."""
    groups: Parameters = {}
    for key, value in file.part(_GROUPS).items():
        name, _, path = key.partition("/")
        groups.setdefault(name, {})[path] = value
    return groups
