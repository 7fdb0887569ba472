"""The training loop of agents that plan in a world model: collect, remember, update."""

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins import buffers, host_buffers
from spi_plugins.actions import executed_by_model
from spi_plugins.agents.packed import update_packed
from spi_plugins.agents.planning import SPOWLMetrics, SPOWLState
from spi_plugins.algorithms.collector import Row, Start
from spi_plugins.algorithms.compiled_replay_collector import CompiledReplayCollector, Due, replay_refusal
from spi_plugins.algorithms.devices import writes
from spi_plugins.algorithms.planning_metrics import checked
from spi_plugins.algorithms.planning_policies import PLANNING_POLICIES
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.replay_collector import (
    ReplayCollector,
    ReplayRow,
    Standing,
    restore_standing,
)
from spi_plugins.algorithms.replay_file import read_replay_file, write_replay_file
from spi_plugins.algorithms.replay_memory import empty_buffer, lives_on_host
from spi_plugins.algorithms.replay_updates import ReplayUpdates
from spi_plugins.algorithms.world_model_export import given_observations, remembered_observations, save_world
from spi_plugins.archive import Archive, PathOrFile, describing
from spi_plugins.arrays import flatten_arrays, local
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.fitting.tdmpc import tdmpc_world
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.types import Observation, PyTree
from spi_plugins.world_models.model import FittedModel


class PlanningAlgorithm(ReplayUpdates):
    """Trains agents that update on a replay buffer. Subclasses build the agent in ``_make_agent``."""

    policy_aliases: ClassVar[dict[str, Any]] = dict(PLANNING_POLICIES)
    default_total_timesteps: ClassVar[int] = 1_000_000
    positional: ClassVar[tuple[str, ...]] = (
        *("learning_rate", "buffer_size", "learning_starts", "batch_size", "tau", "gamma", "train_freq"),
        "gradient_steps",
    )
    first_draw: ClassVar[int] = 1  # deterministic plans draw, too: by 0
    random_scale: float
    info_metrics: bool
    compiled: bool | None
    _collector: ReplayCollector | CompiledReplayCollector | None

    def _setup_model(self) -> None:
        super()._setup_model()
        self._check_windows()
        update = functools.partial(update_packed, self.agent)
        self._update = self.devices.jit(update, lambda whole, divided: whole, donate_argnums=0)
        # A function of its own: models that share one would share its compiled programs, and a test counts them.
        add = functools.partial(buffers.add)
        self._add = self.devices.jit(add, lambda whole, divided: divided, donate_argnums=0)

    def _check_windows(self) -> None:
        """Refuse a buffer from which no gradient step could ever be taken."""
        self.devices.check_divides("batch_size", self.agent.config.batch_size)
        room, window = self.buffer_size // self.n_envs, self.agent.config.model.horizon + 1
        if self.env is not None and room < window:
            raise ValueError(
                f"buffer_size={self.buffer_size} leaves {room} slots to each of {self.n_envs} environments, and a "
                f"window of horizon={window - 1} takes {window}: it must be at least {window * self.n_envs}."
            )

    def _make_policy(self) -> Policy:
        policy_class: Any = self.policy_class
        policy: Policy = policy_class(
            self.observation_space, self.action_space, self._predict, self.agent.init_plan
        )
        return policy

    def _decide(self, params: PyTree, inputs: tuple[Any, ...], key: jax.Array, deterministic: bool) -> PyTree:
        return self.agent.act(params, *inputs, key, deterministic=deterministic)[:2]

    def _make_collector(self) -> ReplayCollector | CompiledReplayCollector:
        assert self.env is not None
        # The observation that follows the buffer's last step, if collecting can go on from there.
        self._remembered: Any = None
        self._standing = self._first_standing()
        refusal = None if self.compiled is False else replay_refusal(self.env, on_host=lives_on_host(self))
        if self.compiled is True and refusal:
            raise ValueError(
                f"compiled=True is not possible here: {refusal}. Leave compiled=None to step in Python."
            )
        self._check_processes(refusal)
        shared = self.env, self.agent, self.devices, self.learning_starts
        if refusal or self.compiled is False:
            return ReplayCollector(*shared, self.info_metrics)
        return CompiledReplayCollector(*shared, self.train_freq, info_metrics=self.info_metrics)

    def _first_standing(self) -> Standing:
        # Of steps that were made elsewhere, no gradient steps are due.
        starts = np.ones(self.n_envs, bool)
        return Standing(self.agent.init_plan(self.n_envs), starts, self.num_timesteps, 0.0, 0)

    def _parameter_groups(self, state: SPOWLState) -> dict[str, PyTree]:
        state = self.agent.named(state)
        model = {name: tree for name, tree in state.params.items() if name != "policy"}
        groups = {"world_model": model, "targets": state.targets, "optimizer": state.opt_state}
        return {"policy": state.params["policy"], **groups}

    def _with_parameter_groups(self, state: SPOWLState, groups: dict[str, PyTree]) -> SPOWLState:
        if groups["world_model"] == ():
            return state._replace(params=(), targets=(), opt_state=())
        params = {**groups["world_model"], "policy": groups["policy"]}
        return self.agent.joined(
            state._replace(params=params, targets=groups["targets"], opt_state=groups["optimizer"])
        )

    def _start(self, collector: ReplayCollector | CompiledReplayCollector) -> None:
        if self.num_timesteps == 0:
            self._standing = self._first_standing()
        goes_on = self._last_obs is self._remembered
        if not goes_on:
            self._standing = self._standing._replace(episode_start=np.ones(self.n_envs, bool))
        collector.start(Start(self._last_obs, self.num_timesteps, self._standing))
        if not goes_on:
            with self._exchange:
                self._write(collector.first_slot(), np.ones(self.n_envs, bool))
                self._remembered = self._last_obs

    def _iterate(self, callbacks: BaseCallback, total: int, iteration: int, log: bool) -> bool:
        callbacks.on_rollout_start()
        at_once, metrics = isinstance(self._collector, CompiledReplayCollector), None
        self._n_counted = 0
        try:
            # On data that were loaded, or in a run that goes on from a file saved before its update.
            pretrains = self.pretrain_steps and not self._n_updates and self._can_update(self.num_timesteps)
            if pretrains or self._is_due(self.num_timesteps):
                self._log_update(self._train())
            if at_once:
                metrics = self._run_at_once(total)
            if not self._take_rows(callbacks, total):
                return False
            callbacks.on_rollout_end()
            self._update_current_progress_remaining(self.num_timesteps, total)
            if not at_once and (self._begun is not None or self._is_due(self.num_timesteps)):
                metrics = self._train()
        finally:
            self._settle()
        if metrics is not None:
            self._log_update(metrics)
        if log:
            self.dump_logs(iteration)
        return True

    def _take_rows(self, callbacks: BaseCallback, total: int) -> bool:
        """Step until the next update or the end of training; false if a callback asked to stop."""
        assert self._collector is not None
        for step in self._collector.rows(self._agent_state, self.num_timesteps):
            if step is None:  # the environments are about to step
                end = self.num_timesteps + self.n_envs
                if self.overlap_updates and self._is_due(end):
                    self._begin_update(end)
                continue
            row = self._remember(step) if isinstance(step, ReplayRow) else self._recount(step)
            self._end_update()
            callbacks.update_locals(row.local)
            if not callbacks.on_step():
                return False
            if self._at_boundary(self.num_timesteps) or self.num_timesteps >= total:
                break
        return True

    def _recount(self, row: Row) -> Row:
        """Count a step that was made and remembered within an iteration."""
        with self._exchange:
            self.num_timesteps += self.n_envs
            self._count(row)
            self._n_counted += 1
        return row

    def _run_at_once(self, total: int) -> SPOWLMetrics | None:
        """All steps until the next update, and the update; store the results at once, and return its metrics."""
        collector, buffer = self._collector, self.replay_buffer
        assert isinstance(collector, CompiledReplayCollector)
        assert isinstance(buffer, Buffer)
        to_boundary = self.train_freq - (self.num_timesteps // self.n_envs) % self.train_freq
        n_steps = min(to_boundary, -(-(total - self.num_timesteps) // self.n_envs))
        end = self.num_timesteps + n_steps * self.n_envs
        is_due = n_steps == to_boundary and end >= self.learning_starts
        n_updates = self._gradient_steps(end) if is_due else 0
        rate = self._learning_rate(end, total)
        with self._exchange:
            done = collector.run(self._agent_state, buffer, Due(n_steps, self.num_timesteps, n_updates, rate))
            self._agent_state, self._replay_buffer = done.state, done.buffer
            self._n_updates += int(done.trained.n_updates)
            took = int(done.trained.n_updates + done.trained.tried) > 0
            self._standing = self._standing._replace(
                plan=done.plan,
                episode_start=done.episode_start,
                trained_at=end if took else self._standing.trained_at,
                total_cost=functools.reduce(operator.add, done.costs, self._standing.total_cost),
                total_steps=self._standing.total_steps + n_steps * self.n_envs,
            )
            self._last_obs, self._last_episode_starts = done.obs, done.episode_start
            self._remembered = self._last_obs
            self._iteration_end = None if done.fault else end
        if done.fault is not None:
            self._last_obs = None  # the environments are further than the model: begin new episodes
            raise done.fault
        return checked(done.trained.means, done.trained.last, end) if took else None

    def _remember(self, step: ReplayRow) -> Row:
        """Store a step and everything that it changes before any callback sees it."""
        with self._exchange:
            for slot, written in step.slots:
                self._write(slot, written)
            self.num_timesteps += self.n_envs
            self._standing = self._standing._replace(
                plan=step.plan,
                episode_start=step.row.done,
                total_cost=self._standing.total_cost + step.cost,
                total_steps=self._standing.total_steps + step.n_valid,
            )
            self._count(step.row)
            self._remembered = self._last_obs
        return step.row

    def _write(self, slot: Slot, written: NDArray[np.bool_]) -> None:
        if isinstance(self.replay_buffer, HostBuffer):
            host_buffers.add(self.replay_buffer, slot, written)
        else:
            self._replay_buffer = self._add(self.replay_buffer, *self.devices.spread((slot, written)))

    def _record_more(self) -> None:
        """The planner's reports as means since the last dump, and what all steps of the training cost."""
        if self._collector is None:
            return
        for name, value in self._collector.take_metrics().items():
            self.logger.record(f"plan/{name}", value)
        if self.agent.config.model.n_costs and self._standing.total_steps:
            rate = self._standing.total_cost / self._standing.total_steps
            self.logger.record("rollout/training_cost_rate", rate)

    def save_replay_buffer(self, path: PathOrFile) -> None:
        """Write the replay buffer, atomically: arrays only, what is filled of it.

        Args:
            path: ``.npz`` is the usual suffix; ``CheckpointCallback(save_replay_buffer=True)`` gives its own.
        """
        with self._exchange:
            buffer, now = local(self.replay_buffer), self._resume_point().num_timesteps
            if writes(path):
                write_replay_file(path, buffer, now)

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
        buffer, saved_at = read_replay_file(path, empty_buffer(self))
        self.replay_buffer = (
            self.devices.put(buffer, self.devices.divided) if isinstance(buffer, Buffer) else buffer
        )
        if saved_at != self.num_timesteps:
            self._remembered = None  # the next step does not follow the last one in the buffer

    def _extra_arrays(self) -> dict[str, NDArray[Any]]:
        if self._collector is None:
            return {}
        arrays = flatten_arrays(self._standing._asdict())
        return {f"collector/{key}": value for key, value in arrays.items()}

    def _resume_env(self, file: Archive, force_reset: bool | None) -> None:
        super()._resume_env(file, force_reset)
        arrays = file.part("collector/")
        if self.env is not None and arrays:
            self._collector = self._make_collector()
            with describing(file.name):
                self._standing, fits = restore_standing(self._standing, arrays)
            self._remembered = self._last_obs if fits else None

    @property
    def world_model(self) -> FittedModel:
        """The world model as it is now, for a ``PlannerPolicy`` of another planner."""
        world = tdmpc_world(self.agent.world)
        with self._exchange:
            params = jax.device_put(self.agent.named(self._agent_state).params, self.jax_device)
        return FittedModel(world.model, params, *self._specs(), world.kind, world.settings)

    def deterministic_policy(self) -> Callable[[Observation], jax.Array]:
        """The policy as it is now, without planning: a pure function of a batch to executed actions."""
        model, params = self.world_model.model, self.world_model.params
        assert model.policy is not None
        choose, spec, key, head = (
            model.policy,
            self._specs()[1],
            self._deterministic_key,
            self.agent.world.head,
        )

        def decide(batch: Observation) -> jax.Array:
            action = choose(params, model.encode(params, batch), key, deterministic=True)
            return executed_by_model(spec, head.bounded(action))

        return decide

    def save_world_model(self, path: PathOrFile, observations: Observation | None = None) -> None:
        """Write the world model to a file of its own, for dreams, wrappers and planners.

        Args:
            path: ``.zip`` is appended where there is no suffix.
            observations: real ones ``[S, ...]`` for dreams to begin in; by default those of the replay buffer.

        Raises:
            ValueError: there is no replay buffer, and no observations are given.
        """
        if observations is None:
            with self._exchange:
                seen = remembered_observations(local(self._replay_buffer))
        else:
            seen = given_observations(self.observation_space, observations)
        with self._exchange:
            params = self.agent.named(self._agent_state).params
            save_world(self, tdmpc_world(self.agent.world), params, path, seen, self._n_updates)
