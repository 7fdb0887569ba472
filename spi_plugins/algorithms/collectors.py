"""Two ways to fill a rollout, with one interface: step a ``VecEnv`` in Python, or scan an environment inside JAX."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.agents.deep_spi import DeepSPIMetrics, DeepSPIState
from spi_plugins.agents.rollout import Runner, Storage, act_into, close_storage, init_storage, iterate
from spi_plugins.algorithms.checks import check_finite, to_device_dtype
from spi_plugins.algorithms.compiled_envs import CompiledEnv, compiled_env
from spi_plugins.algorithms.interrupts import deferred_interrupt
from spi_plugins.algorithms.vec_envs import NativeVecEnv
from spi_plugins.spaces import to_action
from spi_plugins.types import Observation, PyTree, Rollout

if TYPE_CHECKING:
    from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm

Infos = list[dict[str, Any]]


class Collector(Protocol):
    """One iteration: a rollout, SB3's hooks for each of its steps, and the update."""

    def start(self) -> None:
        """Begin from the model's ``_last_obs``."""

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> DeepSPIMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""


def to_device(space: Any, obs: Observation) -> Observation:
    """Observations in the dtypes of the device: 64-bit numbers narrowed, images left as bytes."""
    if isinstance(obs, dict):
        return {key: to_device_dtype(value, space[key].dtype) for key, value in obs.items()}
    return to_device_dtype(obs, space.dtype)


def check_rows(obs: Observation, reward: NDArray[np.float32], num_timesteps: int) -> None:
    """Refuse an observation or reward that is not finite, naming environment and time step."""
    where = f"at time step {num_timesteps}: the "
    for key, value in obs.items() if isinstance(obs, dict) else [("", obs)]:
        check_finite(f"{where}observation{f'[{key!r}]' if key else ''}", value)
    check_finite(f"{where}reward", reward)


def pack(metrics: DeepSPIMetrics) -> jax.Array:
    """All scalars as one array: one transfer instead of twenty."""
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in metrics])


class _HostRows:
    """What only the host knows of a rollout, ``[T, B]``; reused from rollout to rollout."""

    def __init__(self, n_steps: int, n_envs: int):
        self.reward = np.zeros((n_steps, n_envs), np.float32)
        self.terminated = np.zeros((n_steps, n_envs), bool)
        self.truncated = np.zeros((n_steps, n_envs), bool)
        self.is_reset = np.zeros((n_steps, n_envs), bool)
        self.final_value = np.zeros((n_steps, n_envs), np.float32)
        self.final_obs: Observation | None = None


class StepCollector:
    """Steps any ``VecEnv``: one fused call to the device for each step, nothing copied twice.

    An adapter with reset rows (envpool, Gymnasium's next-step autoreset) is stepped raw and its reset rows are
    masked; any other ``VecEnv`` has SB3's same-step semantics and its terminal observations are kept aside.
    """

    def __init__(self, model: "OnPolicyAlgorithm"):
        self.model = model
        env = model.env
        assert env is not None
        self.env: VecEnv = env
        self.has_reset_rows = isinstance(env, NativeVecEnv) and env.has_reset_rows
        agent = model.agent
        self._keeps_final = agent.world_model is not None and not self.has_reset_rows
        self._act = jax.jit(functools.partial(act_into, agent), donate_argnums=1)
        self._close = jax.jit(functools.partial(close_storage, agent), donate_argnums=1)
        self._init_storage = jax.jit(functools.partial(init_storage, agent), static_argnames="n_steps")
        self._value = jax.jit(agent.value)
        self._update = jax.jit(self._update_packed, donate_argnums=0)
        self._storage: Storage | None = None
        self._host = _HostRows(model.n_steps, env.num_envs)
        self._obs: Observation = None

    def _update_packed(
        self, state: DeepSPIState, rollout: Rollout, learning_rate: jax.Array, clip_range: jax.Array
    ) -> tuple[DeepSPIState, jax.Array]:
        state, metrics = self.model.agent.update(state, rollout, learning_rate, clip_range)
        return state, pack(metrics)

    def start(self) -> None:
        """Take up the model's last observation."""
        self._obs = to_device(self.env.observation_space, self.model._last_obs)
        check_rows(self._obs, self._host.reward[0], self.model.num_timesteps)

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> DeepSPIMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""
        model = self.model
        callbacks.on_rollout_start()
        state = model._agent_state
        if self._storage is None:
            self._storage = self._init_storage(state.params, self._obs, n_steps=model.n_steps, key=state.key)
        # A copy: the key would otherwise be donated with the storage while the state still holds it.
        self._storage = self._storage._replace(key=jnp.copy(state.key), t=np.int32(0))
        for t in range(model.n_steps):
            self._storage, action = self._act(state.params, self._storage, self._obs)
            if not self._step(t, np.asarray(action), callbacks):
                return None
        self._storage = storage = self._close(state.params, self._storage, self._obs)
        callbacks.on_rollout_end()
        model._update_current_progress_remaining(model.num_timesteps, total)
        log()
        rates = model.rates(model.num_timesteps, total)
        with deferred_interrupt():
            state = state._replace(key=jnp.copy(storage.key))
            model._agent_state, metrics = self._update(state, self._rollout(storage), *rates)
        return DeepSPIMetrics(*np.asarray(metrics))

    def _step(self, t: int, action: NDArray[Any], callbacks: BaseCallback) -> bool:
        """Step the environments with row ``t``'s actions, fill the host's row, call the callbacks."""
        model, env, host = self.model, self.env, self._host
        actions = to_action(env.action_space, action)
        if self.has_reset_rows:
            assert isinstance(env, NativeVecEnv)
            new_obs, rewards, terminated, truncated, is_reset, infos = env.step_rows(actions)
            host.is_reset[t] = is_reset
            dones = terminated | truncated
        else:
            new_obs, rewards, dones, infos = env.step(actions)
            truncated = np.zeros_like(dones)
            for i in np.flatnonzero(dones):
                truncated[i] = infos[i].get("TimeLimit.truncated", False)
            terminated = dones & ~truncated
        host.reward[t], host.terminated[t], host.truncated[t] = rewards, terminated, truncated
        obs = to_device(env.observation_space, new_obs)
        model.num_timesteps += env.num_envs
        check_rows(obs, rewards, model.num_timesteps)
        callbacks.update_locals(locals())
        if not callbacks.on_step():
            return False
        model._update_info_buffer(infos, dones)
        if not self.has_reset_rows:
            self._keep_final(t, obs, dones, truncated, infos)
        self._obs = obs
        model._last_obs, model._last_episode_starts = new_obs, dones
        return True

    def _keep_final(
        self, t: int, obs: Observation, dones: NDArray[Any], truncated: NDArray[Any], infos: Infos
    ) -> None:
        """Row ``t``'s successors and, at time limits, their values, where the environment has already reset itself."""
        host = self._host
        host.final_value[t] = 0.0
        if not (self._keeps_final or truncated.any()):
            return
        final = jax.tree.map(np.array, obs) if dones.any() else obs
        for i in np.flatnonzero(dones):
            terminal = to_device(self.env.observation_space, infos[i]["terminal_observation"])
            jax.tree.map(lambda rows, row, i=i: rows.__setitem__(i, row), final, terminal)
        if truncated.any():
            values = np.asarray(self._value(self.model._agent_state.params, final))
            host.final_value[t] = np.where(truncated, values, 0.0)
        if self._keeps_final:
            if host.final_obs is None:
                shape = (self.model.n_steps,)
                host.final_obs = jax.tree.map(lambda x: np.zeros(shape + x.shape, x.dtype), final)
            jax.tree.map(lambda rows, row: rows.__setitem__(t, row), host.final_obs, final)

    def _rollout(self, storage: Storage) -> Rollout:
        host = self._host
        return Rollout(
            obs=storage.obs,
            action=storage.action,
            log_prob=storage.log_prob,
            value=storage.value,
            reward=host.reward,
            terminated=host.terminated,
            truncated=host.truncated,
            valid=~host.is_reset,
            final_obs=host.final_obs,
            final_value=None if self.has_reset_rows else host.final_value,
        )


def compiled_reason(env: VecEnv | None) -> str | None:
    """Why an environment cannot be scanned inside JAX, or ``None`` if it can."""
    try:
        compiled_env(env)
    except ValueError as error:
        return str(error)
    return None


class CompiledCollector:
    """Rollout and update as one program on the device; SB3's hooks are replayed from its output.

    Callbacks run as often as documented, once for every environment step, but see the parameters of the
    iteration's end.
    """

    def __init__(self, model: "OnPolicyAlgorithm"):
        self.model = model
        self.env: CompiledEnv = compiled_env(model.env)
        self._runner_obs: Observation = None
        self._run = jax.jit(self._packed, donate_argnums=0)

    def _packed(
        self, runner: Runner, env_params: PyTree, learning_rate: jax.Array, clip_range: jax.Array
    ) -> tuple[Runner, jax.Array, PyTree, jax.Array]:
        step = functools.partial(self.env.step, env_params)
        out = iterate(self.model.agent, step, self.model.n_steps, runner, learning_rate, clip_range)
        return out.runner, pack(out.metrics), out.steps, out.action

    def start(self) -> None:
        """Take up the model's last observation and the environment's state."""
        space = self.model.observation_space
        # Copies: they are donated, and must not be the arrays that the environment holds.
        self._runner_obs = jax.tree.map(jnp.array, to_device(space, self.model._last_obs))
        self.env.start()

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> DeepSPIMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""
        model = self.model
        n_envs = self.env.vec_env.num_envs
        callbacks.on_rollout_start()
        rates = model.rates(model.num_timesteps + model.n_steps * n_envs, total)
        with deferred_interrupt():
            runner = Runner(model._agent_state, self.env.state, self._runner_obs)
            runner, metrics, steps, action = self._run(runner, self.env.params, *rates)
            model._agent_state, env_state, self._runner_obs = runner
            self.env.finish(env_state)
            model._last_obs = self._runner_obs
        rows = self.env.host_rows(steps)
        actions = np.asarray(action)
        for t in range(model.n_steps):
            model.num_timesteps += n_envs
            rewards, dones, infos = rows.reward[t], rows.done[t], rows.infos(t)
            callbacks.update_locals({"env": model.env, "rewards": rewards, "dones": dones, "infos": infos,
                                     "actions": actions[t], "n_steps": t + 1})  # fmt: skip
            if not callbacks.on_step():
                return None
            model._update_info_buffer([infos[i] for i in rows.reporting[t]], dones[rows.reporting[t]])
        model._last_episode_starts = rows.done[-1]
        callbacks.on_rollout_end()
        model._update_current_progress_remaining(model.num_timesteps, total)
        log()
        return DeepSPIMetrics(*np.asarray(metrics))
