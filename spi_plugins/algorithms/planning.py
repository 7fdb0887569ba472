"""The training loop of agents that plan in a world model: collect, remember, update."""

import functools
from abc import abstractmethod
from typing import Any, ClassVar, Literal, Self

import jax
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins.agents.packed import update_packed
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.algorithms.base import JaxAlgorithm
from spi_plugins.algorithms.environments import require_open
from spi_plugins.algorithms.interrupts import deferred_interrupt
from spi_plugins.algorithms.planning_policies import PLANNING_POLICIES
from spi_plugins.algorithms.progress import record_progress
from spi_plugins.algorithms.replay_collector import ReplayCollector, Standing
from spi_plugins.algorithms.replay_file import read_replay_file, write_replay_file
from spi_plugins.algorithms.replay_memory import can_sample, empty_buffer, training_data
from spi_plugins.algorithms.schedules import check_scheduled
from spi_plugins.algorithms.world_model_export import given_observations, remembered_observations, save_world
from spi_plugins.archive import Archive, PathOrFile
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.buffers import Buffer
from spi_plugins.errors import ModelFileError
from spi_plugins.fitting.tdmpc import tdmpc_world
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.types import Observation, PyTree
from spi_plugins.world_models.model import FittedModel

# Gradient steps that run as one program; an interrupt waits for no more than these.
_CHUNK = 50
_COST_METRICS = ("cost_loss", "cost_value_loss", "cost_value_target")
_LAGRANGIAN_METRICS = ("lagrangian", "cost_gap", "multiplier", "penalty")


class PlanningAlgorithm(JaxAlgorithm):
    """``learn`` for agents that update on a replay buffer. Subclasses build the agent in ``_make_agent``.

    Attributes:
        agent: the pure agent.
        replay_buffer: made by the first ``learn``; ``None`` before.
    """

    policy_aliases: ClassVar[dict[str, Any]] = dict(PLANNING_POLICIES)
    default_total_timesteps: ClassVar[int] = 1_000_000
    agent: PlanningAgent
    buffer_size: int
    buffer_device: Literal["auto", "device", "host"]
    learning_starts: int
    train_freq: int
    gradient_steps: int
    info_metrics: bool

    @abstractmethod
    def _make_agent(self) -> PlanningAgent:
        """The agent for the arguments and spaces that the model has."""

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.agent = self._make_agent()
        seed = self.seed if self.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        init_key, self._predict_key = jax.random.split(jax.random.key(seed))
        self._agent_state: SPOWLState = jax.device_put(jax.jit(self.agent.init)(init_key), self.jax_device)
        self._predict_fn = jax.jit(self._predict_with, static_argnames="deterministic")
        self._update = jax.jit(functools.partial(update_packed, self.agent), donate_argnums=0)
        self.replay_buffer: Buffer | HostBuffer | None = None
        self._collector: ReplayCollector | None = None
        self.plan_metrics = self._plan_metric_names()
        policy_class: Any = self.policy_class
        self.policy = policy_class(
            self.observation_space, self.action_space, self._decide, self.agent.init_plan
        )

    def _plan_metric_names(self) -> tuple[str, ...]:
        """What the planner reports, sorted."""
        model, planner = self.agent.world.model, self.agent.planner
        key = jax.random.key(0)

        def decide(params: PyTree, z: jax.Array) -> Any:
            return planner.plan(model, params, z, planner.init(model.spec), key, deterministic=False)[2]

        z = np.zeros(model.spec.latent_shape, np.float32)
        return tuple(sorted(jax.eval_shape(decide, self._agent_state.params, z)))

    # ------------------------------------------------------------------ state

    @property
    def _state(self) -> PyTree:
        return self._agent_state

    @_state.setter
    def _state(self, state: PyTree) -> None:
        self._agent_state = state

    def _parameter_groups(self, state: SPOWLState) -> dict[str, PyTree]:
        model = {name: tree for name, tree in state.params.items() if name != "policy"}
        policy = state.params["policy"]
        return {
            "policy": policy,
            "world_model": model,
            "targets": state.targets,
            "optimizer": state.opt_state,
        }

    def _with_parameter_groups(self, state: SPOWLState, groups: dict[str, PyTree]) -> SPOWLState:
        params: PyTree = ()
        if groups["world_model"] != ():
            params = {**groups["world_model"], "policy": groups["policy"]}
        return state._replace(params=params, targets=groups["targets"], opt_state=groups["optimizer"])

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything random from here on: Python, NumPy, the environment's next reset, and our own keys."""
        super().set_random_seed(seed)
        if seed is not None and hasattr(self, "_agent_state"):
            run_key, self._predict_key = jax.random.split(jax.random.key(seed))
            self._n_predictions = 0
            self._agent_state = self._agent_state._replace(key=jax.device_put(run_key, self.jax_device))

    def _predict_with(
        self,
        params: PyTree,
        obs: Observation,
        plan: PyTree,
        starts: jax.Array,
        key: jax.Array,
        count: jax.Array,
        *,
        deterministic: bool,
    ) -> tuple[jax.Array, PyTree]:
        key = jax.random.fold_in(key, count)
        return self.agent.act(params, obs, plan, starts, key, deterministic=deterministic)[:2]

    def _decide(
        self, obs: Observation, plan: PyTree, starts: np.ndarray[Any, Any], deterministic: bool
    ) -> tuple[np.ndarray[Any, Any], PyTree]:
        # What deterministic decisions draw depends on the observation alone.
        count = np.uint32(0 if deterministic else 1 + self._n_predictions % (2**32 - 1))
        if not deterministic:
            self._n_predictions += 1
        params, key = self._agent_state.params, self._predict_key
        action, plan = self._predict_fn(params, obs, plan, starts, key, count, deterministic=deterministic)
        return np.asarray(action), jax.tree.map(np.asarray, plan)

    @property
    def world_model(self) -> FittedModel:
        """The world model as it is now, for a ``PlannerPolicy`` of another planner."""
        model = self.agent.world.model
        return FittedModel(model, self._agent_state.params, *self._specs())

    def save_world_model(self, path: PathOrFile, observations: Observation | None = None) -> None:
        """Write the world model to a file of its own, for dreams, wrappers and planners.

        Args:
            path: ``.zip`` is appended where there is no suffix.
            observations: real ones ``[S, ...]`` for dreams to begin in; by default those of the replay buffer.

        Raises:
            ValueError: there is no replay buffer, and no observations are given.
        """
        if observations is None:
            seen = remembered_observations(self.replay_buffer)
        else:
            seen = given_observations(self, observations)
        save_world(self, tdmpc_world(self.agent.world), self._agent_state.params, path, seen)

    # ------------------------------------------------------------------ training

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """See ``JaxAlgorithm.set_env``; the replay buffer stays."""
        super().set_env(env, force_reset)
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
            total_timesteps: environment steps, all environments together; at most ``n_envs - 1`` more are
                made.
            callback: SB3 callbacks; a rollout is what lies between two updates.
            log_interval: rollouts between two dumps of the log, ``None`` for none.
            tb_log_name: name of the run for tensorboard, by default the class's.
            reset_num_timesteps: start counting (and new episodes) from zero; the replay buffer stays. False
                goes on.
            progress_bar: show one; needs ``spi-plugins[cli]``.

        Returns:
            The model itself.

        Raises:
            ValueError: the environment is missing or closed, gives no costs to a model that learns them, or
                gives NaN; the message has environment and time step.
            FloatingPointError: the loss became NaN.
        """
        if total_timesteps is None:
            total_timesteps = self.default_total_timesteps
        require_open(self.env)
        total_timesteps, callbacks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        if self.replay_buffer is None:
            self.replay_buffer = empty_buffer(self)
        if self._collector is None:
            self._collector = ReplayCollector(self)
        self._collector.start()
        callbacks.on_training_start(locals(), globals())
        iteration = 0
        while self.num_timesteps < total_timesteps:
            if not self._collect(callbacks, total_timesteps):
                break
            iteration += 1
            if self._update_is_due():
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                self._train()
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
        callbacks.on_training_end()
        return self

    def _collect(self, callbacks: BaseCallback, total: int) -> bool:
        """Step until the next update or the end; false if a callback asked to stop."""
        assert self._collector is not None
        callbacks.on_rollout_start()
        while True:
            if not self._collector.step(callbacks):
                return False
            if self._at_boundary() or self.num_timesteps >= total:
                callbacks.on_rollout_end()
                return True

    def _at_boundary(self) -> bool:
        """By the count of steps alone, so that a resumed run updates where an unbroken one does."""
        return (self.num_timesteps // self.n_envs) % self.train_freq == 0

    def _update_is_due(self) -> bool:
        assert self.replay_buffer is not None
        return (
            self._at_boundary()
            and self.num_timesteps >= self.learning_starts
            and can_sample(self.replay_buffer, self.agent.config.model.horizon)
        )

    def _train(self) -> None:
        """All gradient steps that are due."""
        assert self._collector is not None
        standing = self._collector.standing
        n_updates = self.gradient_steps
        if n_updates < 0:
            n_updates = max(self.num_timesteps - standing.trained_at, 1)
        learning_rate = np.float32(
            check_scheduled("learning_rate", self.lr_schedule(self._current_progress_remaining))
        )
        means = np.zeros(len(SPOWLMetrics._fields))
        assert self.replay_buffer is not None
        config = self.agent.config
        for done in range(0, n_updates, _CHUNK):
            count = min(_CHUNK, n_updates - done)
            data = training_data(
                self.replay_buffer, self._agent_state.key, _CHUNK, config.batch_size, config.model.horizon
            )
            with deferred_interrupt():
                self._agent_state, packed = self._update(
                    self._agent_state, data, np.int32(count), learning_rate
                )
                row = np.asarray(packed.values)
                self._n_updates += count
            means += row * (count / n_updates)
        self._collector.standing = standing._replace(trained_at=self.num_timesteps)
        last = dict(zip(SPOWLMetrics._fields, row, strict=True))
        metrics = {**dict(zip(SPOWLMetrics._fields, means, strict=True)),
                   **{name: last[name] for name in ("multiplier", "penalty", "scale")}}  # fmt: skip
        if not np.isfinite(means).all():
            bad = [name for name, value in metrics.items() if not np.isfinite(value)]
            raise FloatingPointError(
                f"{', '.join(bad)} became infinite or NaN at {self.num_timesteps} steps: learning_rate is too high, or "
                "rewards or costs are too large. The model's parameters are spoiled; go on from a checkpoint."
            )
        self._log_update(metrics, float(learning_rate))

    # ------------------------------------------------------------------ logging

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log's current values; the planner's reports as means since the last dump, under ``plan/``."""
        record_progress(self, iteration)
        if self._collector is not None:
            for name, value in self._collector.take_metrics().items():
                self.logger.record(f"plan/{name}", value)
            standing = self._collector.standing
            if self.agent.config.model.n_costs and standing.total_steps:
                rate = standing.total_cost / standing.total_steps
                self.logger.record("rollout/training_cost_rate", rate)
        self.logger.dump(step=self.num_timesteps)

    def _log_update(self, metrics: dict[str, float], learning_rate: float) -> None:
        config = self.agent.config
        skipped = set() if config.model.decoder else {"decoder_loss"}
        if not config.model.n_costs:
            skipped |= set(_COST_METRICS)
        if not config.uses_lagrangian:
            skipped |= set(_LAGRANGIAN_METRICS)
        self.logger.record("train/learning_rate", learning_rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in metrics.items():
            if name not in skipped:
                self.logger.record(f"train/{name}", float(value))

    # ------------------------------------------------------------------ files

    def save_replay_buffer(self, path: PathOrFile) -> None:
        """Write the replay buffer, atomically: arrays only, what is filled of it.

        Args:
            path: ``.npz`` is the usual suffix; ``CheckpointCallback(save_replay_buffer=True)`` gives its own.

        Raises:
            ValueError: there is none before the first ``learn``.
        """
        if self.replay_buffer is None:
            raise ValueError("There is no replay buffer before learn() was called.")
        write_replay_file(path, self.replay_buffer, self.num_timesteps)

    def load_replay_buffer(self, path: PathOrFile, truncate_last_traj: bool = True) -> None:
        """Take a replay buffer that ``save_replay_buffer`` wrote; nothing is unpickled.

        Args:
            path: the file.
            truncate_last_traj: as SB3 has it: begin a new episode after what is stored. Without effect where the
                environment goes on exactly where it was saved, as functional ones do.

        Raises:
            ModelFileError: it is damaged, or of other spaces or another number of environments.
        """
        del truncate_last_traj  # a first observation always marks a new episode
        self.replay_buffer = read_replay_file(path, empty_buffer(self))

    def _extra_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        if self._collector is None:
            return {}
        standing = self._collector.standing._asdict()
        return {f"collector/{key}": value for key, value in flatten_arrays(standing).items()}

    def _resume_env(self, file: Archive, force_reset: bool | None) -> None:
        super()._resume_env(file, force_reset)
        arrays = file.part("collector/")
        if self.env is None or not arrays:
            return
        collector = ReplayCollector(self)
        counts = {name: arrays.pop(name).item() for name in ("trained_at", "total_cost", "total_steps")}
        rows = {name: getattr(collector.standing, name) for name in ("plan", "episode_start")}
        try:
            rows = restore_arrays(rows, arrays, what="Where collecting stood")
        except ModelFileError:  # of another number of copies or another planner: plans begin anew
            collector.standing = collector.standing._replace(**counts)
        else:
            collector.standing = Standing(rows["plan"], np.asarray(rows["episode_start"]), **counts)
            if self._last_obs is not None:
                collector.resume(collector.standing)
        self._collector = collector
