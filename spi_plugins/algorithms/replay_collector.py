"""Steps a ``VecEnv`` by the planner's actions and writes what comes into the replay buffer."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins import buffers, host_buffers
from spi_plugins.actions import scale_action
from spi_plugins.algorithms.interrupts import deferred_interrupt
from spi_plugins.algorithms.stepping import Stepped, advance, check_rows, has_reset_rows, to_device
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, costs_of
from spi_plugins.buffers import Slot
from spi_plugins.checks import check_finite
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.types import COST_KEY, Observation, PyTree

if TYPE_CHECKING:
    from spi_plugins.algorithms.planning import PlanningAlgorithm


class Standing(NamedTuple):
    """Where collecting stands between two steps; part of a model file.

    Attributes:
        plan: of each environment.
        episode_start: ``[B]``, the next observation is an episode's first.
        trained_at: ``num_timesteps`` at the last update.
        total_cost: of all steps of the training.
        total_steps: of the training, those of reset rows not counted.
    """

    plan: PyTree
    episode_start: NDArray[np.bool_]
    trained_at: int
    total_cost: float
    total_steps: int


class ReplayCollector:
    """One environment step after the other; everything stands rightly whenever a callback is called."""

    def __init__(self, model: "PlanningAlgorithm"):
        assert model.env is not None
        self.model = model
        self.env = model.env
        self.has_reset_rows = has_reset_rows(self.env)
        self._act = jax.jit(functools.partial(_act, model.agent), static_argnames="deterministic")
        self._explore = jax.jit(
            functools.partial(_explore, (self.env.num_envs, model.agent.world.spec.action_size))
        )
        self._add = jax.jit(functools.partial(buffers.add), donate_argnums=0)
        self._seen: Any = None
        self.standing = self._fresh()
        self._episode_cost = np.zeros(self.env.num_envs)
        self._sums: dict[str, float] = {}
        self._n_planned = 0

    def _fresh(self) -> Standing:
        n_envs = self.env.num_envs
        # On the device where decisions leave it: elsewhere, the first decision would compile for itself.
        plan = jax.device_put(self.model.agent.init_plan(n_envs), self.model.jax_device)
        return Standing(plan, np.ones(n_envs, bool), 0, 0.0, 0)

    def resume(self, standing: Standing) -> None:
        """Go on from where a file says that the environment, too, stands."""
        plan = jax.device_put(standing.plan, self.model.jax_device)
        self.standing, self._seen = standing._replace(plan=plan), self.model._last_obs

    def start(self) -> None:
        """Take up the model's last observation: an episode's first, unless collecting goes on where it was."""
        model = self.model
        if model.num_timesteps == 0:
            self.standing = self._fresh()
        if model._last_obs is self._seen:
            return
        obs = to_device(self.env.observation_space, model._last_obs)
        check_rows(obs, np.zeros(self.env.num_envs, np.float32), model.num_timesteps)
        self._write(self._first_slot(obs), np.ones(self.env.num_envs, bool))
        self._episode_cost[:] = 0.0
        self.standing = self.standing._replace(episode_start=np.ones(self.env.num_envs, bool))
        self._seen = model._last_obs

    def step(self, callbacks: BaseCallback) -> bool:
        """Decide, step, remember; false if a callback asked to stop."""
        model, env = self.model, self.env
        obs = to_device(env.observation_space, model._last_obs)
        action, plan, reported = self._decide(obs)
        env_action = scale_action(env.action_space, action)
        stepped = advance(env, env_action, reset_rows=self.has_reset_rows)
        cost = self._costs(stepped)
        model.num_timesteps += env.num_envs
        reached = stepped.reached(env.observation_space)
        check_rows(reached, stepped.reward, model.num_timesteps)
        slot = _slot(
            reached, action, stepped.reward, cost, stepped.terminated, stepped.truncated, stepped.valid
        )
        dones = stepped.done
        with deferred_interrupt():
            self._write(slot, np.ones(env.num_envs, bool))
            if stepped.restarted.any():
                self._write(self._first_slot(stepped.next_obs), stepped.restarted)
            self.standing = self.standing._replace(
                plan=plan,
                episode_start=dones,
                total_cost=self.standing.total_cost + float(cost[stepped.valid].sum()),
                total_steps=self.standing.total_steps + int(stepped.valid.sum()),
            )
            model._last_obs, model._last_episode_starts = stepped.raw_obs, dones
            self._seen = model._last_obs
        self._report(reported, stepped.infos)
        self._sum_costs(cost, dones, stepped.infos)
        model._update_info_buffer(stepped.infos, dones)
        callbacks.update_locals({"env": env, "new_obs": stepped.raw_obs, "rewards": stepped.reward,
                                 "dones": dones, "infos": stepped.infos, "actions": env_action})  # fmt: skip
        return callbacks.on_step()

    # ------------------------------------------------------------------ decide

    def _decide(self, obs: Observation) -> tuple[NDArray[np.float32], PyTree, dict[str, NDArray[Any]]]:
        """Actions ``[B, A]`` in [-1, 1], the plans, and what the planner reports of each environment."""
        model, state = self.model, self.model._agent_state
        count = np.uint32(model.num_timesteps % 2**32)
        if model.num_timesteps < model.learning_starts:
            return np.asarray(self._explore(state.key, count)), self.standing.plan, {}
        action, plan, rows = self._act(
            state.params, obs, self.standing.plan, self.standing.episode_start, state.key, count,
            deterministic=False,
        )  # fmt: skip
        reported = dict(zip(model.plan_metrics, np.asarray(rows), strict=True))
        return np.asarray(action), plan, reported

    def _report(self, reported: dict[str, NDArray[Any]], infos: Infos) -> None:
        if not reported:
            return
        self._n_planned += 1
        for name, values in reported.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.mean())
        if self.model.info_metrics:
            for i, info in enumerate(infos):
                info["plan"] = {name: float(values[i]) for name, values in reported.items()}

    def _sum_costs(self, cost: NDArray[np.float32], dones: NDArray[np.bool_], infos: Infos) -> None:
        """Give ended episodes their cost where the environment's monitor, like SB3's, has none."""
        self._episode_cost += cost
        for i in np.flatnonzero(dones):
            if COST_KEY in infos[i] and "episode" in infos[i]:
                infos[i]["episode"].setdefault("c", round(float(self._episode_cost[i]), 6))
        self._episode_cost[dones] = 0.0

    def take_metrics(self) -> dict[str, float]:
        """Means of the planner's reports since the last call."""
        means = {name: total / self._n_planned for name, total in self._sums.items()}
        self._sums, self._n_planned = {}, 0
        return means

    # ------------------------------------------------------------------ step

    def _costs(self, stepped: Stepped) -> NDArray[np.float32]:
        """Costs of the step, which a model with costs must get.

        Raises:
            EnvironmentNotSupportedError: there is none.
            ValueError: one is not finite.
        """
        costs = costs_of(stepped.infos)
        n_envs = self.env.num_envs
        if not self.model.agent.config.model.n_costs:
            return np.zeros(n_envs, np.float32) if costs is None else np.nan_to_num(costs).astype(np.float32)
        for i, info in enumerate(stepped.infos):
            if COST_KEY not in info and stepped.valid[i]:
                raise EnvironmentNotSupportedError(
                    f"info[{COST_KEY!r}] is missing in the step of environment {i}, and {type(self.model).__name__} "
                    "learns costs. Add them with a wrapper of spi_wrappers (CostFromFn, CostFromInfo, "
                    "SixTupleToInfo, VelocityCost), or use TDMPC2, which needs none."
                )
        assert costs is not None or not stepped.valid.any()
        values = np.zeros(n_envs, np.float32) if costs is None else costs.astype(np.float32)
        check_finite(f"at time step {self.model.num_timesteps + n_envs}: the cost", values)
        return values

    def _first_slot(self, obs: Observation) -> Slot:
        n_envs = self.env.num_envs
        size = self.model.agent.world.spec.action_size
        zeros, no = np.zeros(n_envs, np.float32), np.zeros(n_envs, bool)
        return _slot(obs, np.zeros((n_envs, size), np.float32), zeros, zeros, no, no, no)

    def _write(self, slot: Slot, written: NDArray[np.bool_]) -> None:
        buffer = self.model.replay_buffer
        assert buffer is not None
        if isinstance(buffer, HostBuffer):
            host_buffers.add(buffer, slot, written)
        else:
            self.model.replay_buffer = self._add(buffer, slot, written)


def _slot(obs: Observation, *fields: Any) -> Slot:
    """A slot of NumPy arrays: ``jit`` takes them in faster than ``asarray`` would."""
    return Slot(obs, *fields)


# Streams of random numbers out of one key, apart from what ``split`` gives.
_ACT, _EXPLORE = 2**31, 2**31 + 1


def _act(
    agent: Any,
    params: PyTree,
    obs: Observation,
    plan: PyTree,
    starts: Any,
    key: jax.Array,
    count: jax.Array,
    *,
    deterministic: bool,
) -> tuple[jax.Array, PyTree, jax.Array]:
    """``agent.act`` with its reports stacked ``[M, B]``: one transfer instead of ten."""
    key = jax.random.fold_in(jax.random.fold_in(key, _ACT), count)
    action, plan, metrics = agent.act(params, obs, plan, starts, key, deterministic=deterministic)
    return action, plan, stack_metrics(metrics, len(starts))


def stack_metrics(metrics: dict[str, jax.Array], n_envs: int) -> jax.Array:
    """Reports of a decision ``[M, B]``, by name."""
    rows = [jnp.asarray(metrics[name], jnp.float32) for name in sorted(metrics)]
    return jnp.stack(rows) if rows else jnp.zeros((0, n_envs))


def _explore(shape: tuple[int, int], key: jax.Array, count: jax.Array) -> jax.Array:
    """Uniform actions."""
    key = jax.random.fold_in(jax.random.fold_in(key, _EXPLORE), count)
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
