"""The compiled way to fill a rollout: rollout and update are scanned inside JAX, SB3's hooks replayed."""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import allow_some, to_action
from spi_plugins.agents.on_policy import OnPolicyAgent, OnPolicyMetrics, OnPolicyState
from spi_plugins.agents.packed import Packed, update_packed
from spi_plugins.agents.rollout import Collected, Runner, collect
from spi_plugins.algorithms.action_masks import no_action
from spi_plugins.algorithms.collector import NO_ROLLOUT_BUFFER, Row, Start, Updated
from spi_plugins.algorithms.compiled_chunks import Chunk, ChunkedRun, Iteration, reduce_steps, runner_places
from spi_plugins.algorithms.compiled_envs import CompiledEnv, HostRows, compiled_env
from spi_plugins.algorithms.devices import Devices, Place
from spi_plugins.algorithms.step_collector import loss_fault
from spi_plugins.algorithms.stepping import check_observations
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.arrays import local
from spi_plugins.errors import NotFiniteError
from spi_plugins.spaces import action_spec
from spi_plugins.types import Observation, PyTree, Rollout


@contextlib.contextmanager
def _off_the_disk() -> Iterator[None]:
    """Keep programs out of JAX's disk cache, where no later process could reuse them."""
    option = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, option)
    jax.config.update(option, math.inf)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        jax.config.update(option, before)  # type: ignore[no-untyped-call]


def compiled_reason(env: VecEnv | None, *, with_costs: bool = False, several: bool = False) -> str | None:
    """Why an environment, and its costs if they are needed, cannot be scanned inside JAX; ``None`` if it can.

    ``several`` devices can only scan what is an array.
    """
    try:
        compiled_env(env)
    except ValueError as error:
        return str(error)
    if with_costs and not isinstance(env, FunctionalVecEnv):
        return "only functional environments have costs inside JAX"
    if several and not isinstance(env, FunctionalVecEnv):
        return "only functional environments can be divided among several devices inside JAX"
    return None


class _Run(NamedTuple):
    """The results of an iteration, on the device."""

    runner: Runner
    packed: Packed
    steps: PyTree
    decided: tuple[jax.Array | None, ...]
    finite: jax.Array
    choosable: jax.Array | None  # [T, B], whether the masks, if any, allow an action


def _places(whole: Place, divided: Place, read: Place | None) -> _Run:
    """What an iteration carries on is divided as it came; the rest is read by the host."""
    rest: Any = read
    return _Run(runner_places(whole, divided), *[rest] * (len(_Run._fields) - 1))


def _decided(rollout: Rollout) -> tuple[jax.Array | None, ...]:
    """Actions, values, log-probabilities and masks, ``[T, B, ...]``, for callbacks."""
    return rollout.action, rollout.value[:-1], rollout.log_prob, rollout.action_masks


class _Replay(NamedTuple):
    """An iteration that has run, and whose hooks are replayed."""

    rows: HostRows
    action: NDArray[Any]  # [T, B, ...]
    value: NDArray[np.float32]  # [T, B]
    log_prob: NDArray[np.float32]  # [T, B]
    action_masks: NDArray[np.bool_] | None  # [T, B, P]


class UpdatedMany(NamedTuple):
    """The result of several iterations; the old state was donated."""

    chunk: Chunk
    fault: Exception | None  # of the last iteration, whose update was not made
    last_done: NDArray[np.bool_]


class CompiledCollector:
    """Rollout and update as one program on the device; SB3's hooks are replayed from its output.

    Callbacks run as often as documented, once for every environment step, but see the parameters of the
    iteration's end.
    """

    updates_first = True

    def __init__(
        self,
        env: VecEnv | None,
        agent: OnPolicyAgent,
        n_steps: int,
        devices: Devices,
        *,
        masked: bool = False,
    ):
        self.env: CompiledEnv = compiled_env(env)
        self._action_masks = self.env.action_masks if masked else None
        if agent.constraint is not None:
            self.env.cost_names = agent.constraint.names
        self.agent = agent
        self.n_steps = n_steps
        self.devices = devices
        self._runner_obs: Observation = None
        places = functools.partial(_places, read=devices.read)
        self._run = devices.jit(self._run_at_once, places, donate_argnums=0)
        self._collect = jax.jit(self._collected, donate_argnums=0)
        self._update = jax.jit(self._updated, donate_argnums=0)
        self._collect_is_compiled = False
        self._replay: _Replay | None = None
        self.chunked: ChunkedRun | None = None
        self.joint: ChunkedRun | None = None  # of several models, kept by the first one

    def _collected(self, runner: Runner, env_params: PyTree) -> Collected:
        step, masks = functools.partial(self.env.step, env_params), None
        if self._action_masks is not None:
            masks = functools.partial(self._action_masks, env_params)
        return collect(self.agent, step, self.n_steps, runner, masks)

    def _run_at_once(self, runner: Runner, env_params: PyTree, *rates: Any) -> _Run:
        runner, rollout, steps, finite = self._collected(runner, env_params)
        learnable, choosable = _learnable(rollout, finite), None
        if rollout.action_masks is not None:
            choosable = allow_some(action_spec(self.env.vec_env.action_space), rollout.action_masks)
            learnable &= jnp.all(choosable)
        state, packed = update_packed(self.agent, runner.state, rollout, *rates, learnable)
        return _Run(runner._replace(state=state), packed, steps, _decided(rollout), finite, choosable)

    def _updated(self, state: OnPolicyState, rollout: Rollout, *inputs: Any) -> tuple[OnPolicyState, Packed]:
        *rates, finite = inputs
        return update_packed(self.agent, state, rollout, *rates, _learnable(rollout, finite))

    def _run_apart(self, runner: Runner, env_params: PyTree, *rates: Any) -> _Run:
        """``_run`` as two programs: JAX's cache on disk can keep the larger, the update."""
        with contextlib.nullcontext() if self._collect_is_compiled else _off_the_disk():
            runner, rollout, steps, finite = self._collect(runner, env_params)
        self._collect_is_compiled = True
        state, packed = self._update(runner.state, rollout, *rates, finite)
        return _Run(runner._replace(state=state), packed, steps, _decided(rollout), finite, None)

    def start(self, start: Start) -> None:
        """Begin from the observations and states of the environments."""
        # Copies: they are donated, and must not be the arrays that the environment holds. All placed by
        # name: a program is compiled again for inputs that are not pinned as those of its first call were.
        obs = local(start.obs)
        check_observations(jax.tree.map(np.asarray, obs), start.num_timesteps)
        self._runner_obs = self.devices.put(jax.tree.map(jnp.array, obs), self.devices.divided)
        self.env.start(self.devices)

    def update(self, state: OnPolicyState, end: int, learning_rate: Any, clip_range: Any) -> Updated:
        """Roll out and update, and keep the steps for ``rows``."""
        iterate = self._run if self.env.repeatable else self._run_apart
        run = iterate(self.runner(state), self.env.params, learning_rate, clip_range)
        runner = run.runner
        self._runner_obs = runner.obs
        self.env.finish(runner.env_state)
        rows = self.env.host_rows(run.steps)
        self._replay = _Replay(rows, *jax.tree.map(np.asarray, run.decided))
        metrics: OnPolicyMetrics = run.packed.unpack()
        fault = (
            rollout_fault(rows.reward, np.asarray(run.finite), end, _first_costs(run.steps))
            or mask_fault(run.choosable, end)
            or loss_fault(metrics, end)
        )
        return Updated(runner.state, metrics, fault, runner.obs, rows.done[-1])

    @property
    def runs_chunks(self) -> bool:
        """Whether ``update_many`` is possible: nothing of the host enters between two iterations."""
        return self.env.runs_chunks and self._action_masks is None

    def iterate(
        self, runner: Runner, window: int, env_params: PyTree, *rates: Any
    ) -> tuple[Runner, Iteration]:
        """Roll out and update, and forget the steps; pure. Of the episodes, the last ``window`` are kept."""
        run = self._run_at_once(runner, env_params, *rates)
        return run.runner, reduce_steps(run.steps, run.packed, run.finite, window)

    def update_many(
        self, state: OnPolicyState, rates: Sequence[PyTree], end: int, window: int
    ) -> UpdatedMany:
        """Roll out and update up to ``len(rates)`` times; ``end`` is that of the first. Keeps no steps."""
        if self.chunked is None:
            self.chunked = ChunkedRun(
                lambda runner, *inputs: self.iterate(runner, window, *inputs), self.devices
            )
        return self.take(self.chunked(self.runner(state), self.env.params, rates).chunk(), end)

    def runner(self, state: OnPolicyState) -> Runner:
        """What an iteration begins with."""
        return Runner(state, self.env.state, self._runner_obs)

    def take(self, chunk: Chunk, end: int) -> UpdatedMany:
        """Stand where iterations have ended, the first of them at ``end``."""
        self._runner_obs = chunk.runner.obs
        self.env.finish(chunk.runner.env_state)
        size = self.n_steps * self.env.vec_env.num_envs
        fault = chunk_fault(chunk, end + (len(chunk.metrics) - 1) * size)
        return UpdatedMany(chunk, fault, np.asarray(chunk.last.done))

    def rows(self, state: OnPolicyState, num_timesteps: int) -> Iterator[Row]:
        """Replay the steps that ``update`` made."""
        assert self._replay is not None
        rows, action, value, log_prob, masks = self._replay
        space = self.env.vec_env.action_space
        executed = to_action(
            space, np.clip(action, space.low, space.high) if hasattr(space, "low") else action
        )
        for t in range(self.n_steps):
            infos, done = rows.infos(t), rows.done[t]
            local = {"env": self.env.vec_env, "rewards": rows.reward[t], "dones": done, "infos": infos,
                     "actions": action[t], "clipped_actions": executed[t], "values": value[t],
                     "log_probs": log_prob[t], "rollout_buffer": NO_ROLLOUT_BUFFER, "n_steps": t + 1,
                     "action_masks": None if masks is None else masks[t]}  # fmt: skip
            yield Row(local, [infos[i] for i in rows.reporting[t]], done[rows.reporting[t]])

    def stopped(self, state: OnPolicyState) -> OnPolicyState:
        """The same state, that of the iteration's end."""
        return state

    def counted(self, state: OnPolicyState) -> OnPolicyState:
        """The same state: the update has seen all steps."""
        return state

    def episodes(self, first_row: int) -> Iterator[tuple[Infos, NDArray[np.bool_]]]:
        """Infos and ends of episodes in the rows from ``first_row`` on."""
        assert self._replay is not None
        rows = self._replay.rows
        for t in range(first_row, self.n_steps):
            if len(rows.reporting[t]):
                infos = rows.infos(t)
                yield [infos[i] for i in rows.reporting[t]], rows.done[t][rows.reporting[t]]


def _first_costs(steps: PyTree) -> NDArray[np.float32] | None:
    """Costs ``[T, B]`` that are finite where all are that the agent learns; ``None`` if it learns none."""
    return None if steps.costs is None else np.asarray(steps.costs).sum(axis=-1)


def _learnable(rollout: Rollout, finite: jax.Array) -> jax.Array:
    """Whether nothing of a rollout is NaN or infinite."""
    good = jnp.all(finite) & jnp.all(jnp.isfinite(rollout.reward))
    return good if rollout.costs is None else good & jnp.all(jnp.isfinite(rollout.costs.cost))


def rollout_fault(
    reward: NDArray[np.float32],
    finite: NDArray[np.bool_],
    end: int,
    cost: NDArray[np.float32] | None = None,
) -> NotFiniteError | None:
    """The error of an iteration whose observations, rewards or costs are not finite, naming environment and step.

    Args:
        reward: ``[T, B]``.
        finite: ``[T, B]``, whether the observation that the step reached is finite.
        end: time steps at the iteration's end.
        cost: ``[T, B]``, of an agent that learns them.
    """
    parts = [("observation", finite), ("reward", np.isfinite(reward))]
    parts += [] if cost is None else [("cost", np.isfinite(cost))]
    for what, good in parts:
        if not good.all():
            t, i = divmod(int(np.argmin(good)), good.shape[1])
            at = end - (len(good) - t - 1) * good.shape[1]
            return NotFiniteError(
                f"at time step {at}: the {what} of environment {i} is not finite. Nothing has learned from it: the "
                "model is left as it was before this rollout."
            )
    return None


def chunk_fault(chunk: Chunk, end: int) -> Exception | None:
    """The error of a chunk's last iteration, which ends at ``end``."""
    if not chunk.has_failed:
        return None
    # ``rollout_fault`` names the first reward that is not finite.
    reward, cost = (
        None if good is None else np.where(np.asarray(good), np.float32(0), np.float32(np.nan))
        for good in (chunk.last.rewards_finite, chunk.last.costs_finite)
    )
    assert reward is not None
    return rollout_fault(reward, np.asarray(chunk.last.finite), end, cost) or loss_fault(
        chunk.metrics[-1], end
    )


def mask_fault(choosable: jax.Array | None, end: int) -> ValueError | None:
    """The error of an iteration with a mask ``[T, B]`` that allows no action, naming environment and step."""
    if choosable is None or (some := np.asarray(choosable)).all():
        return None
    t, i = divmod(int(np.argmin(some)), some.shape[1])
    return no_action(
        f"at time step {end - (len(some) - t) * some.shape[1]}: action_masks() of environment {i}"
    )
