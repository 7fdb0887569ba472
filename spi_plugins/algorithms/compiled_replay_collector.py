"""The compiled way to learn from a replay buffer: steps and gradient steps as one program, SB3's hooks replayed."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import executed_by_model, scale_action, stored_size
from spi_plugins.agents.interaction import Carried, Steps, Taken, Trained, World, interact, train
from spi_plugins.agents.packed import Packed, pack
from spi_plugins.agents.planning import PlanningAgent, SPOWLState
from spi_plugins.algorithms.collector import Row, Start
from spi_plugins.algorithms.compiled_collector import rollout_fault
from spi_plugins.algorithms.compiled_envs import CompiledEnv, HostRows, compiled_env
from spi_plugins.algorithms.devices import Devices, Place
from spi_plugins.algorithms.replay_collector import Reports
from spi_plugins.algorithms.stepping import check_observations
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.arrays import local
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.spaces import action_spec, to_device
from spi_plugins.types import Observation, PyTree


def replay_refusal(env: VecEnv | None, *, on_host: bool) -> str | None:
    """Why steps and gradient steps cannot be one program, or ``None`` if they can."""
    if not isinstance(env, FunctionalVecEnv):
        return f"only functional environments can be, and only unwrapped, not {type(env).__name__}"
    if on_host:
        return "the replay buffer is in the host's memory (buffer_device)"
    return None


class Due(NamedTuple):
    """What an iteration does."""

    n_steps: int  # of each environment
    num_timesteps: int  # before it
    n_updates: int  # 0 for none
    learning_rate: np.float32


class Done(NamedTuple):
    """What an iteration has done. The old state and buffer were donated: the model must store the new ones at once."""

    state: SPOWLState
    buffer: Buffer
    obs: Observation
    plan: PyTree
    episode_start: NDArray[np.bool_]
    trained: Trained  # on the host
    costs: list[float]  # of all environments together, by step
    fault: Exception | None


class _Replay(NamedTuple):
    """Steps whose hooks are replayed."""

    rows: HostRows
    action: NDArray[Any]  # [T, B, ...], the model's
    reports: list[NDArray[np.float32] | None]  # [M, B] by step


def _places(whole: Place, divided: Place) -> Any:
    """Replay, plans and environments are divided as they came; what the host reads, every device has whole."""
    return whole, divided, whole, whole


class CompiledReplayCollector:
    """Steps, remembers and updates on the device; SB3's hooks are replayed from its output."""

    def __init__(
        self,
        env: VecEnv,
        agent: PlanningAgent,
        devices: Devices,
        learning_starts: int,
        train_freq: int,
        *,
        info_metrics: bool,
    ):
        self.env: CompiledEnv = compiled_env(env)
        self.agent = agent
        self.devices = devices
        self.learning_starts = learning_starts
        self._most = train_freq
        self._spec = action_spec(env.action_space)
        self._reports = Reports(agent, info_metrics)
        self._obs: Observation = None
        self._plan: PyTree = None
        self._episode_start: Any = None
        self._run = devices.jit(self._iterate, _places, donate_argnums=(0, 1))
        self._replay: _Replay | None = None

    def _iterate(
        self,
        state: SPOWLState,
        carried: Carried,
        env_params: PyTree,
        steps: Steps,
        n_updates: jax.Array,
        learning_rate: jax.Array,
    ) -> tuple[SPOWLState, Carried, Taken, Packed]:
        world = World(
            functools.partial(self.env.step, env_params), functools.partial(executed_by_model, self._spec)
        )
        carried, taken, good = interact(self.agent, world, state, carried, steps, self._most)
        horizon = self.agent.config.model.horizon
        n_updates = jnp.where(good & jnp.any(carried.buffer.size > horizon), n_updates, 0)
        state, trained = train(self.agent, state, carried.buffer, n_updates, learning_rate)
        return state, carried, taken, pack(trained)

    def start(self, start: Start) -> None:
        """Begin from the present observations, plans and states of the environments."""
        obs = jax.tree.map(np.array, to_device(self.env.vec_env.observation_space, local(start.obs)))
        check_observations(obs, start.num_timesteps)
        # Copies: they are donated.
        carried = obs, local(start.standing.plan), start.standing.episode_start
        self._obs, self._plan, self._episode_start = self.devices.put(
            jax.tree.map(jnp.array, carried), self.devices.divided
        )
        self.env.start(self.devices)

    def first_slot(self) -> Slot:
        """The slot of an episode's first observation, which is the present one."""
        n_envs = self.env.vec_env.num_envs
        zeros, no = np.zeros(n_envs, np.float32), np.zeros(n_envs, bool)
        action = np.zeros((n_envs, stored_size(self._spec)), np.float32)
        fields: Any = self._obs, action, zeros, zeros, no, no, no
        return Slot(*fields)

    def run(self, state: SPOWLState, buffer: Buffer, due: Due) -> Done:
        """Do what is due, and keep the steps for ``rows``."""
        self._reports.name((state.params, self._obs, self._plan, self._episode_start, state.key))
        carried = Carried(buffer, self.env.state, self._obs, self._plan, self._episode_start)
        steps = Steps(np.int32(due.n_steps), np.int32(due.num_timesteps), np.int32(self.learning_starts))
        state, carried, taken, packed = self._run(
            state, carried, self.env.params, steps, np.int32(due.n_updates), due.learning_rate
        )
        self._obs, self._plan, self._episode_start = carried.obs, carried.plan, carried.episode_start
        self.env.finish(carried.env_state)
        taken = jax.tree.map(lambda rows: np.asarray(rows)[: due.n_steps], taken)
        rows, cost = self.env.host_rows(taken.step), taken.step.info["cost"]
        pairs = zip(taken.reports, taken.planned, strict=True)
        self._replay = _Replay(rows, taken.action, [row if planned else None for row, planned in pairs])
        end = due.num_timesteps + due.n_steps * len(rows.done[0])
        learned = cost if self.agent.config.model.n_costs else None
        return Done(
            state=state,
            buffer=carried.buffer,
            obs=carried.obs,
            plan=carried.plan,
            episode_start=rows.done[-1],
            trained=packed.unpack(),
            costs=[float(row.sum()) for row in np.nan_to_num(cost)],
            fault=rollout_fault(rows.reward, taken.finite, end, learned),
        )

    def rows(self, state: SPOWLState, num_timesteps: int) -> Iterator[Row]:
        """Replay the steps that ``run`` made."""
        assert self._replay is not None
        rows, action, reports = self._replay
        env = self.env.vec_env
        for t, done in enumerate(rows.done):
            infos = rows.infos(t)
            self._reports.add(reports[t], infos)
            local = {"env": env, "rewards": rows.reward[t], "dones": done, "infos": infos,
                     "actions": scale_action(env.action_space, action[t])}  # fmt: skip
            yield Row(local, [infos[i] for i in rows.reporting[t]], done[rows.reporting[t]])

    def episodes(self, first_row: int) -> Iterator[tuple[Infos, NDArray[np.bool_]]]:
        """Infos and ends of episodes in the rows from ``first_row`` on."""
        assert self._replay is not None
        rows = self._replay.rows
        for t in range(first_row, len(rows.done)):
            if len(rows.reporting[t]):
                infos = rows.infos(t)
                yield [infos[i] for i in rows.reporting[t]], rows.done[t][rows.reporting[t]]

    def take_metrics(self) -> dict[str, float]:
        """Means of the planner's reports since the last call."""
        return self._reports.take()
