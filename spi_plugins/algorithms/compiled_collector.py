"""The compiled way to fill a rollout: rollout and update are scanned inside JAX, SB3's hooks replayed."""

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.agents.on_policy import OnPolicyMetrics
from spi_plugins.agents.packed import Packed, update_packed
from spi_plugins.agents.rollout import Collected, Runner, collect
from spi_plugins.algorithms.collectors import check_iteration, check_loss
from spi_plugins.algorithms.compiled_envs import CompiledEnv, HostRows, compiled_env
from spi_plugins.algorithms.interrupts import deferred_interrupt
from spi_plugins.algorithms.saved_model import ResumePoint
from spi_plugins.algorithms.stepping import to_device
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.types import Observation, PyTree

if TYPE_CHECKING:
    from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm


@contextlib.contextmanager
def _off_the_disk() -> Iterator[None]:
    """What is compiled here is not kept in JAX's cache on disk, where no later process would find it."""
    option = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, option)
    jax.config.update(option, math.inf)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        jax.config.update(option, before)  # type: ignore[no-untyped-call]


def compiled_reason(env: VecEnv | None) -> str | None:
    """Why an environment cannot be scanned inside JAX, or ``None`` if it can."""
    try:
        compiled_env(env)
    except ValueError as error:
        return str(error)
    return None


class _Run(NamedTuple):
    """What an iteration leaves on the device."""

    runner: Runner
    packed: Packed
    steps: PyTree
    action: jax.Array
    finite: jax.Array


class _Pending(NamedTuple):
    """An iteration that has run, whose hooks are being replayed."""

    metrics: OnPolicyMetrics
    rows: HostRows
    action: NDArray[Any]  # [T, B, ...]
    n_timesteps: int  # at its end
    n_updates: int


class CompiledCollector:
    """Rollout and update as one program on the device; SB3's hooks are replayed from its output.

    Callbacks run as often as documented, once for every environment step, but see the parameters of the
    iteration's end.
    """

    def __init__(self, model: "OnPolicyAlgorithm"):
        self.model = model
        self.env: CompiledEnv = compiled_env(model.env)
        self._runner_obs: Observation = None
        self._run = jax.jit(self._run_at_once, donate_argnums=0)
        self._collect = jax.jit(self._collected, donate_argnums=0)
        self._update = jax.jit(functools.partial(update_packed, model.agent), donate_argnums=0)
        self._collect_is_compiled = False
        self._pending: _Pending | None = None
        self._t = 0  # the first row whose episodes are not yet in the model's buffers

    def _collected(self, runner: Runner, env_params: PyTree) -> Collected:
        step = functools.partial(self.env.step, env_params)
        return collect(self.model.agent, step, self.model.n_steps, runner)

    def _run_at_once(self, runner: Runner, env_params: PyTree, *rates: Any) -> _Run:
        runner, rollout, steps, finite = self._collected(runner, env_params)
        state, packed = update_packed(self.model.agent, runner.state, rollout, *rates)
        return _Run(runner._replace(state=state), packed, steps, rollout.action, finite)

    def _run_apart(self, runner: Runner, env_params: PyTree, *rates: Any) -> _Run:
        """``_run`` as two programs: JAX's cache on disk can keep the larger, the update."""
        with contextlib.nullcontext() if self._collect_is_compiled else _off_the_disk():
            runner, rollout, steps, finite = self._collect(runner, env_params)
        self._collect_is_compiled = True
        state, packed = self._update(runner.state, rollout, *rates)
        return _Run(runner._replace(state=state), packed, steps, rollout.action, finite)

    def start(self) -> None:
        """Take up the model's last observation and the environment's state."""
        space = self.model.observation_space
        # Copies: they are donated, and must not be the arrays that the environment holds. All on one device
        # by name: a program is compiled again for inputs that are not pinned as those of its first call were.
        device = self.model.jax_device
        self._runner_obs = jax.device_put(
            jax.tree.map(jnp.array, to_device(space, self.model._last_obs)), device
        )
        self.env.start(device)

    def iterate(self, callbacks: BaseCallback, total: int, log: Callable[[], None]) -> OnPolicyMetrics | None:
        """Run one iteration; ``None`` if a callback asked to stop."""
        model = self.model
        callbacks.on_rollout_start()
        try:
            # To the end of all bookkeeping: the environment has been stepped and the update has been made.
            with deferred_interrupt():
                pending = self._pending = self._advance(total)
            if not self._replay(pending, callbacks):
                return None
            callbacks.on_rollout_end()
        finally:
            self._settle()
        model._update_current_progress_remaining(model.num_timesteps, total)
        log()
        return pending.metrics

    def resume_point(self) -> ResumePoint | None:
        """The end of the iteration whose hooks are being replayed."""
        pending, model = self._pending, self.model
        if pending is None:
            return None
        buffers = model.ep_info_buffer, model.ep_success_buffer
        try:
            model.ep_info_buffer, model.ep_success_buffer = copy.copy(buffers[0]), copy.copy(buffers[1])
            for t in range(self._t, model.n_steps):
                if len(pending.rows.reporting[t]):
                    self._count_episodes(pending.rows, t, pending.rows.infos(t))
            env = model._function_env()
            return ResumePoint(
                num_timesteps=pending.n_timesteps,
                n_updates=pending.n_updates,
                ep_info=list(model.ep_info_buffer or ()),
                ep_success=list(model.ep_success_buffer or ()),
                env_state=None if env is None else env.get_state(),
                last_obs=None if env is None else model._last_obs,
            )
        finally:
            model.ep_info_buffer, model.ep_success_buffer = buffers

    def _advance(self, total: int) -> _Pending:
        """Roll out and update, and check what came of it."""
        model = self.model
        end = model.num_timesteps + model.n_steps * self.env.vec_env.num_envs
        runner = Runner(model._agent_state, self.env.state, self._runner_obs)
        run = self._run if self.env.repeatable else self._run_apart
        runner, packed, steps, action, finite = run(runner, self.env.params, *model.rates(end, total))
        model._agent_state, env_state, self._runner_obs = runner
        self.env.finish(env_state)
        model._last_obs = self._runner_obs
        rows = self.env.host_rows(steps)
        check_iteration(rows.reward, np.asarray(finite), model.num_timesteps)
        metrics: OnPolicyMetrics = packed.unpack()
        check_loss(metrics, end)
        self._t = 0
        return _Pending(metrics, rows, np.asarray(action), end, model._n_updates + int(metrics.n_updates))

    def _replay(self, pending: _Pending, callbacks: BaseCallback) -> bool:
        """Call the hooks of every step; false if one asked to stop."""
        model, rows = self.model, pending.rows
        n_envs = self.env.vec_env.num_envs
        for t in range(model.n_steps):
            model.num_timesteps += n_envs
            infos = rows.infos(t)
            callbacks.update_locals({"env": model.env, "rewards": rows.reward[t], "dones": rows.done[t],
                                     "infos": infos, "actions": pending.action[t],
                                     "n_steps": t + 1})  # fmt: skip
            if not callbacks.on_step():
                return False
            self._count_episodes(rows, t, infos)
            self._t = t + 1
        return True

    def _count_episodes(self, rows: HostRows, t: int, infos: Infos) -> None:
        if len(rows.reporting[t]):
            self.model._update_info_buffer(
                [infos[i] for i in rows.reporting[t]], rows.done[t][rows.reporting[t]]
            )

    def _settle(self) -> None:
        """Bring the model's counters to the iteration's end, also where the replay was cut short."""
        point = self.resume_point()
        if point is None:
            return
        model, pending = self.model, self._pending
        assert pending is not None
        model.num_timesteps, model._n_updates = point.num_timesteps, point.n_updates
        for buffer, values in (
            (model.ep_info_buffer, point.ep_info),
            (model.ep_success_buffer, point.ep_success),
        ):
            assert buffer is not None
            buffer.clear()
            buffer.extend(values)
        model._last_episode_starts = pending.rows.done[-1]
        self._pending = None
