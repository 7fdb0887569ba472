"""The SB3 face, written once for all algorithms: environments, prediction, parameters, save, load, resume."""

import difflib
import io
import pathlib
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeAlias

import jax
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import check_for_nested_spaces
from stable_baselines3.common.utils import FloatSchedule, check_for_correct_spaces, get_system_info
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from spi_plugins.algorithms.checks import check_integer, check_number
from spi_plugins.algorithms.model_file import ModelFile, PathOrFile, read_model_file, write_model_file
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, Policy
from spi_plugins.algorithms.schedules import Schedule, check_schedule, decode_schedule, encode_schedule
from spi_plugins.algorithms.serialization import decode_space, encode_space, flatten_arrays, restore_arrays
from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv, as_vec_env
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.errors import ModelFileError
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, PyTree

Parameters: TypeAlias = dict[str, dict[str, np.ndarray[Any, Any]]]

_COUNTERS = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_episode_num", "_n_updates",
             "_current_progress_remaining", "_n_predictions")  # fmt: skip


def resolve_device(device: Any) -> jax.Device:
    """A JAX device from SB3's spelling: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or JAX's own."""
    if isinstance(device, jax.Device):
        return device
    name, _, index = str(device).partition(":")
    if name == "auto":
        return jax.devices()[0]
    try:
        devices = jax.devices({"cuda": "gpu"}.get(name, name))
        return devices[int(index or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        known = sorted({d.platform for d in jax.devices()} | {"cpu"})
        raise ValueError(
            f"device={device!r} is not available; JAX sees {', '.join(known)} here. Allowed are 'auto', 'cpu', "
            "'cuda' and 'cuda:N' (install spi-plugins[cuda])."
        ) from error


class JaxAlgorithm(BaseAlgorithm):
    """What Deep SPI and its relatives share with every SB3 algorithm.

    A subclass lists its constructor's arguments in ``stored_arguments`` (they are attributes of the same name, and
    go into the model file), builds its agent in ``_setup_model`` and exposes its state through ``_state``.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a subclass of one of their classes.
        env: a Gymnasium ``Env`` or id, an SB3 ``VecEnv``, a Gymnasium ``VectorEnv`` in any autoreset mode, an
            envpool environment, or a ``FunctionalEnv``; ``None`` to load a model for prediction.
        learning_rate: a number, or a function of the remaining progress (1 to 0).
        n_envs: copies to make of a ``FunctionalEnv`` (default 128) or an id (default 1). Other environments come
            with a number of their own.
        policy_kwargs: ``net_arch``, ``activation_fn``, ``ortho_init``, ``log_std_init``,
            ``share_features_extractor``, ``conv_layers``, ``image_features``, ``categorical_latent``.
        stats_window_size: episodes in the running means of the log.
        tensorboard_log: folder for tensorboard, ``None`` for none.
        verbose: 0 silent, 1 information, 2 debugging.
        device: where the arrays live: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``.
        seed: of networks, actions and environment.

    Raises:
        ValueError: an argument out of range; the message names it, what came and what is allowed.
    """

    policy_aliases: ClassVar[dict[str, Any]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    stored_arguments: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "policy_kwargs",
        "tensorboard_log",
        "verbose",
        "seed",
    )
    schedules: ClassVar[tuple[str, ...]] = ("learning_rate",)
    policy: Policy
    policy_class: type[Policy]

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        learning_rate: float | Schedule,
        n_envs: int | None,
        policy_kwargs: dict[str, Any] | None,
        stats_window_size: int,
        tensorboard_log: str | None,
        verbose: int,
        device: Any,
        seed: int | None,
    ):
        check_integer("stats_window_size", stats_window_size, low=1)
        check_integer("verbose", verbose, low=0)
        if seed is not None:
            check_integer("seed", seed, low=0)
        for name in self.schedules:
            check_schedule(name, learning_rate if name == "learning_rate" else getattr(self, name))
        if not isinstance(policy, str) and not (isinstance(policy, type) and issubclass(policy, Policy)):
            raise ValueError(
                f"policy must be {', '.join(map(repr, self.policy_aliases))} or a subclass of theirs, got {policy!r}."
            )
        if env is not None:
            env = prepare_env(env, n_envs, seed)
        self.jax_device = resolve_device(device)
        super().__init__(
            policy=policy,  # type: ignore[arg-type]
            env=env,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            support_multi_env=True,
            device="cpu",  # torch's, which computes nothing here
            seed=seed,
        )
        self.verbose = verbose
        self._n_predictions = 0
        self._pending_env_state: Mapping[str, np.ndarray[Any, Any]] | None = None
        if verbose >= 1:
            self._say(f"Using {self.jax_device.platform} device")

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

    # ------------------------------------------------------------------ set-up

    def _say(self, message: str) -> None:
        import sys

        sys.stdout.write(message + "\n")

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
        env = as_vec_env(env)
        check_for_nested_spaces(env.observation_space)
        return env

    def _specs(self) -> tuple[ObservationSpec, ActionSpec]:
        return observation_spec(self.observation_space), action_spec(self.action_space)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Train on another environment with the same spaces and the same number of copies from here on."""
        env = prepare_env(env, self.n_envs if _is_template(env) else None, self.seed)
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
            observation: ``[*obs]`` or ``[B, *obs]``, or a dict of such arrays; images with either order of axes.
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
        """Copies of all arrays, ``{group: {path: array}}``; groups such as ``policy``, ``world_model``, ``optimizer``."""
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
            stored = self._restored_state(read_model_file(load_path_or_dict))
            given = {name: flatten_arrays(tree) for name, tree in self._parameter_groups(stored).items()}
        groups = self._parameter_groups(self._state)
        unknown, missing = sorted(set(given) - set(groups)), sorted(set(groups) - set(given))
        if unknown or (exact_match and missing):
            raise ModelFileError(
                f"Parameter groups do not fit: unknown {unknown}, missing {missing}; this model has {sorted(groups)}."
            )
        for name, values in given.items():
            arrays = {key: np.asarray(value) for key, value in values.items()}
            if not exact_match:
                arrays = {**flatten_arrays(groups[name]), **arrays}
            groups[name] = restore_arrays(groups[name], arrays, what=f"The parameters of {name!r}")
        self._state = jax.device_put(self._with_parameter_groups(self._state, groups), self.jax_device)

    # ------------------------------------------------------------------ files

    def _stored_data(self) -> dict[str, Any]:
        arguments = {}
        for name in self.stored_arguments:
            value = getattr(self, name)
            if name in self.schedules:
                value = encode_schedule(value, FloatSchedule(value)(self._current_progress_remaining))
            arguments[name] = value
        aliases = {cls: name for name, cls in self.policy_aliases.items()}
        return {
            "algorithm": type(self).__name__,
            "policy": aliases.get(
                self.policy_class, f"{self.policy_class.__module__}:{self.policy_class.__qualname__}"
            ),
            "arguments": _jsonable(arguments),
            "observation_space": encode_space(self.observation_space),
            "action_space": encode_space(self.action_space),
            "n_envs": self.n_envs,
            "stats_window_size": self._stats_window_size,
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "ep_info_buffer": _jsonable(list(self.ep_info_buffer or [])),
            "ep_success_buffer": _jsonable(list(self.ep_success_buffer or [])),
        }

    def save(self, path: PathOrFile) -> None:  # type: ignore[override]
        """Write the model, atomically: configuration as JSON, all arrays, counters and random keys.

        The state of a functional environment is part of the file, so that training resumes bit for bit. Of any
        other environment there is no state to take; on resume it starts new episodes.

        Args:
            path: ``.zip`` is appended where there is no suffix; or an open binary file.
        """
        arrays = {f"agent/{key}": value for key, value in flatten_arrays(self._state).items()}
        env = self._function_env()
        if env is not None and self._last_obs is not None:
            arrays |= {f"env/{key}": value for key, value in flatten_arrays(env.get_state()).items()}
        write_model_file(path, self._stored_data(), arrays)

    def _restored_state(self, file: ModelFile) -> PyTree:
        arrays = {
            key.removeprefix("agent/"): value
            for key, value in file.arrays.items()
            if key.startswith("agent/")
        }
        return restore_arrays(self._state, arrays, what="The arrays of the file")

    @classmethod
    def load(  # type: ignore[override]
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
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
            env: environment to go on with; ``None`` for prediction only. It may have another number of copies.
            device: see the constructor.
            custom_objects: replacements of constructor arguments, SB3's other spelling of ``kwargs``.
            print_system_info: print the versions in use.
            force_reset: start new episodes. By default the state of a functional environment is restored from the
                file if it fits, and any other environment is reset.
            **kwargs: constructor arguments that replace the stored ones.

        Raises:
            FileNotFoundError: there is no such file.
            ModelFileError: the file is damaged, or not of this class.
            ValueError: the environment's spaces are not the model's.
        """
        if print_system_info:
            get_system_info()
        file = read_model_file(path)
        data = file.data
        if data.get("algorithm") != cls.__name__:
            raise ModelFileError(
                f"{path} holds a {data.get('algorithm')} model; load it with that class, not {cls.__name__}."
            )
        try:
            arguments = dict(data["arguments"])
            for name in cls.schedules:
                if name not in kwargs and name not in (custom_objects or {}):
                    arguments[name] = decode_schedule(name, arguments[name])
            replaced = {k: v for k, v in (custom_objects or {}).items() if k in arguments}
            policy = (
                kwargs.pop("policy", None) or (custom_objects or {}).get("policy_class") or data["policy"]
            )
            if isinstance(policy, str) and policy not in cls.policy_aliases:
                raise ModelFileError(
                    f"{path} used the policy class {policy}; pass it as load(..., policy=...)."
                )
            spaces = decode_space(data["observation_space"]), decode_space(data["action_space"])
            counters, n_envs = data["counters"], int(data["n_envs"])
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"{path} is damaged: its description lacks or garbles {error}.") from error
        if env is not None:
            copies = kwargs.pop("n_envs", None) or (n_envs if _is_template(env) else None)
            env = prepare_env(env, copies, arguments["seed"])
            check_for_correct_spaces(env, *spaces)
        model = cls(
            policy,
            env,
            device=device,
            stats_window_size=data["stats_window_size"],
            _init_setup_model=False,
            **{**arguments, **replaced, **kwargs},
        )
        if env is None:
            model.observation_space, model.action_space = spaces
            model.n_envs = n_envs
        model._setup_model()
        model._state = jax.device_put(model._restored_state(file), model.jax_device)
        for name in _COUNTERS:
            setattr(model, name, counters[name])
        model.ep_info_buffer = deque(data["ep_info_buffer"], maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(data["ep_success_buffer"], maxlen=model._stats_window_size)
        model._resume_env(file, force_reset)
        return model

    def _resume_env(self, file: ModelFile, force_reset: bool | None) -> None:
        """Put a functional environment where it was; give any other fresh seeds, not the first run's again."""
        if self.env is None:
            return
        arrays = {
            key.removeprefix("env/"): value for key, value in file.arrays.items() if key.startswith("env/")
        }
        env = self._function_env()
        if env is not None and arrays and not force_reset:
            env.reset()
            target = env.get_state()
            like = {key: value.shape for key, value in flatten_arrays(target).items()}
            if like == {key: value.shape for key, value in arrays.items()}:
                env.set_state(jax.device_put(restore_arrays(target, arrays, what="The environment's arrays")))
                self._last_obs = env.observe()
                self._last_episode_starts = np.zeros((self.n_envs,), bool)
                return
        if self.seed is not None and not isinstance(self.env, EnvPoolVecEnv):  # a pool keeps the seeds it was made with
            self.env.seed((self.seed + self.num_timesteps) % 2**31)


def _is_template(env: Any) -> bool:
    """Whether copies can be made of it: an id or a functional environment."""
    return isinstance(env, FunctionalEnv | str)


def prepare_env(env: Any, n_envs: int | None, seed: int | None) -> VecEnv:
    """Any accepted environment as a ``VecEnv``, refusing closed ones and a number of copies that cannot be had."""
    if n_envs is not None:
        check_integer("n_envs", n_envs, low=1)
    if isinstance(env, FunctionalEnv):
        return FunctionalVecEnv(env, n_envs or 128, seed=seed)
    if isinstance(env, str):
        return make_vec_env(env, n_envs=n_envs or 1)
    vec_env = as_vec_env(env)
    if n_envs is not None and n_envs != vec_env.num_envs:
        raise ValueError(
            f"n_envs={n_envs} was given with an env of {vec_env.num_envs} copies; n_envs is for ids and functional "
            "environments only."
        )
    if is_closed(vec_env):
        raise ValueError(f"env is closed: {vec_env}. Make it anew.")
    return vec_env


def is_closed(env: Any) -> bool:
    """Whether ``close()`` was called on a vector environment or on what it wraps."""
    while env is not None:
        if getattr(env, "closed", False) is True or getattr(env, "_closed", False) is True:
            return True
        env = getattr(env, "venv", None) or getattr(env, "env", None)
    return False


def _jsonable(value: Any) -> Any:
    """NumPy scalars as numbers, tuples as lists, functions and classes by name."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pathlib.Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", type(value).__name__)


def check_unit_interval(**values: float) -> None:
    """Refuse numbers outside [0, 1]."""
    for name, value in values.items():
        check_number(name, value, low=0.0, high=1.0)
