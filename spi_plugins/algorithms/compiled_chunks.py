"""Many iterations in one call: what comes back are the metrics and the episodes, not the steps."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray

from spi_plugins.agents.on_policy import OnPolicyMetrics
from spi_plugins.agents.packed import Packed
from spi_plugins.agents.rollout import EnvStep, Runner
from spi_plugins.algorithms.devices import Devices, Place
from spi_plugins.types import PyTree

# Signals wait for a call to end.
_SECONDS = 0.5
MOST_ITERATIONS = 64  # in a call
WORTH_COMPILING = 16  # iterations ahead from which a program for many is compiled


class Iteration(NamedTuple):
    """What one iteration leaves for the host; of the steps, nothing."""

    packed: Packed
    episodes: dict[str, Array]  # [W] of the last episodes, the last one first
    n_episodes: Int[Array, ""]
    done: Bool[Array, " B"]  # of the last step
    finite: Bool[Array, "T B"]  # observations
    rewards_finite: Bool[Array, "T B"]
    costs_finite: Bool[Array, "T B"] | None = None  # with a constraint


class Chunk(NamedTuple):
    """Iterations that ran in one call; the last one may have failed."""

    runner: Runner
    metrics: list[OnPolicyMetrics]
    episodes: list[list[dict[str, Any]]]  # by iteration, the last ones in order
    n_episodes: list[int]
    last: Iteration  # on the device
    has_failed: bool  # the last one

    @property
    def n_good(self) -> int:
        """Iterations whose updates were made."""
        return len(self.metrics) - self.has_failed


class Ran(NamedTuple):
    """What a call returns."""

    runner: Runner
    values: dict[str, NDArray[Any]]  # of the iterations, ``[n, ...]``
    last: Iteration  # on the device

    def chunk(self) -> Chunk:
        """The iterations, as the host sees them."""
        values = dict(self.values)
        structure, counts, packed = self.last.packed.structure, values.pop("n_episodes"), values.pop("packed")
        metrics = [jax.tree.unflatten(structure, list(row)) for row in packed]
        window = next(iter(values.values())).shape[1]
        episodes = [
            [{key: x[i, j].item() for key, x in values.items()} for j in reversed(range(min(count, window)))]
            for i, count in enumerate(counts.tolist())
        ]
        failed = not np.isfinite(metrics[-1].loss)  # also where observations or rewards are not finite
        return Chunk(self.runner, metrics, episodes, counts.tolist(), self.last, failed)


def reduce_steps(steps: EnvStep, packed: Packed, finite: Array, window: int) -> Iteration:
    """The part of an iteration that is kept; of its episodes the last ``window``."""
    done = steps.terminated | steps.truncated
    from_the_end = done.reshape(-1)[::-1]
    index = done.size - 1 - jnp.flatnonzero(from_the_end, size=window, fill_value=0)
    episodes = {key: value.reshape(-1)[index] for key, value in steps.info["episode"].items()}
    costs_finite = None if steps.costs is None else jnp.all(jnp.isfinite(steps.costs), axis=-1)
    return Iteration(
        packed, episodes, jnp.sum(done), done[-1], finite, jnp.isfinite(steps.reward), costs_finite
    )


def runner_places(whole: Place, divided: Place) -> Runner:
    """Where several devices hold what an iteration carries on."""
    state: Any = whole
    return Runner(state, divided, divided)


def _places(whole: Place, divided: Place) -> Any:
    return runner_places(whole, divided), whole, whole, whole


class ChunkedRun:
    """Runs iterations until one fails, as many in a call as take about half a second.

    The number is not part of the program, which compiles once.

    Args:
        iterate: ``(runner, env_params, *rates) -> (runner, Iteration)``, pure.
        devices: where; JAX's choice for ``None``.
    """

    def __init__(self, iterate: Callable[..., tuple[Runner, Iteration]], devices: Devices | None = None):
        self._iterate = iterate
        if devices is None:
            self._run = jax.jit(self._loop, donate_argnums=0)
        else:
            self._run = devices.jit(self._loop, _places, donate_argnums=0)
        self._size = 1  # of the next call
        self.n_calls = 0

    def __call__(self, runner: Runner, env_params: PyTree, rates: Sequence[PyTree]) -> Ran:
        """Run at most ``len(rates)`` iterations; ``rates`` are the arguments of each. Donates ``runner``."""
        n = min(len(rates), self._size)
        start = time.monotonic()
        runner, done, kept, last = self._run(runner, env_params, _padded(rates[:n]), np.int32(n))
        n_done = int(done)
        values = {name: np.asarray(value)[:n_done] for name, value in kept.items()}
        if self.n_calls:  # the first one compiles
            each = (time.monotonic() - start) / max(n_done, 1)
            self._size = int(np.clip(_SECONDS / max(each, 1e-6), 1, min(MOST_ITERATIONS, 2 * self._size + 2)))
        self.n_calls += 1
        if jax.process_count() > 1:  # their clocks differ, their programs must not
            self._size = int(multihost_utils.broadcast_one_to_all(np.int32(self._size)))
        return Ran(runner, values, last)

    def memory(self, runner: Runner, env_params: PyTree, rates: PyTree) -> int | None:
        """Bytes that a call takes on the device, by XLA's plan; ``None`` where the backend does not tell.

        Compiles the program. ``runner`` and ``env_params`` may be shapes; nothing is allocated or donated.
        """
        plan = self._run.lower(runner, env_params, _padded([rates]), np.int32(1)).compile().memory_analysis()
        if plan is None:
            return None
        results = plan.output_size_in_bytes - plan.alias_size_in_bytes
        return int(plan.argument_size_in_bytes + results + plan.temp_size_in_bytes)

    def _loop(
        self, runner: Runner, env_params: PyTree, rates: PyTree, n: Int[Array, ""]
    ) -> tuple[Runner, Array, dict[str, Array], Iteration]:
        def rate(i: Array | int) -> PyTree:
            return jax.tree.map(lambda x: x[i], rates)

        structures = []

        def leaves(runner: Runner) -> list[Array]:
            flat, structure = jax.tree.flatten(self._iterate(runner, env_params, *rate(0))[1])
            structures.append(structure)
            return flat

        zeros = [jnp.zeros(x.shape, x.dtype) for x in jax.eval_shape(leaves, runner)]
        last: Iteration = jax.tree.unflatten(structures[0], zeros)
        kept = {name: jnp.zeros((MOST_ITERATIONS, *x.shape), x.dtype) for name, x in _kept(last).items()}

        def goes_on(carry: tuple[Array, Array, Runner, dict[str, Array], Iteration]) -> Array:
            return (carry[0] < n) & ~carry[1]

        def body(carry: tuple[Array, Array, Runner, dict[str, Array], Iteration]) -> Any:
            i, _, runner, kept, _ = carry
            runner, iteration = self._iterate(runner, env_params, *rate(i))
            kept = {name: kept[name].at[i].set(x) for name, x in _kept(iteration).items()}
            return i + 1, _has_failed(iteration), runner, kept, iteration

        start = (jnp.int32(0), jnp.asarray(False), runner, kept, last)
        done, _, runner, kept, last = jax.lax.while_loop(goes_on, body, start)
        return runner, done, kept, last


def _padded(rates: Sequence[PyTree]) -> PyTree:
    """``[MOST_ITERATIONS, ...]``: the program is the same for any number of iterations."""
    padded = [*rates, *[rates[0]] * (MOST_ITERATIONS - len(rates))]
    return jax.tree.map(lambda *each: np.stack(each), *padded)


def _kept(iteration: Iteration) -> dict[str, Float[Array, "..."]]:
    return {
        "packed": iteration.packed.values,
        "n_episodes": iteration.n_episodes,
        **iteration.episodes,
    }


def _has_failed(iteration: Iteration) -> Array:
    """Whether the update was refused: then its loss is NaN."""
    packed = iteration.packed
    names: OnPolicyMetrics = jax.tree.unflatten(packed.structure, list(range(packed.values.shape[-1])))
    return jnp.any(~jnp.isfinite(packed.values[..., int(names.loss)]))
