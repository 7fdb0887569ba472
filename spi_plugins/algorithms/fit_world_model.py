"""``fit_world_model``: a world model of any environment from any policy's steps."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium import spaces

from spi_plugins import buffers, plugins
from spi_plugins.algorithms.compile_cache import keep_compiled_programs
from spi_plugins.algorithms.compile_notice import announcing_compilation
from spi_plugins.algorithms.environments import prepare_env
from spi_plugins.algorithms.experience import Gathered, Predicts, gather
from spi_plugins.algorithms.minari_data import open_dataset, read_episodes, spaces_of
from spi_plugins.algorithms.progress_bar import ProgressBar
from spi_plugins.buffers import Buffer
from spi_plugins.checks import as_integer, check_integer, check_number
from spi_plugins.dreams.file import Experience, StoredWorldModel, store_world_model
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.fitting.fit import fit, require_learner
from spi_plugins.fitting.open_loop import open_loop
from spi_plugins.fitting.randomness import find_randomness
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.model import FittedModel, WorldModel

# A report's longest prediction, in steps, and the windows that it averages over.
_REPORT_STEPS = 15
_REPORT_WINDOWS = 512
_STEPS = 20_000  # of an environment by default
# The registered "deep_mdp" is an agent's model, which cannot be fitted here: whoever asks for it means the ensemble.
_FITTED_ALONE = {"deep_mdp": "ensemble"}


def fit_world_model(
    env: Any = None,
    policy: Predicts | None = None,
    *,
    dataset: Any = None,
    n_steps: int | None = None,
    kind: str = "ensemble",
    n_updates: int = 5_000,
    learning_rate: float = 1e-3,
    n_envs: int | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    progress_bar: bool = False,
    **settings: Any,
) -> StoredWorldModel:
    """Step an environment or read a dataset, and fit a world model to the steps.

    Args:
        env: whatever the algorithms take: a Gymnasium ``Env``, id or ``VectorEnv``, an SB3 ``VecEnv``, a functional
            environment. If every step has ``info["cost"]``, the model learns it.
        policy: chooses the actions, stochastically: anything with SB3's ``predict``. Uniform actions by default.
        dataset: instead of an environment, a Minari dataset, its id or its folder; it must be on this machine. Costs
            are those of ``infos["cost"]``. Needs ``spi-plugins[minari]``.
        n_steps: environment steps, all copies together, by default 20,000; of a dataset, at most so many, by default
            all.
        kind: ``"ensemble"``, an ensemble with termination and a decoder, for any action; ``"tdmpc"``, SPOWL's
            implicit model for actions in a ``Box``, with policy and critics, without termination; or a plugin's.
        n_updates: gradient steps.
        learning_rate: of the gradient steps.
        n_envs: copies to make of a functional environment (default 128) or an id (default 1).
        held_out: share of each copy's steps, its last ones, kept for the report; of a dataset, of its shuffled
            episodes.
        seed: of environment, actions, networks and the order of a dataset's episodes.
        progress_bar: show one; needs ``spi-plugins[cli]``.
        **settings: of the kind, for example ``n_members=3``. Of an ensemble, ``transition_density`` says how the
            next state is drawn: ``"categorical"`` for discrete observations (their default), ``"mixture"`` for numbers
            in a world with chance, ``"normal"``, or ``"deterministic"`` (the default for numbers).

    Returns:
        The model, ready for dreams and for ``save``. Its ``report`` has the last losses, the errors of predictions 1
        to 15 steps ahead on the held-out steps, and whether the world looks random and the model's draws show it.

    Raises:
        UnknownPluginError: the kind is not registered.
        ValueError: an argument or setting is out of range, the environment returns NaN, or reports
            costs only sometimes.
    """
    n_updates = as_integer("n_updates", n_updates, low=1)
    if n_steps is not None:
        n_steps = as_integer("n_steps", n_steps, low=1)
    check_integer("seed", seed, low=0)
    check_number("learning_rate", learning_rate, low=0.0, open_low=True)
    check_number("held_out", held_out, low=0.0, high=0.9)
    if (env is None) == (dataset is None):
        raise ValueError("Give env or dataset: one of them, not both.")
    kind = plugins.current_name("world model", kind, _FITTED_ALONE)
    factory = plugins.resolve("world_models", kind)
    keep_compiled_programs()
    announcing = functools.partial(announcing_compilation, f"fit_world_model {kind}", shown=progress_bar)

    def check(observations: Any, actions: Any) -> None:
        require_learner(factory(observation_spec(observations), action_spec(actions), **settings))

    if dataset is None:
        with announcing():
            seen = _step(env, policy, n_steps or _STEPS, n_envs, seed, check, progress_bar)
    elif policy is not None or n_envs is not None:
        raise ValueError("policy and n_envs are of an environment, and dataset has neither.")
    else:
        seen = _read(dataset, n_steps, seed, check)
    if seen.steps.has_costs:
        settings.setdefault("n_costs", 1 if kind == "ensemble" else 5)
    elif settings.get("n_costs"):
        raise EnvironmentNotSupportedError(
            f"n_costs={settings['n_costs']} needs info['cost'] at every step; the steps do not have it."
        )
    actions = action_spec(seen.spaces[1])
    world = factory(observation_spec(seen.spaces[0]), actions, **settings)
    train, rest = seen.steps.buffers(held_out)
    with announcing(), _bar("fitting", "updates/s", n_updates, progress_bar) as show:
        params, losses = fit(
            world,
            train,
            jax.random.key(seed),
            n_updates=n_updates,
            learning_rate=learning_rate,
            on_progress=show,
        )
    with announcing():
        errors = held_out_errors(world, params, actions, rest, seed)
        fitted = FittedModel(world.model, params, observation_spec(seen.spaces[0]), actions)
        randomness = find_randomness(fitted, train, rest, seed)
    returns = seen.steps.episode_returns
    report = {
        **seen.origin,
        "n_episodes": len(returns),
        "mean_return": float(np.mean(returns)) if returns else None,
        "seed": seed,
        "n_updates": n_updates,
        "learning_rate": learning_rate,
        "losses": losses,
        "held_out": errors,
        "randomness": None if randomness is None else randomness._asdict(),
    }
    return store_world_model(world, params, seen.spaces, Experience(*seen.steps.observations()), report)


class _Seen(NamedTuple):
    """What a model is fitted to."""

    steps: Gathered
    spaces: tuple[spaces.Space[Any], spaces.Space[Any]]
    origin: dict[str, Any]  # what the report says about it


def _step(
    env: Any,
    policy: Predicts | None,
    n_steps: int,
    n_envs: int | None,
    seed: int,
    check: Callable[[Any, Any], None],
    shown: bool,
) -> _Seen:
    """Step an environment; ``check`` refuses wrong settings before anything is stepped."""
    owned = not hasattr(env, "step")
    vec_env = prepare_env(env, n_envs, seed)
    try:
        check(vec_env.observation_space, vec_env.action_space)
        with _bar("stepping", "fps", n_steps, shown) as show:
            steps = gather(vec_env, policy, n_steps, seed, lambda done: show(done, {}))
    finally:
        if owned:
            vec_env.close()
    name = "uniform" if policy is None else type(policy).__name__
    origin = {"policy": name, "n_steps": n_steps}
    return _Seen(steps, (vec_env.observation_space, vec_env.action_space), origin)


def _read(dataset: Any, n_steps: int | None, seed: int, check: Callable[[Any, Any], None]) -> _Seen:
    """Read a dataset."""
    opened = open_dataset(dataset)
    both = spaces_of(opened)
    check(*both)
    steps = read_episodes(opened, n_steps, seed)
    return _Seen(steps, both, {"dataset": str(opened.id), "n_steps": int(steps.slots.valid.sum())})


def held_out_errors(
    world: WorldModel, params: Params, actions: ActionSpec, rest: Buffer, seed: int
) -> dict[str, list[float]] | None:
    """Errors of predictions 1 to 15 steps ahead on held-out steps; ``None`` if there are too few."""
    steps = min(_REPORT_STEPS, int(rest.size.max()) - 1)
    if steps < 1:
        return None
    windows = buffers.sample(rest, jax.random.key(seed), _REPORT_WINDOWS, steps)
    errors = jax.jit(lambda params, windows: open_loop(world.model, params, actions, windows))(
        params, windows
    )
    return {
        name: np.asarray(values, np.float64).round(6).tolist() for name, values in errors._asdict().items()
    }


@contextlib.contextmanager
def _bar(title: str, unit: str, total: int, shown: bool) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A progress bar, or nothing."""
    if not shown:
        yield lambda done, losses: None
        return
    with ProgressBar(title, total, unit) as bar:
        yield lambda done, losses: bar.report(
            done, {name.removesuffix("_loss"): f"{value:.2g}" for name, value in losses.items()}
        )
