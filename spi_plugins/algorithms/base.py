"""The SB3 interface of all algorithms: environments, prediction, the training loop."""

import contextlib
import difflib
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

import jax
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from spi_plugins.algorithms.collector import Collector, Row, Start
from spi_plugins.algorithms.compile_cache import keep_compiled_programs
from spi_plugins.algorithms.compile_notice import announcing_compilation
from spi_plugins.algorithms.constructors import constructor, documentation
from spi_plugins.algorithms.copies import reduce_model
from spi_plugins.algorithms.devices import resolve_devices
from spi_plugins.algorithms.environments import is_template, prepare_env, require_open
from spi_plugins.algorithms.interrupts import Exchange, deferring_handlers
from spi_plugins.algorithms.normalization import KeptStatistics
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, Policy
from spi_plugins.algorithms.progress import record_progress
from spi_plugins.algorithms.progress_bar import added_progress_bar
from spi_plugins.algorithms.schedules import as_schedule, remaining_progress
from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.algorithms.vec_envs.workers import NamingDeadWorkers
from spi_plugins.checks import as_integer
from spi_plugins.errors import NotFiniteError
from spi_plugins.hyperparameters import Rule, declared
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, ObservationSpec, PyTree

C = TypeVar("C")


class JaxAlgorithm(StoredAlgorithm):
    """What Deep SPI and its relatives share with every SB3 algorithm.

    A subclass lists its constructor's arguments in ``hyperparameters``, from which its ``__init__`` is made. It
    builds its agent, policy and collector in ``_make_agent``, ``_make_policy`` and ``_make_collector``, decides
    in ``_decide`` and trains in ``_iterate``.
    """

    policy_aliases: ClassVar[dict[str, Any]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    default_total_timesteps: ClassVar[int]
    # Decisions that are not deterministic draw by this count and the following ones.
    first_draw: ClassVar[int] = 0
    agent: Any
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
        if not isinstance(policy, str) and not (isinstance(policy, type) and issubclass(policy, Policy)):
            raise ValueError(
                f"policy must be one of {', '.join(map(repr, self.policy_aliases))} or a subclass of their "
                f"classes, got {policy!r}."
            )
        values |= self._policy_defaults(policy, values)
        for name, declaration in self.hyperparameters.items():
            if name in self.schedules and values[name] is not None:
                values[name] = as_schedule(name, values[name])
            if name not in _NOT_STORED:
                setattr(self, name, dict(values[name] or {}) if declaration.is_mapping else values[name])
        self._check_arguments()
        if env is None and arguments["_init_setup_model"]:
            raise ValueError("env is missing; without one, use load() for prediction only.")
        seed, verbose = values["seed"], values["verbose"]
        self.devices = resolve_devices(values["device"])
        if self.devices.spans_processes and seed is None:
            raise ValueError(
                "seed is missing: training in several processes needs one, so that all begin alike."
            )
        if jax.process_index() > 0:  # the first one tells
            verbose, values["tensorboard_log"] = 0, None
        if env is not None:
            env = prepare_env(env, values["n_envs"], seed)
        if env is not None:
            self.devices.check_divides("n_envs", env.num_envs)
        super().__init__(
            policy=policy,  # type: ignore[arg-type]
            env=env,
            learning_rate=values[self.schedules[0]],  # of several, SB3 knows the first
            policy_kwargs=values["policy_kwargs"],
            stats_window_size=values["stats_window_size"],
            tensorboard_log=values["tensorboard_log"],
            support_multi_env=True,
            use_sde=values.get("use_sde", False),
            sde_sample_freq=values.get("sde_sample_freq", -1),
            device="cpu",  # torch's, which computes nothing here
            seed=seed,
        )
        self.verbose = verbose
        self._n_predictions = 0
        if verbose >= 1:
            sys.stdout.write(f"Using {self.devices.name}\n")
        if arguments["_init_setup_model"]:
            self._setup_model()
            if verbose >= 1 and self.open_arguments:
                chosen = ", ".join(f"{name}={getattr(self, name)}" for name in self.open_arguments)
                sys.stdout.write(f"Defaults for {self.policy_class.__name__}: {chosen}\n")

    def _policy_defaults(self, policy: str | type[Policy], values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the arguments that were left open, as far as they depend on the policy alone."""
        chosen = self._get_policy_from_name(policy) if isinstance(policy, str) else policy
        self.default_kind = "cnn" if chosen.encoder == "cnn" else "mlp"
        found = {
            name: getattr(declaration.by_policy, self.default_kind)
            for name, declaration in self.hyperparameters.items()
            if declaration.by_policy is not None and values[name] is None
        }
        self.open_arguments = tuple(found)
        return {name: value for name, value in found.items() if not isinstance(value, Rule)}

    def _check_arguments(self) -> None:
        """Refuse arguments that do not go together, before the environment is opened."""

    def _configured(self, cls: type[C], **others: Any) -> C:
        """A config whose fields are this model's arguments of the same names, and ``others``."""
        fields = {name: each for name, each in declared(cls).items() if name in self.hyperparameters}
        own = {name: each.converted(getattr(self, name)) for name, each in fields.items()}
        return cls(**{**own, **others})

    @abstractmethod
    def _make_agent(self) -> Any:
        """The agent for the model's arguments, spaces and number of copies."""

    @abstractmethod
    def _make_policy(self) -> Policy:
        """The object that predicts for users."""

    @abstractmethod
    def _make_collector(self) -> Any:
        """The collector for ``env``."""

    @abstractmethod
    def _decide(self, params: PyTree, inputs: tuple[Any, ...], key: jax.Array, deterministic: bool) -> PyTree:
        """The agent's decision; pure, to be compiled."""

    @abstractmethod
    def _iterate(self, callbacks: BaseCallback, total: int, iteration: int, log: bool) -> bool:
        """Collect a rollout, update, and log if asked to; false if a callback asked to stop."""

    def _setup_model(self) -> None:
        self._exchange = Exchange()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.agent = self._make_agent()
        seed = self.seed if self.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        init_key, self._predict_key = jax.random.split(jax.random.key(seed))
        # The same for every seed and model: what is called deterministic depends on parameters and inputs alone.
        self._deterministic_key = jax.random.split(jax.random.key(0))[1]
        init = jax.jit(self.agent.init)
        self._check_shapes(jax.eval_shape(init, init_key))
        keep_compiled_programs()
        with self._announcing_compilation(shown=self.verbose >= 1):
            self._put_state(init(init_key))
        self._jitted_decision = jax.jit(self._decide_by_count, static_argnames="deterministic")
        self._collector: Collector[Any] | None = None
        self.policy = self._make_policy()
        self.policy.model = self

    def _announcing_compilation(self, *, shown: bool) -> contextlib.AbstractContextManager[None]:
        """By algorithm and policy, which together tell about how long compiling takes."""
        return announcing_compilation(f"{type(self).__name__} {self.policy_class.__name__}", shown=shown)

    def _setup_lr_schedule(self) -> None:
        self.lr_schedule = as_schedule(self.schedules[0], self.learning_rate)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = remaining_progress(num_timesteps, total_timesteps)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything random from here on: Python, NumPy, the environment's next reset, and our own keys."""
        super().set_random_seed(seed)
        if seed is not None and hasattr(self, "_agent_state"):
            run_key, self._predict_key = jax.random.split(jax.random.key(seed))
            self._n_predictions = 0
            self._agent_state = self._agent_state._replace(key=self.devices.put(run_key, self.devices.whole))

    def prediction_state(self) -> np.ndarray[Any, Any]:
        """The random key of predictions, as numbers."""
        return np.asarray(jax.random.key_data(self._predict_key))

    def set_prediction_state(self, state: np.ndarray[Any, Any]) -> None:
        """Predict with the random key of another model from here on."""
        self._predict_key = jax.random.wrap_key_data(jax.numpy.asarray(state))

    @contextlib.contextmanager
    def predicting_from(self, seed: int) -> Iterator[None]:
        """Sample predictions from ``seed``, and afterwards go on as if there had been none."""
        kept = self._predict_key, self._n_predictions
        self._predict_key, self._n_predictions = jax.random.key(seed), 0
        try:
            yield
        finally:
            self._predict_key, self._n_predictions = kept

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what ``save`` writes: no environment and no replay buffer."""
        return reduce_model(self)

    def _decide_by_count(
        self,
        params: PyTree,
        inputs: tuple[Any, ...],
        key: jax.Array,
        count: jax.Array,
        *,
        deterministic: bool,
    ) -> PyTree:
        return self._decide(params, inputs, jax.random.fold_in(key, count), deterministic)

    def _predict(self, *inputs: Any, deterministic: bool) -> Any:
        """A decision for a user, outside of training."""
        with self._exchange:
            count = np.uint32(0 if deterministic else (self.first_draw + self._n_predictions) % 2**32)
            self._n_predictions += not deterministic
            key = self._deterministic_key if deterministic else self._predict_key
            params = self.devices.near(self._agent_state.params)
            decision = self._jitted_decision(params, inputs, key, count, deterministic=deterministic)
        return jax.tree.map(np.asarray, decision)

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
        return as_vec_env(env, for_step_rows=True)

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
        self._collector = None

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: Any = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train.

        Args:
            total_timesteps: environment steps of all environments together, a lower bound: whole rollouts are
                collected. ``None`` takes ``default_total_timesteps``.
            callback: SB3 callbacks; a rollout is what happens between two updates. Where rollout and update
                are one program, ``on_step`` is called for every step, but after the iteration: callbacks then
                see the parameters of its end, and one that stops the training leaves the model there. Iterations in
                which no callback has to see a step run several in one call; SB3's own callbacks keep their
                frequencies, and one of yours is asked for ``quiet_steps()``, see ``algorithms.quiet_steps``.
            log_interval: rollouts between two dumps of the log, ``None`` for none.
            tb_log_name: name of the run for tensorboard, by default the class's.
            reset_num_timesteps: start counting (and new episodes) from zero; a replay buffer stays. False
                continues.
            progress_bar: show one, with return, cost and speed; needs ``spi-plugins[cli]``.

        Returns:
            The model itself.

        Raises:
            ValueError: ``total_timesteps`` is not a whole number; the environment is missing or closed, does not report
                costs to a model that learns them, or returns NaN, which the message names with environment and time
                step.
            FloatingPointError: the loss became NaN.
        """
        if total_timesteps is None:
            total_timesteps = self.default_total_timesteps
        total_timesteps = as_integer("total_timesteps", total_timesteps, low=0)
        require_open(self.env)
        statistics = KeptStatistics(self._vec_normalize_env)
        name = tb_log_name or type(self).__name__
        shown = progress_bar or self.verbose >= 1
        with (
            added_progress_bar(callback, shown=progress_bar) as given,
            self._announcing_compilation(shown=shown),
        ):
            total_timesteps, callbacks = self._begin(total_timesteps, given, reset_num_timesteps, name)
            try:
                self._train_until(total_timesteps, callbacks, log_interval, statistics.keep)
            except NotFiniteError as error:
                self._last_obs = None  # not a place to go on from: the next ``learn`` begins new episodes
                raise statistics.put_back(error) from error.__cause__
        return self

    @property
    def _window(self) -> int:
        """Episodes over which the logged means are taken."""
        return self._stats_window_size

    def _begin(
        self, total_timesteps: int, callback: Any, reset_num_timesteps: bool, name: str
    ) -> tuple[int, BaseCallback]:
        """Reset environments and counters; the step count at which training ends, and the callbacks as one."""
        with NamingDeadWorkers(self.env):
            return self._setup_learn(total_timesteps, callback, reset_num_timesteps, name)

    def _train_until(
        self,
        total_timesteps: int,
        callbacks: BaseCallback,
        log_interval: int | None,
        before_iteration: Callable[[], None],
    ) -> None:
        # Under its name, which is SB3's, callbacks read ``total_timesteps`` as the count at which training ends.
        with deferring_handlers() as look_again:
            if self._collector is None:
                self._collector = self._make_collector()
            self._start(self._collector)
            callbacks.on_training_start(locals(), globals())
            iteration = 0
            while self.num_timesteps < total_timesteps:
                look_again()
                before_iteration()
                passed = self._iterate_quietly(callbacks, total_timesteps, iteration, log_interval)
                if passed:
                    iteration += passed
                    continue
                iteration += 1
                due = log_interval is not None and iteration % log_interval == 0
                if not self._iterate(callbacks, total_timesteps, iteration, due):
                    break
            callbacks.on_training_end()

    def _iterate_quietly(
        self, callbacks: BaseCallback, total: int, iteration: int, log_interval: int | None
    ) -> int:
        """Make several iterations at once, in none of which a callback has to see a step; return their number."""
        return 0

    def _start(self, collector: Any) -> None:
        """Start the collector at the present observations."""
        collector.start(Start(self._last_obs, self.num_timesteps))

    def _count(self, row: Row) -> None:
        """Store the observations after a step, and the episodes that it ended."""
        if row.last_obs is not None:
            self._last_obs, self._last_episode_starts = row.last_obs, row.done
        self._update_info_buffer(row.infos, row.done)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log's current values under SB3's keys."""
        record_progress(self, self.num_timesteps - self._num_timesteps_at_start, iteration)
        self._record_more()
        self.logger.dump(step=self.num_timesteps)

    def _record_more(self) -> None:
        """Record further values of a subclass at every dump."""


# Given anew to `load`, or kept elsewhere in the file.
_NOT_STORED = ("n_envs", "stats_window_size", "device")
