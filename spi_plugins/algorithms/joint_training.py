"""Models that differ in their seed alone, trained in one program: on a GPU, eight cost little more than one."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins.agents.rollout import Runner
from spi_plugins.algorithms.compiled_chunks import Chunk, ChunkedRun, Iteration, Ran
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.devices import device_bytes
from spi_plugins.algorithms.environments import require_open
from spi_plugins.algorithms.interrupts import deferring_handlers
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.types import PyTree

M = TypeVar("M", bound=OnPolicyAlgorithm)

# Of the device's memory: the models themselves hold the program's arguments once more.
_SHARE = 0.8


def learn_together(
    models: Sequence[M],
    total_timesteps: int,
    callbacks: Sequence[Any] | None = None,
    log_interval: int | None = 1,
    reset_num_timesteps: bool = True,
) -> Sequence[M]:
    """Train models that differ in their seed alone, all in one program, as ``learn`` would train each.

    The program is one model's, mapped over the seeds. Rounding differs, so results equal those of single runs to
    about float32's precision, amplified by training. Iterations with a step that a callback has to see, such as
    that of an evaluation, are made model by model.

    Args:
        models: each with copies of its own of the same functional environment.
        total_timesteps: of each model, as in ``learn``.
        callbacks: one for each model, as in ``learn``.
        log_interval: as in ``learn``.
        reset_num_timesteps: as in ``learn``.

    Returns:
        The models.

    Raises:
        ValueError: they cannot be trained together, see ``separate_reason``.
        FloatingPointError: a loss became NaN; every model is left where it is whole.

    Example:
        >>> models = [PPO("MlpPolicy", env, n_envs=8, seed=seed) for seed in range(8)]  # doctest: +SKIP
        >>> learn_together(models, 1_000_000)  # doctest: +SKIP
    """
    reason = separate_reason(models)
    if reason is not None:
        raise ValueError(f"These models cannot be trained together: {reason}.")
    given = [None] * len(models) if callbacks is None else list(callbacks)
    if len(given) != len(models):
        raise ValueError(f"callbacks must be one for each of the {len(models)} models, got {len(given)}.")
    _Joint(models, given, total_timesteps, reset_num_timesteps).train(log_interval)
    return models


def separate_reason(models: Sequence[BaseAlgorithm]) -> str | None:
    """Why models cannot be trained together, or ``None`` if they can."""
    first = models[0]
    for model in models:
        if not isinstance(model, OnPolicyAlgorithm):
            return f"{type(model).__name__} does not learn from rollouts"
        require_open(model.env)
        if model.devices.mesh is not None:
            return "each is trained on several devices already"
        if type(model) is not type(first):
            return f"they are of the classes {type(first).__name__} and {type(model).__name__}"
        for name in first.stored_arguments:
            if name != "seed" and str(getattr(model, name)) != str(getattr(first, name)):
                return f"{name} is {getattr(first, name)} in one and {getattr(model, name)} in another"
        if model.num_timesteps != first.num_timesteps:
            return f"one has taken {first.num_timesteps} steps, another {model.num_timesteps}"
        collector = _collector(model)
        if not isinstance(collector, CompiledCollector) or not collector.runs_chunks:
            return "only models whose rollouts and updates are one program can be, on functional environments"
        if _functional(collector) != _functional(_collector(first)):
            return "their environments differ"
    return None


def memory_reason(model: BaseAlgorithm, count: int) -> str | None:
    """Why ``count`` models like this one do not fit into its device's memory in one program; ``None`` if they do.

    Compiles the program for XLA's plan of its memory; the disk cache keeps it for the training, if there is one.
    """
    assert isinstance(model, OnPolicyAlgorithm)  # or there is a ``separate_reason``
    collector = _collector(model)
    state, obs = collector.env.vec_env.shapes()
    runner, params = _several((Runner(model._agent_state, state, obs), collector.env.params), count)
    need = _joint_run(model).memory(runner, params, model.rates(0, 1))
    have = device_bytes(model.jax_device)
    if need is None or need <= _SHARE * have:
        return None
    return (
        f"{count} models in one program take {need / 1e6:,.1f} MB, more than {_SHARE:.0%} of the {have / 1e6:,.1f} MB "
        f"of {model.jax_device}"
    )


def _several(tree: PyTree, count: int) -> PyTree:
    """The shapes of ``count`` such trees, stacked."""
    return jax.eval_shape(
        functools.partial(jax.tree.map, lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x)))), tree
    )


def _joint_run(model: OnPolicyAlgorithm) -> ChunkedRun:
    """Iterations of models like this one: all arguments but the rates have a leading axis."""
    collector, window = _collector(model), model._window
    if collector.joint is not None:
        kept: ChunkedRun = collector.joint
        return kept

    def iterate(runners: Runner, env_params: PyTree, *rates: Any) -> tuple[Runner, Iteration]:
        def one(runner: Runner, params: PyTree) -> tuple[Runner, Iteration]:
            ran: tuple[Runner, Iteration] = collector.iterate(runner, window, params, *rates)
            return ran

        return jax.vmap(one)(runners, env_params)

    collector.joint = run = ChunkedRun(iterate)
    return run


def _collector(model: OnPolicyAlgorithm) -> Any:
    if model._collector is None:
        model._collector = model._make_collector()
    return model._collector


def _functional(collector: CompiledCollector) -> Any:
    return collector.env.vec_env.functional._replace(params=())


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _of(tree: PyTree, i: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)


class _Joint:
    """One training of several models."""

    def __init__(
        self, models: Sequence[OnPolicyAlgorithm], given: Sequence[Any], total: int, reset_num_timesteps: bool
    ):
        self.models = models
        self.callbacks: list[BaseCallback] = []
        for model, callback in zip(models, given, strict=True):
            self.total, ready = model._begin(total, callback, reset_num_timesteps, type(model).__name__)
            self.callbacks.append(ready)
        self.collectors: list[CompiledCollector] = [_collector(model) for model in models]
        self.run = _joint_run(models[0])

    def train(self, log_interval: int | None) -> None:
        """Train to the end, or until a callback asks to stop."""
        with deferring_handlers() as look_again:
            pairs = list(zip(self.models, self.callbacks, strict=True))
            for model, callback in pairs:
                model._start(model._collector)
                callback.on_training_start({"self": model, "total_timesteps": self.total}, {})
            iteration, goes_on = 0, True
            while goes_on and self.models[0].num_timesteps < self.total:
                look_again()
                n = min(model.quiet_iterations(callback, self.total) for model, callback in pairs)
                if n:
                    iteration += self._chunk(n, iteration, log_interval)
                    continue
                iteration += 1
                due = log_interval is not None and iteration % log_interval == 0
                for model, callback in pairs:  # all of them, also when one asks to stop
                    goes_on &= model._iterate(callback, self.total, iteration, due)
            for callback in self.callbacks:
                callback.on_training_end()

    def _chunk(self, n: int, iteration: int, log_interval: int | None) -> int:
        """Some of the next ``n`` iterations of every model, in one call; return their number."""
        for callback in self.callbacks:
            callback.on_rollout_start()
        first = self.models[0]
        end = first.num_timesteps + first.n_steps * first.n_envs
        rates = first.next_rates(n, self.total)
        with contextlib.ExitStack() as exchanges:
            for model in self.models:
                exchanges.enter_context(model._exchange)
            states = [model._agent_state for model in self.models]
            runners = _stack([c.runner(state) for c, state in zip(self.collectors, states, strict=True)])
            params = _stack([jax.tree.map(jnp.asarray, c.env.params) for c in self.collectors])
            ran = self.run(runners, params, rates)
            errors: list[BaseException] = []
            for i, model in enumerate(self.models):
                values = {name: value[:, i] for name, value in ran.values.items()}
                chunk: Chunk = Ran(_of(ran.runner, i), values, _of(ran.last, i)).chunk()
                updated = self.collectors[i].take(chunk, end)
                try:
                    model.take_iterations(self.callbacks[i], self.total, iteration, log_interval, updated)
                except BaseException as error:  # the other models are to be whole, too
                    errors.append(error)
        if errors:
            raise errors[0]
        return len(next(iter(ran.values.values())))
