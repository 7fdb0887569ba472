"""The general way to fill a rollout: step a ``VecEnv`` in Python."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import to_action
from spi_plugins.agents.constraint import add_steps
from spi_plugins.agents.on_policy import OnPolicyAgent, OnPolicyMetrics, OnPolicyState
from spi_plugins.agents.packed import update_packed
from spi_plugins.agents.rollout import Storage, act_into, close_storage, init_storage
from spi_plugins.algorithms.action_masks import current_masks
from spi_plugins.algorithms.collector import NO_ROLLOUT_BUFFER, Row, Start, Updated
from spi_plugins.algorithms.devices import Devices
from spi_plugins.algorithms.stepping import Stepped, advance, check_observations, check_step, has_reset_rows
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, required_costs
from spi_plugins.spaces import to_device
from spi_plugins.types import CostRows, Observation, Rollout


class _HostRows:
    """The host's part of a rollout, ``[T, B]``; reused for every rollout."""

    def __init__(self, n_steps: int, n_envs: int, n_costs: int):
        self.reward = np.zeros((n_steps, n_envs), np.float32)
        self.terminated = np.zeros((n_steps, n_envs), bool)
        self.truncated = np.zeros((n_steps, n_envs), bool)
        self.valid = np.ones((n_steps, n_envs), bool)
        self.final_value = np.zeros((n_steps, n_envs), np.float32)
        self.final_obs: Observation | None = None
        self.cost = np.zeros((n_steps, n_envs, n_costs), np.float32)
        self.final_cost_value = np.zeros((n_steps, n_envs, n_costs), np.float32)


class StepCollector:
    """Steps any ``VecEnv``: one fused call to the device per step, nothing copied twice.

    An adapter with reset rows (envpool, Gymnasium's next-step autoreset) is stepped raw and its reset rows
    are masked; any other ``VecEnv`` has SB3's same-step semantics, and its terminal observations are stored
    separately.
    """

    updates_first = False

    def __init__(
        self, env: VecEnv, agent: OnPolicyAgent, n_steps: int, devices: Devices, *, masked: bool = False
    ):
        self.env = env
        self.devices = devices
        self.masked = masked
        self.agent = agent
        self.n_steps = n_steps
        self.has_reset_rows = has_reset_rows(env)
        self._keeps_final = agent.world_model is not None and not self.has_reset_rows
        self._act = self._compiled(functools.partial(act_into, agent), donate_argnums=1)
        self._close = self._compiled(functools.partial(close_storage, agent), donate_argnums=1)
        self._init_storage = self._compiled(functools.partial(init_storage, agent), static_argnames="n_steps")
        self._value = self._compiled(agent.value)
        self._update = self._compiled(functools.partial(update_packed, agent), donate_argnums=0)
        self._storage: Storage | None = None
        self._cost_names = () if agent.constraint is None else agent.constraint.names
        self._cost_value = None if agent.cost_value is None else self._compiled(agent.cost_value)
        self._host = _HostRows(n_steps, env.num_envs, len(self._cost_names))
        self._n_uncounted = 0  # rows whose costs no update has seen
        self._obs: Observation = None

    def _compiled(self, function: Callable[..., Any], **options: Any) -> Any:
        """For all devices, which divide the decisions; the update would gather the rows of a rollout anyway."""
        return self.devices.jit(function, lambda whole, divided: whole, **options)

    def start(self, start: Start) -> None:
        """Begin from the observations where the environments stand."""
        # An interrupt may have come while the storage was donated.
        self._storage = None
        self._obs = jax.tree.map(np.array, to_device(self.env.observation_space, start.obs))
        check_observations(self._obs, start.num_timesteps)

    def rows(self, state: OnPolicyState, num_timesteps: int) -> Iterator[Row]:
        """Make ``n_steps`` steps."""
        masks = self._masks(num_timesteps)
        if self._storage is None:
            self._storage = self._init_storage(
                state.params, self._obs, n_steps=self.n_steps, key=state.key, masks=masks
            )
        # A copy: the key would otherwise be donated with the storage while the state still holds it.
        self._storage = self._storage._replace(key=jnp.copy(state.key))
        for t in range(self.n_steps):
            if t > 0:
                masks = self._masks(num_timesteps + t * self.env.num_envs)
            self._storage, (sampled, executed, values, log_probs) = self._act(
                state.params, self._storage, self.devices.spread(self._obs), masks
            )
            action = to_action(self.env.action_space, np.asarray(executed))
            stepped = advance(self.env, action, reset_rows=self.has_reset_rows)
            reached = stepped.reached(self.env.observation_space)
            now = num_timesteps + (t + 1) * self.env.num_envs
            check_step(stepped, reached, now)
            self._keep(t, stepped, reached, state)
            if self._cost_names:
                costs = required_costs(stepped.infos, stepped.valid, now, self._cost_names)
                self._host.cost[t], self._n_uncounted = costs, t + 1
            self._obs = stepped.next_obs
            done = stepped.done
            local = {"env": self.env, "new_obs": stepped.raw_obs, "rewards": stepped.reward, "dones": done,
                     "infos": stepped.infos, "actions": np.asarray(sampled), "clipped_actions": action,
                     "values": values, "log_probs": log_probs, "rollout_buffer": NO_ROLLOUT_BUFFER,
                     "n_steps": t + 1, "action_masks": masks}  # fmt: skip
            yield Row(local, stepped.infos, done, stepped.raw_obs)
        self._storage = self._close(state.params, self._storage, self._obs)

    def update(self, state: OnPolicyState, end: int, learning_rate: Any, clip_range: Any) -> Updated:
        """Update on the rollout that ``rows`` has filled."""
        assert self._storage is not None
        rollout, self._n_uncounted = self._rollout(self._storage), 0
        state, packed = self._update(self.stopped(state), rollout, learning_rate, clip_range)
        metrics: OnPolicyMetrics = packed.unpack()
        return Updated(state, metrics, loss_fault(metrics, end))

    def stopped(self, state: OnPolicyState) -> OnPolicyState:
        """The state with the key that follows the last action."""
        assert self._storage is not None
        return state._replace(key=jnp.copy(self._storage.key))

    def counted(self, state: OnPolicyState) -> OnPolicyState:
        """The state after rows of a rollout that was cut short: their costs are those of running episodes."""
        n, self._n_uncounted = self._n_uncounted, 0
        watched, host = getattr(state, "constraint", None), self._host
        if not n or watched is None:
            return state
        done = host.terminated[:n] | host.truncated[:n]
        rows = map(jnp.asarray, (host.cost[:n], done, host.valid[:n]))
        running = add_steps(watched.running, *rows)[0]
        return state._replace(constraint=watched._replace(running=running))

    def episodes(self, first_row: int) -> Iterator[tuple[Infos, NDArray[np.bool_]]]:
        """Nothing: rows are known one at a time."""
        return iter(())

    def _masks(self, num_timesteps: int) -> NDArray[np.bool_] | None:
        return current_masks(self.env, num_timesteps) if self.masked else None

    def _keep(self, t: int, stepped: Stepped, final: Observation, state: OnPolicyState) -> None:
        """Store row ``t``, with successors and their values where the environment has reset itself."""
        host, limited = self._host, stepped.truncated.any()
        host.reward[t], host.valid[t] = stepped.reward, stepped.valid
        host.terminated[t], host.truncated[t] = stepped.terminated, stepped.truncated
        if self.has_reset_rows:
            return
        host.final_value[t], host.final_cost_value[t] = 0.0, 0.0
        if limited:
            values = self._value(state.params, self.devices.spread(final))
            host.final_value[t] = np.where(stepped.truncated, values, 0.0)
        if limited and self._cost_value is not None:
            values = self._cost_value(state.params, self.devices.spread(final))
            host.final_cost_value[t] = np.where(stepped.truncated[:, None], values, 0.0)
        if self._keeps_final:
            if host.final_obs is None:
                host.final_obs = jax.tree.map(lambda x: np.zeros((self.n_steps, *x.shape), x.dtype), final)
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
            action_masks=storage.action_masks,
            costs=self._costs(storage),
        )

    def _costs(self, storage: Storage) -> CostRows | None:
        if storage.cost_value is None:
            return None
        host: Any = self._host
        return CostRows(host.cost, storage.cost_value, None if self.has_reset_rows else host.final_cost_value)


def loss_fault(metrics: OnPolicyMetrics, num_timesteps: int) -> FloatingPointError | None:
    """The error to raise if an update was not made because its result is not finite."""
    if np.isfinite(metrics.loss):
        return None
    return FloatingPointError(
        f"The loss or the parameters became infinite or NaN at {num_timesteps} steps: learning_rate is too high, or "
        "rewards are too large. The model is left as it was before this update."
    )
