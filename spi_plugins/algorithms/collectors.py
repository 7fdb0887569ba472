"""What fills a rollout, as an interface, and the general way: step a ``VecEnv`` in Python.

The compiled way is in ``compiled_collector``.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import to_action
from spi_plugins.agents.on_policy import OnPolicyMetrics
from spi_plugins.agents.packed import update_packed
from spi_plugins.agents.rollout import (
    Storage,
    act_into,
    close_storage,
    init_storage,
)
from spi_plugins.algorithms.interrupts import deferred_interrupt
from spi_plugins.algorithms.saved_model import ResumePoint
from spi_plugins.algorithms.stepping import Stepped, advance, check_rows, has_reset_rows, to_device
from spi_plugins.types import Observation, Rollout

if TYPE_CHECKING:
    from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm


class Collector(Protocol):
    """One iteration: a rollout, SB3's hooks for each of its steps, and the update."""

    def start(self) -> None:
        """Begin from the model's ``_last_obs``."""

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> OnPolicyMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""

    def resume_point(self) -> ResumePoint | None:
        """What ``save`` stores within an iteration; ``None`` if that is how the model stands."""


def check_iteration(reward: NDArray[np.float32], finite: NDArray[np.bool_], num_timesteps: int) -> None:
    """``check_rows`` for an iteration that ran as one program, from what came back of it.

    Args:
        reward: ``[T, B]``.
        finite: ``[T, B]``, whether the observation that the step reached is finite.
        num_timesteps: before the iteration.
    """
    for what, good in (("observation", finite), ("reward", np.isfinite(reward))):
        if not good.all():
            t, i = divmod(int(np.argmin(good)), good.shape[1])
            at = num_timesteps + (t + 1) * good.shape[1]
            raise ValueError(
                f"at time step {at}: the {what} of environment {i} is not finite. The update of this "
                "iteration has seen it; go on from a checkpoint."
            )


def check_loss(metrics: OnPolicyMetrics, num_timesteps: int) -> None:
    """Stop a run whose parameters are spoiled."""
    if not np.isfinite(metrics.loss):
        raise FloatingPointError(
            f"The loss became {metrics.loss} at {num_timesteps} steps: learning_rate is too high, or rewards "
            "are too large. The model's parameters are spoiled; go on from a checkpoint."
        )


class _HostRows:
    """What only the host knows of a rollout, ``[T, B]``; reused from rollout to rollout."""

    def __init__(self, n_steps: int, n_envs: int):
        self.reward = np.zeros((n_steps, n_envs), np.float32)
        self.terminated = np.zeros((n_steps, n_envs), bool)
        self.truncated = np.zeros((n_steps, n_envs), bool)
        self.valid = np.ones((n_steps, n_envs), bool)
        self.final_value = np.zeros((n_steps, n_envs), np.float32)
        self.final_obs: Observation | None = None


class StepCollector:
    """Steps any ``VecEnv``: one fused call to the device for each step, nothing copied twice.

    An adapter with reset rows (envpool, Gymnasium's next-step autoreset) is stepped raw and its reset rows
    are masked; any other ``VecEnv`` has SB3's same-step semantics and its terminal observations are kept
    aside.
    """

    def __init__(self, model: "OnPolicyAlgorithm"):
        self.model = model
        env = model.env
        assert env is not None
        self.env: VecEnv = env
        self.has_reset_rows = has_reset_rows(env)
        agent = model.agent
        self._keeps_final = agent.world_model is not None and not self.has_reset_rows
        self._act = jax.jit(functools.partial(act_into, agent), donate_argnums=1)
        self._close = jax.jit(functools.partial(close_storage, agent), donate_argnums=1)
        self._init_storage = jax.jit(functools.partial(init_storage, agent), static_argnames="n_steps")
        self._value = jax.jit(agent.value)
        self._update = jax.jit(functools.partial(update_packed, agent), donate_argnums=0)
        self._storage: Storage | None = None
        self._host = _HostRows(model.n_steps, env.num_envs)
        self._obs: Observation = None
        self._point: ResumePoint | None = None

    def start(self) -> None:
        """Take up the model's last observation."""
        # An interrupt may have come while the storage was donated.
        self._storage = None
        self._obs = to_device(self.env.observation_space, self.model._last_obs)
        check_rows(self._obs, self._host.reward[0], self.model.num_timesteps)

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> OnPolicyMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""
        # Parameters stay until the update, and a functional environment can be put back to the rollout's
        # start.
        self._point = None if self.model._function_env() is None else self.model._resume_point()
        try:
            return self._iterate(callbacks, total, log)
        finally:
            self._point = None

    def resume_point(self) -> ResumePoint | None:
        """The rollout's start, where the environment's state could be taken there."""
        return self._point

    def _iterate(
        self, callbacks: BaseCallback, total: int, log: Callable[[], None]
    ) -> OnPolicyMetrics | None:
        model = self.model
        callbacks.on_rollout_start()
        state = model._agent_state
        if self._storage is None:
            self._storage = self._init_storage(state.params, self._obs, n_steps=model.n_steps, key=state.key)
        # A copy: the key would otherwise be donated with the storage while the state still holds it.
        self._storage = self._storage._replace(key=jnp.copy(state.key))
        for t in range(model.n_steps):
            self._storage, action = self._act(state.params, self._storage, self._obs)
            if not self._step(t, np.asarray(action), callbacks):
                model._agent_state = state._replace(key=jnp.copy(self._storage.key))
                return None
        self._storage = storage = self._close(state.params, self._storage, self._obs)
        callbacks.on_rollout_end()
        model._update_current_progress_remaining(model.num_timesteps, total)
        log()
        rates = model.rates(model.num_timesteps, total)
        with deferred_interrupt():
            state = state._replace(key=jnp.copy(storage.key))
            model._agent_state, packed = self._update(state, self._rollout(storage), *rates)
            metrics: OnPolicyMetrics = packed.unpack()
            model._n_updates += int(metrics.n_updates)
            self._point = None
        check_loss(metrics, model.num_timesteps)
        return metrics

    def _step(self, t: int, action: NDArray[Any], callbacks: BaseCallback) -> bool:
        """Step the environments with row ``t``'s actions, fill the host's row, call the callbacks."""
        model, env, host = self.model, self.env, self._host
        actions = to_action(env.action_space, action)
        stepped = advance(env, actions, reset_rows=self.has_reset_rows)
        dones = stepped.done
        host.reward[t], host.terminated[t], host.truncated[t], host.valid[t] = (
            stepped.reward,
            stepped.terminated,
            stepped.truncated,
            stepped.valid,
        )
        model.num_timesteps += env.num_envs
        check_rows(stepped.next_obs, stepped.reward, model.num_timesteps)
        callbacks.update_locals({"env": env, "new_obs": stepped.raw_obs, "rewards": stepped.reward,
                                 "dones": dones, "infos": stepped.infos, "actions": actions,
                                 "n_steps": t + 1})  # fmt: skip
        go_on = callbacks.on_step()
        model._update_info_buffer(stepped.infos, dones)
        if go_on and not self.has_reset_rows:
            self._keep_final(t, stepped)
        # Also when a callback stops the run: the environment stands there.
        self._obs = stepped.next_obs
        model._last_obs, model._last_episode_starts = stepped.raw_obs, dones
        return go_on

    def _keep_final(self, t: int, stepped: Stepped) -> None:
        """Keep row ``t``'s successors and, at time limits, their values: the environment resets itself."""
        host, limited = self._host, stepped.truncated.any()
        host.final_value[t] = 0.0
        if not (self._keeps_final or limited):
            return
        final = stepped.reached(self.env.observation_space)
        if limited:
            values = np.asarray(self._value(self.model._agent_state.params, final))
            host.final_value[t] = np.where(stepped.truncated, values, 0.0)
        if self._keeps_final:
            if host.final_obs is None:
                shape = (self.model.n_steps,)
                host.final_obs = jax.tree.map(lambda x: np.zeros(shape + x.shape, x.dtype), final)
            jax.tree.map(lambda rows, row: rows.__setitem__(t, row), host.final_obs, final)

    def _rollout(self, storage: Storage) -> Rollout:
        host: Any = self._host  # NumPy arrays: jit takes them in faster than asarray would
        return Rollout(
            obs=storage.obs,
            action=storage.action,
            log_prob=storage.log_prob,
            value=storage.value,
            reward=host.reward,
            terminated=host.terminated,
            truncated=host.truncated,
            valid=host.valid,
            final_obs=host.final_obs,
            final_value=None if self.has_reset_rows else host.final_value,
        )
