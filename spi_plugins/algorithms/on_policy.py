"""The on-policy training loop: SB3's order of hooks around a collector and an agent's update."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics
from spi_plugins.agents.on_policy import OnPolicyAgent, OnPolicyMetrics, OnPolicyState
from spi_plugins.algorithms.action_masks import offers_masks
from spi_plugins.algorithms.collector import RolloutCollector
from spi_plugins.algorithms.compiled_chunks import MOST_ITERATIONS, WORTH_COMPILING, Chunk
from spi_plugins.algorithms.compiled_collector import CompiledCollector, UpdatedMany, compiled_reason
from spi_plugins.algorithms.copies import copied_arrays
from spi_plugins.algorithms.halved_collector import HalvedStepCollector
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.quiet_steps import pass_steps, quiet_steps
from spi_plugins.algorithms.replayed_hooks import ReplayedHooks
from spi_plugins.algorithms.saved_model import ResumePoint
from spi_plugins.algorithms.schedules import remaining_progress, scheduled
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.vec_envs import EnvPoolHalves
from spi_plugins.algorithms.world_model_export import given_observations, last_observations, save_world
from spi_plugins.archive import PathOrFile
from spi_plugins.arrays import local
from spi_plugins.fitting.deep_mdp import world_params
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.types import Observation, PyTree
from spi_plugins.world_models.model import WorldModel


class OnPolicyAlgorithm(ReplayedHooks):
    """Trains agents that update on fresh rollouts. Subclasses build the agent in ``_make_agent``."""

    default_total_timesteps: ClassVar[int] = 10_000_000
    positional: ClassVar[tuple[str, ...]] = (
        *("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range"),
        *("clip_range_vf", "normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm"),
        *("use_sde", "sde_sample_freq"),
    )
    learns_masked: ClassVar[bool] = True  # whether it learns a policy of the allowed actions alone
    agent: OnPolicyAgent
    n_steps: int
    batch_size: int
    compiled: bool | None
    clip_range: Any
    clip_range_vf: Any

    def _setup_model(self) -> None:
        # What a save within an iteration stores instead of the present.
        self._rollout_start: ResumePoint | None = None
        self._use_masking = True
        super()._setup_model()
        self._jitted_value = jax.jit(self.agent.value)
        self._jitted_evaluation = jax.jit(self.agent.evaluate)

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: Any = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        use_masking: bool = True,
    ) -> Self:
        """Train, see ``JaxAlgorithm.learn``.

        Where the environment has ``action_masks()``, the policy chooses and learns among the allowed actions alone;
        with ``use_masking=False``, as sb3-contrib has it, among all of them.
        """
        if use_masking != self._use_masking:
            self._use_masking, self._collector = use_masking, None
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )

    def _make_policy(self) -> Policy:
        return self.policy_class(self.observation_space, self.action_space, self._predict)

    def _decide(
        self, params: PyTree, inputs: tuple[Any, ...], key: jax.Array, deterministic: bool
    ) -> jax.Array:
        batch, *masks = inputs
        return self.agent.predict(params, batch, key, *masks, deterministic=deterministic)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray[Any, Any], Any]:
        """Actions for one observation or a batch, see ``Policy.predict``."""
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks)

    def deterministic_policy(self) -> Callable[[Observation], jax.Array]:
        """The policy as it is now: a pure function of a batch to executed actions."""
        with self._exchange:
            params = copied_arrays(self.devices.near(self._agent_state.params))
        predict, key = self.agent.predict, self._deterministic_key
        return lambda batch: predict(params, batch, key, deterministic=True)

    def values_of(self, batch: Observation) -> np.ndarray[Any, Any]:
        """The critic's values ``[B]`` of a batch."""
        with self._exchange:
            values = self._jitted_value(self.devices.near(self._agent_state.params), batch)
        return np.asarray(values)

    def evaluations_of(
        self, batch: Observation, action: np.ndarray[Any, Any], *masks: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], ...]:
        """Values, log-probabilities and entropies ``[B]`` of sampled actions, under masks or without."""
        with self._exchange:
            params = self.devices.near(self._agent_state.params)
            evaluated = self._jitted_evaluation(params, batch, action, *masks)
        return tuple(np.asarray(x) for x in evaluated)

    def _make_collector(self) -> RolloutCollector:
        assert self.env is not None
        masked = self._use_masking and offers_masks(self.env)
        if masked and not self.learns_masked:
            raise ValueError(
                f"{type(self).__name__} learns in dreams, which have no action masks, but the environment has "
                "action_masks(); learn(use_masking=False) ignores them."
            )
        refusal = compiled_reason(
            self.env, with_costs=self.agent.constraint is not None, several=self.devices.mesh is not None
        )
        if self.compiled is True and refusal:
            raise ValueError(
                f"compiled=True is not possible here: {refusal}. Leave compiled=None to step in Python."
            )
        self._check_processes(refusal)
        if isinstance(self.env, EnvPoolHalves) and not masked and self.agent.constraint is None:
            return HalvedStepCollector(self.env, self.agent, self.n_steps, self.devices)
        if refusal or self.compiled is False:
            return StepCollector(self.env, self.agent, self.n_steps, self.devices, masked=masked)
        return CompiledCollector(self.env, self.agent, self.n_steps, self.devices, masked=masked)

    def _parameter_groups(self, state: OnPolicyState) -> dict[str, PyTree]:
        return {**state.params, "optimizer": state.opt_state}

    def _with_parameter_groups(self, state: OnPolicyState, groups: dict[str, PyTree]) -> OnPolicyState:
        params = {name: tree for name, tree in groups.items() if name != "optimizer"}
        return state._replace(params=params, opt_state=groups["optimizer"])

    def _iterate(self, callbacks: BaseCallback, total: int, iteration: int, log: bool) -> bool:
        collector: Any = self._collector
        end = self.num_timesteps + self.n_steps * self.n_envs
        callbacks.on_rollout_start()
        self._n_counted = 0
        try:
            if collector.updates_first:
                metrics = self._update(collector, end, total)
            elif self._function_env() is not None:
                # Parameters stay until the update, and the environment can be put back to where it was.
                self._rollout_start = self._resume_point()
            if not self._take_rows(collector, callbacks):
                return False
            callbacks.on_rollout_end()
            self._update_current_progress_remaining(self.num_timesteps, total)
            if log:
                self.dump_logs(iteration)
            if not collector.updates_first:
                metrics = self._update(collector, end, total)
        finally:
            self._settle()
        self._log_update(metrics)
        return True

    def _iterate_quietly(
        self, callbacks: BaseCallback, total: int, iteration: int, log_interval: int | None
    ) -> int:
        collector, rollout = self._collector, self.n_steps * self.n_envs
        if not isinstance(collector, CompiledCollector) or not collector.runs_chunks:
            return 0
        n = self.quiet_iterations(callbacks, total)
        if n < (1 if collector.chunked else WORTH_COMPILING):
            return 0
        callbacks.on_rollout_start()
        rates = self.next_rates(n, total)
        with self._exchange:  # until all is counted: no handler and no other thread sees half of it
            updated = collector.update_many(
                self._agent_state, rates, self.num_timesteps + rollout, self._stats_window_size
            )
            self.take_iterations(callbacks, total, iteration, log_interval, updated)
        return len(updated.chunk.metrics)

    def quiet_iterations(self, callbacks: BaseCallback, total: int) -> int:
        """Iterations ahead, at most as many as fit into a call, in none of which a callback has to see a step."""
        left = -(-(total - self.num_timesteps) // (self.n_steps * self.n_envs))
        return min(left, quiet_steps(callbacks, self.n_envs) // self.n_steps)

    def next_rates(self, n: int, total: int) -> list[tuple[Any, ClipRanges]]:
        """``rates`` of the next iterations, at most as many as fit into a call."""
        rollout = self.n_steps * self.n_envs
        ends = [self.num_timesteps + rollout * (i + 1) for i in range(min(n, MOST_ITERATIONS))]
        return [self.rates(end, total) for end in ends]

    def take_iterations(
        self,
        callbacks: BaseCallback,
        total: int,
        iteration: int,
        log_interval: int | None,
        updated: UpdatedMany,
    ) -> None:
        """Stand at the end of iterations that have run, after ``iteration`` others: count, log, call their hooks."""
        runner = updated.chunk.runner
        self._agent_state = runner.state
        self._last_obs, self._last_episode_starts = runner.obs, updated.last_done
        self._replay_quietly(callbacks, total, iteration, log_interval, updated.chunk)
        if updated.fault is not None:
            self._last_obs = None  # the environments are further than the model: begin new episodes
            raise updated.fault

    def _replay_quietly(
        self, callbacks: BaseCallback, total: int, iteration: int, log_interval: int | None, chunk: Chunk
    ) -> None:
        """Count and log iterations, and call the hooks of their rollouts; an error there leaves all counted."""

        def count(i: int) -> None:
            self._n_updates += int(chunk.metrics[i].n_updates)
            self.num_timesteps += self.n_steps * self.n_envs
            infos: Any = [{"episode": episode} for episode in chunk.episodes[i]]
            self._update_info_buffer(infos, np.ones(len(infos), bool))

        def log(i: int) -> None:
            self._update_current_progress_remaining(self.num_timesteps, total)
            if log_interval is not None and (iteration + i + 1) % log_interval == 0:
                self.dump_logs(iteration + i + 1)
            self._log_update(chunk.metrics[i])

        counted = logged = 0
        try:
            for i in range(chunk.n_good):
                if i:
                    callbacks.on_rollout_start()
                count(i)
                counted += 1
                pass_steps(callbacks, self.n_steps, self.n_envs, chunk.n_episodes[i])
                callbacks.on_rollout_end()
                log(i)
                logged += 1
        finally:
            for i in range(logged, chunk.n_good):
                if i >= counted:
                    count(i)
                log(i)

    def _take_rows(self, collector: RolloutCollector, callbacks: BaseCallback) -> bool:
        """Call the hooks of every step; false if one asked to stop."""
        for row in collector.rows(self._agent_state, self.num_timesteps):
            self.num_timesteps += self.n_envs
            callbacks.update_locals(row.local)
            go_on = callbacks.on_step()
            # Also when a callback stops the run: the environment stands there.
            self._count(row)
            self._n_counted += 1
            if not go_on:
                self._agent_state = collector.stopped(self._agent_state)
                return False
        return True

    def _update(self, collector: RolloutCollector, end: int, total: int) -> OnPolicyMetrics:
        """Update, and store the result at once: the old state was donated."""
        rates = self.rates(end, total)
        with self._exchange:
            updated = collector.update(self._agent_state, end, *rates)
            self._agent_state = updated.state
            self._rollout_start = None
            if updated.fault is None:
                self._n_updates += int(updated.metrics.n_updates)
            if updated.last_obs is not None:
                self._last_obs, self._last_episode_starts = updated.last_obs, updated.last_done
                self._iteration_end = None if updated.fault else end
        if updated.fault is not None:
            if updated.last_obs is not None:
                self._last_obs = None  # the environments are further than the model: begin new episodes
            raise updated.fault
        return updated.metrics

    def _resume_point(self) -> ResumePoint:
        if self._rollout_start is not None:
            return self._rollout_start
        return super()._resume_point()

    def _start(self, collector: Any) -> None:
        super()._start(collector)
        watched = getattr(self._agent_state, "constraint", None)
        if watched is not None:  # of episodes that are over, or were broken off by a reset, nothing is left
            begins = np.asarray(self._last_episode_starts, bool)[:, None]
            watched = watched._replace(running=jax.numpy.where(begins, 0.0, watched.running))
            self._put_state(self._agent_state._replace(constraint=watched))

    def _settle(self) -> None:
        with self._exchange:
            self._rollout_start = None
            collector: Any = self._collector
            self._agent_state = collector.counted(self._agent_state)
            super()._settle()

    def rates(self, num_timesteps: int, total_timesteps: int) -> tuple[Any, ClipRanges]:
        """Learning rate and clip ranges for the update after ``num_timesteps``, float32."""
        remaining = remaining_progress(num_timesteps, total_timesteps)
        learning_rate = scheduled("learning_rate", self.lr_schedule, remaining)
        return np.float32(learning_rate), self._clip_ranges(remaining, "clip_range")

    def _clip_ranges(self, remaining: float, *names: str) -> ClipRanges:
        """That of the critic, and those of these names: a scalar, or an array of several."""
        values = [scheduled(name, getattr(self, name), remaining) for name in names]
        ratio: Any = np.asarray(values if len(names) > 1 else values[0], np.float32)
        if self.clip_range_vf is None:
            return ClipRanges(ratio)
        value: Any = np.float32(scheduled("clip_range_vf", self.clip_range_vf, remaining))
        return ClipRanges(ratio, value)

    def _log_update(self, metrics: Any) -> None:
        learning_rate, clip_range = self.rates(self.num_timesteps, self._total_timesteps)
        self.logger.record("train/learning_rate", float(learning_rate))
        self.logger.record("train/clip_range", float(clip_range.ratio))
        self._record_value_clip(clip_range)
        self._record_metrics(metrics)

    def _record_value_clip(self, clip_range: ClipRanges) -> None:
        if clip_range.value is not None:
            self.logger.record("train/clip_range_vf", float(clip_range.value))

    def _record_metrics(self, metrics: DeepSPIMetrics) -> None:
        record = self.logger.record
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in metrics._asdict().items():
            if name == "multipliers":
                self._record_multipliers(value)
            elif name != "n_updates" and value is not None:
                record(f"train/{name}", float(value))

    def _record_multipliers(self, multipliers: tuple[Any, ...] | None) -> None:
        """The price of the cost, or of several costs by their names."""
        constraint = self.agent.constraint
        if constraint is None or multipliers is None:
            return
        for name, value in zip(constraint.names, multipliers, strict=True):
            suffix = "" if len(multipliers) == 1 else f"_{name}"
            self.logger.record(f"train/lambda{suffix}", float(value))

    def _world(self) -> WorldModel | None:
        """The world model that the agent learns, as a kind; ``None`` without one."""
        return None

    def save_world_model(self, path: PathOrFile, observations: Observation | None = None) -> None:
        """Write encoder and world model to a file of their own, for dreams and wrappers.

        Args:
            path: ``.zip`` is appended where there is no suffix.
            observations: real ones ``[S, ...]`` for dreams to begin in, the more the better; by default the ones that
                the environments stand at, one for each copy.

        Raises:
            ValueError: the model has no world model, or has seen no observation.
        """
        world = self._world()
        if world is None:
            raise ValueError(
                f"This {type(self).__name__} has no world model to save; DeepSPI and DeepMDP have one if "
                "reward_loss_coef or transition_loss_coef is above 0."
            )
        if observations is None:
            obs = local(self._last_obs)
            seen = last_observations(self.observation_space, obs, self._last_episode_starts)
        else:
            seen = given_observations(self.observation_space, observations)
        with self._exchange:
            save_world(self, world, world_params(self._agent_state.params), path, seen, self._n_updates)
