"""Steps a ``VecEnv`` with the planner's actions and reports what to write into the replay buffer."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import scale_action, stored_size
from spi_plugins.agents.interaction import decide, explore
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.algorithms.collector import Row, Start
from spi_plugins.algorithms.devices import Devices
from spi_plugins.algorithms.stepping import Stepped, advance, check_observations, check_step, has_reset_rows
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, costs_of, required_costs
from spi_plugins.arrays import restore_arrays
from spi_plugins.buffers import Slot
from spi_plugins.errors import ModelFileError
from spi_plugins.spaces import action_spec, to_device
from spi_plugins.types import COST_KEY, Observation, PyTree


class Standing(NamedTuple):
    """The state of a training run between two steps; part of a model file.

    Attributes:
        plan: of each environment.
        episode_start: ``[B]``, the next observation is an episode's first.
        trained_at: ``num_timesteps`` at the last update.
        total_cost: of all steps of the training.
        total_steps: of the training, without reset rows.
    """

    plan: PyTree
    episode_start: NDArray[np.bool_]
    trained_at: int
    total_cost: float
    total_steps: int


def restore_standing(fresh: Standing, arrays: dict[str, NDArray[Any]]) -> tuple[Standing, bool]:
    """The standing in a model file, and whether its plans fit; if not, plans begin anew.

    They do not fit another number of copies or another planner.
    """
    counts = {name: arrays.pop(name).item() for name in ("trained_at", "total_cost", "total_steps")}
    rows = {"plan": fresh.plan, "episode_start": fresh.episode_start}
    try:
        rows = restore_arrays(rows, arrays, what="Where collecting stood")
    except ModelFileError:
        return fresh._replace(**counts), False
    return Standing(rows["plan"], np.asarray(rows["episode_start"]), **counts), True


class ReplayRow(NamedTuple):
    """One step of all environments, to remember."""

    row: Row
    slots: tuple[tuple[Slot, NDArray[np.bool_]], ...]  # to write, in order, each where its mask says
    plan: PyTree
    cost: float  # of all environments together
    n_valid: int  # environments that made a transition


class Reports:
    """What the planner reports at each step, summed up for the log."""

    def __init__(self, agent: PlanningAgent, info_metrics: bool):
        self._agent, self._info_metrics = agent, info_metrics
        self._names: tuple[str, ...] | None = None
        self._sums: dict[str, float] = {}
        self._n_planned = 0

    def name(self, inputs: tuple[Any, ...]) -> None:
        """Find the reports' names by the arguments of ``agent.act``, once."""
        if self._names is None:
            act = functools.partial(self._agent.act, deterministic=False)
            self._names = tuple(sorted(jax.eval_shape(act, *inputs)[2]))

    def add(self, rows: NDArray[np.float32] | None, infos: Infos) -> None:
        """Add the reports ``[M, B]`` of a step; there are none of a step that was explored."""
        if rows is None:
            return
        assert self._names is not None
        self._n_planned += 1
        for name, values in zip(self._names, rows, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + float(values.mean())
        if self._info_metrics:
            for i, info in enumerate(infos):
                info["plan"] = {name: float(row[i]) for name, row in zip(self._names, rows, strict=True)}

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: total / self._n_planned for name, total in self._sums.items()}
        self._sums, self._n_planned = {}, 0
        return means


class ReplayCollector:
    """Plans, explores and steps; the model remembers."""

    def __init__(
        self,
        env: VecEnv,
        agent: PlanningAgent,
        devices: Devices,
        learning_starts: int,
        info_metrics: bool,
    ):
        self.env = env
        self.agent = agent
        self.devices = devices
        self.learning_starts = learning_starts
        self.has_reset_rows = has_reset_rows(env)
        self._action_size = stored_size(action_spec(env.action_space))
        self._act = devices.jit(
            functools.partial(decide, agent), lambda whole, divided: (whole, divided, whole)
        )
        self._explore = devices.jit(
            functools.partial(explore, agent, env.num_envs), lambda whole, divided: whole
        )
        self._obs: Observation = None
        self._plan: PyTree = None
        self._episode_start = np.ones(env.num_envs, bool)
        self._episode_cost = np.zeros(env.num_envs)
        self._reports = Reports(agent, info_metrics)

    def start(self, start: Start) -> None:
        """Begin from the present observations and plans."""
        self._obs = jax.tree.map(np.array, to_device(self.env.observation_space, start.obs))
        check_observations(self._obs, start.num_timesteps)
        # On the device where decisions leave it: elsewhere, the first decision would compile for itself.
        self._plan = self.devices.put(start.standing.plan, self.devices.divided)
        self._episode_start = start.standing.episode_start
        self._episode_cost[self._episode_start] = 0.0

    def first_slot(self) -> Slot:
        """The slot of an episode's first observation, which is the present one."""
        n_envs = self.env.num_envs
        action = np.zeros((n_envs, self._action_size), np.float32)
        zeros, no = np.zeros(n_envs, np.float32), np.zeros(n_envs, bool)
        # NumPy arrays: ``jit`` takes them in faster than ``asarray`` would.
        fields: Any = self._obs, action, zeros, zeros, no, no, no
        return Slot(*fields)

    def rows(self, state: Any, num_timesteps: int) -> Iterator[ReplayRow | None]:
        """Plan and step, forever; ``None`` comes between the two, after which no more is read of ``state``."""
        env = self.env
        while True:
            action, plan, reported = self._decide(state, num_timesteps)
            env_action = scale_action(env.action_space, action)
            yield None
            stepped = advance(env, env_action, reset_rows=self.has_reset_rows)
            num_timesteps += env.num_envs
            cost = self._costs(stepped, num_timesteps)
            reached = stepped.reached(env.observation_space)
            check_step(stepped, reached, num_timesteps)
            stored = action.reshape(env.num_envs, -1).astype(np.float32, copy=False)
            fields: Any = stored, stepped.reward, cost, stepped.terminated, stepped.truncated, stepped.valid
            slots = [(Slot(reached, *fields), np.ones(env.num_envs, bool))]
            self._obs, self._plan, self._episode_start = stepped.next_obs, plan, stepped.done
            if stepped.restarted.any():
                slots.append((self.first_slot(), stepped.restarted))
            self._reports.add(None if reported is None else np.asarray(reported), stepped.infos)
            self._sum_costs(cost, stepped.done, stepped.infos)
            local = {"env": env, "new_obs": stepped.raw_obs, "rewards": stepped.reward,
                     "dones": stepped.done, "infos": stepped.infos, "actions": env_action}  # fmt: skip
            row = Row(local, stepped.infos, stepped.done, stepped.raw_obs)
            yield ReplayRow(
                row, tuple(slots), plan, float(cost[stepped.valid].sum()), int(stepped.valid.sum())
            )

    def _decide(self, state: Any, num_timesteps: int) -> tuple[NDArray[Any], PyTree, jax.Array | None]:
        """The model's actions ``[B, ...]``, the plans, and the planner's reports ``[M, B]``, if there was a plan."""
        count = np.uint32(num_timesteps % 2**32)
        if num_timesteps < self.learning_starts:
            return np.asarray(self._explore(state.key, count)), self._plan, None
        obs, starts = self.devices.spread((self._obs, self._episode_start))
        inputs = state.params, obs, self._plan, starts, state.key
        self._reports.name(inputs)
        action, plan, rows = self._act(*inputs, count)
        return np.asarray(action), plan, rows

    def _sum_costs(self, cost: NDArray[np.float32], dones: NDArray[np.bool_], infos: Infos) -> None:
        """Give ended episodes their cost where the environment's monitor, like SB3's, has none."""
        self._episode_cost += cost
        for i in np.flatnonzero(dones):
            if COST_KEY in infos[i] and "episode" in infos[i]:
                infos[i]["episode"].setdefault("c", round(float(self._episode_cost[i]), 6))
        self._episode_cost[dones] = 0.0

    def take_metrics(self) -> dict[str, float]:
        """Means of the planner's reports since the last call."""
        return self._reports.take()

    def _costs(self, stepped: Stepped, num_timesteps: int) -> NDArray[np.float32]:
        """The costs of a step, which must be there if the agent learns costs."""
        if self.agent.config.model.n_costs:
            return required_costs(stepped.infos, stepped.valid, num_timesteps)[:, 0]
        costs, n_envs = costs_of(stepped.infos), self.env.num_envs
        return np.zeros(n_envs, np.float32) if costs is None else np.nan_to_num(costs).astype(np.float32)
