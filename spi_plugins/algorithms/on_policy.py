"""The on-policy training loop: SB3's order of hooks around a collector and an agent's update."""

import functools
from abc import abstractmethod
from typing import Any, ClassVar, Self

import jax
import numpy as np
from stable_baselines3.common.utils import FloatSchedule

from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics
from spi_plugins.agents.on_policy import OnPolicyAgent, OnPolicyState
from spi_plugins.algorithms.base import JaxAlgorithm
from spi_plugins.algorithms.collectors import StepCollector
from spi_plugins.algorithms.compiled_collector import CompiledCollector, compiled_reason
from spi_plugins.algorithms.environments import require_open
from spi_plugins.algorithms.progress import record_progress
from spi_plugins.algorithms.saved_model import ResumePoint
from spi_plugins.algorithms.schedules import check_scheduled
from spi_plugins.algorithms.world_model_export import given_observations, last_observations, save_world
from spi_plugins.archive import PathOrFile
from spi_plugins.fitting.deep_mdp import world_params
from spi_plugins.types import Observation, PyTree
from spi_plugins.world_models.model import WorldModel


class OnPolicyAlgorithm(JaxAlgorithm):
    """``learn`` for agents that update on fresh rollouts. Subclasses build the agent in ``_make_agent``."""

    default_total_timesteps: ClassVar[int] = 10_000_000
    agent: OnPolicyAgent
    n_steps: int
    batch_size: int
    compiled: bool | None
    clip_range: Any

    @abstractmethod
    def _make_agent(self) -> OnPolicyAgent:
        """The agent for the arguments, spaces and number of copies that the model has."""

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.clip_range_schedule = FloatSchedule(self.clip_range)
        self.set_random_seed(self.seed)
        self.agent = self._make_agent()
        seed = self.seed if self.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        init_key, self._predict_key = jax.random.split(jax.random.key(seed))
        self._agent_state: OnPolicyState = jax.device_put(jax.jit(self.agent.init)(init_key), self.jax_device)
        self._predict_fn = jax.jit(self._predict_with, static_argnames="deterministic")
        self._collector: StepCollector | CompiledCollector | None = None
        self.policy = self.policy_class(self.observation_space, self.action_space, self._decide)

    # ------------------------------------------------------------------ state

    @property
    def _state(self) -> PyTree:
        return self._agent_state

    @_state.setter
    def _state(self, state: PyTree) -> None:
        self._agent_state = state

    def _parameter_groups(self, state: OnPolicyState) -> dict[str, PyTree]:
        return {**state.params, "optimizer": state.opt_state}

    def _with_parameter_groups(self, state: OnPolicyState, groups: dict[str, PyTree]) -> OnPolicyState:
        params = {name: tree for name, tree in groups.items() if name != "optimizer"}
        return state._replace(params=params, opt_state=groups["optimizer"])

    def _resume_point(self) -> ResumePoint:
        within = None if self._collector is None else self._collector.resume_point()
        return within or super()._resume_point()

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything random from here on: Python, NumPy, the environment's next reset, and our own keys."""
        super().set_random_seed(seed)
        if seed is not None and hasattr(self, "_agent_state"):
            run_key, self._predict_key = jax.random.split(jax.random.key(seed))
            self._n_predictions = 0
            self._agent_state = self._agent_state._replace(key=jax.device_put(run_key, self.jax_device))

    def _predict_with(
        self, params: PyTree, obs: Observation, key: jax.Array, count: jax.Array, *, deterministic: bool
    ) -> jax.Array:
        return self.agent.predict(params, obs, jax.random.fold_in(key, count), deterministic=deterministic)

    def _decide(self, obs: Observation, deterministic: bool) -> np.ndarray[Any, Any]:
        count = np.uint32(self._n_predictions % 2**32)
        if not deterministic:
            self._n_predictions += 1
        params, key = self._agent_state.params, self._predict_key
        return np.asarray(self._predict_fn(params, obs, key, count, deterministic=deterministic))

    # ------------------------------------------------------------------ the world model

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
        seen = last_observations(self) if observations is None else given_observations(self, observations)
        save_world(self, world, world_params(self._agent_state.params), path, seen)

    # ------------------------------------------------------------------ training

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """See ``JaxAlgorithm.set_env``."""
        super().set_env(env, force_reset)
        self._collector = None

    def _make_collector(self) -> StepCollector | CompiledCollector:
        refusal = compiled_reason(self.env)
        if self.compiled is True and refusal:
            raise ValueError(
                f"compiled=True is not possible here: {refusal}. Leave compiled=None to step in Python."
            )
        return StepCollector(self) if refusal or self.compiled is False else CompiledCollector(self)

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
            total_timesteps: environment steps, a lower bound: whole rollouts are collected. ``None`` takes
                the papers' ``default_total_timesteps``.
            callback: SB3 callbacks. On the compiled path ``on_step`` is called once for every environment
                step as documented, but after the iteration it belongs to: callbacks then see the parameters
                of its end, and one that stops the training leaves the model there.
            log_interval: iterations between two dumps of the log, ``None`` for none.
            tb_log_name: name of the run for tensorboard, by default the class's.
            reset_num_timesteps: start counting (and new episodes) from zero; false goes on.
            progress_bar: show one; needs ``spi-plugins[cli]``.

        Returns:
            The model itself.
        """
        if total_timesteps is None:
            total_timesteps = self.default_total_timesteps
        require_open(self.env)
        # Under this name, which is SB3's, callbacks read it as the count at which training ends.
        total_timesteps, callbacks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        if self._collector is None:
            self._collector = self._make_collector()
        self._collector.start()
        callbacks.on_training_start(locals(), globals())
        iteration = 0
        while self.num_timesteps < total_timesteps:
            iteration += 1
            due = log_interval is not None and iteration % log_interval == 0
            log = functools.partial(self.dump_logs, iteration) if due else _log_nothing
            metrics = self._collector.iterate(callbacks, total_timesteps, log)
            if metrics is None:
                break
            self._log_update(metrics)
        callbacks.on_training_end()
        return self

    def rates(self, num_timesteps: int, total_timesteps: int) -> tuple[Any, Any]:
        """Learning rate and clip range for the update after ``num_timesteps``, float32."""
        remaining = 1.0 - num_timesteps / total_timesteps
        learning_rate = check_scheduled("learning_rate", self.lr_schedule(remaining))
        clip_range = check_scheduled("clip_range", self.clip_range_schedule(remaining))
        return np.float32(learning_rate), np.float32(clip_range)

    # ------------------------------------------------------------------ logging

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the log's current values under SB3's keys."""
        record_progress(self, iteration)
        self.logger.dump(step=self.num_timesteps)

    def _log_update(self, metrics: Any) -> None:
        learning_rate, clip_range = self.rates(self.num_timesteps, self._total_timesteps)
        record = self.logger.record
        record("train/learning_rate", float(learning_rate))
        record("train/clip_range", float(clip_range))
        self._record_metrics(metrics)

    def _record_metrics(self, metrics: DeepSPIMetrics) -> None:
        record = self.logger.record
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in metrics._asdict().items():
            if name != "n_updates" and value is not None:
                record(f"train/{name}", float(value))


def _log_nothing() -> None:
    """Stand in for ``dump_logs`` in the iterations that ``log_interval`` skips."""
