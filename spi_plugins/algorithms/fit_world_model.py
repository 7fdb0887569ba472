"""``fit_world_model``: a world model of any environment from any policy's steps."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from spi_plugins import buffers, plugins
from spi_plugins.algorithms.compile_cache import keep_compiled_programs
from spi_plugins.algorithms.compile_notice import announcing_compilation
from spi_plugins.algorithms.environments import prepare_env
from spi_plugins.algorithms.experience import Predicts, gather
from spi_plugins.algorithms.progress_bar import ProgressBar
from spi_plugins.buffers import Buffer
from spi_plugins.checks import as_integer, check_integer, check_number
from spi_plugins.dreams.file import Experience, StoredWorldModel, store_world_model
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.fitting.fit import fit, require_learner
from spi_plugins.fitting.open_loop import open_loop
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.model import WorldModel

# A report's longest prediction, in steps, and the windows that it averages over.
_REPORT_STEPS = 15
_REPORT_WINDOWS = 512
# The registered "deep_mdp" is an agent's model, which cannot be fitted here: whoever asks for it means the ensemble.
_FITTED_ALONE = {"deep_mdp": "ensemble"}


def fit_world_model(
    env: Any,
    policy: Predicts | None = None,
    *,
    n_steps: int = 20_000,
    kind: str = "ensemble",
    n_updates: int = 5_000,
    learning_rate: float = 1e-3,
    n_envs: int | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    progress_bar: bool = False,
    **settings: Any,
) -> StoredWorldModel:
    """Step an environment, and fit a world model to the steps.

    Args:
        env: whatever the algorithms take: a Gymnasium ``Env``, id or ``VectorEnv``, an SB3 ``VecEnv``, a functional
            environment. If every step has ``info["cost"]``, the model learns it.
        policy: chooses the actions, stochastically: anything with SB3's ``predict``. Uniform actions by default.
        n_steps: environment steps, all copies together.
        kind: ``"ensemble"``, an ensemble with termination and a decoder, for any action; ``"tdmpc"``, SPOWL's
            implicit model for actions in a ``Box``, with policy and critics, without termination; or a plugin's.
        n_updates: gradient steps.
        learning_rate: of the gradient steps.
        n_envs: copies to make of a functional environment (default 128) or an id (default 1).
        held_out: share of each copy's steps, its last ones, kept for the report.
        seed: of environment, actions and networks.
        progress_bar: show one; needs ``spi-plugins[cli]``.
        **settings: of the kind, for example ``n_members=3``.

    Returns:
        The model, ready for dreams and for ``save``. Its ``report`` has the last losses, and the errors of
        predictions 1 to 15 steps ahead on the held-out steps.

    Raises:
        UnknownPluginError: the kind is not registered.
        ValueError: an argument or setting is out of range, the environment returns NaN, or reports
            costs only sometimes.
    """
    n_steps, n_updates = as_integer("n_steps", n_steps, low=1), as_integer("n_updates", n_updates, low=1)
    check_integer("seed", seed, low=0)
    check_number("learning_rate", learning_rate, low=0.0, open_low=True)
    check_number("held_out", held_out, low=0.0, high=0.9)
    kind = plugins.current_name("world model", kind, _FITTED_ALONE)
    factory = plugins.resolve("world_models", kind)
    keep_compiled_programs()
    announcing = functools.partial(announcing_compilation, f"fit_world_model {kind}", shown=progress_bar)
    owned = not hasattr(env, "step")
    vec_env = prepare_env(env, n_envs, seed)
    try:
        spaces = (vec_env.observation_space, vec_env.action_space)
        observations, actions = observation_spec(spaces[0]), action_spec(spaces[1])
        # Wrong settings are reported before anything is stepped.
        require_learner(factory(observations, actions, **settings))
        with announcing(), _bar("stepping", "fps", n_steps, progress_bar) as show:
            gathered = gather(vec_env, policy, n_steps, seed, lambda done: show(done, {}))
    finally:
        if owned:
            vec_env.close()
    if gathered.has_costs:
        settings.setdefault("n_costs", 1 if kind == "ensemble" else 5)
    elif settings.get("n_costs"):
        raise EnvironmentNotSupportedError(
            f"n_costs={settings['n_costs']} needs info['cost'] at every step; this environment does not report it."
        )
    world = factory(observations, actions, **settings)
    train, rest = gathered.buffers(held_out)
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
    returns = gathered.episode_returns
    report = {
        "policy": "uniform" if policy is None else type(policy).__name__,
        "n_steps": n_steps,
        "n_episodes": len(returns),
        "mean_return": float(np.mean(returns)) if returns else None,
        "seed": seed,
        "n_updates": n_updates,
        "learning_rate": learning_rate,
        "losses": losses,
        "held_out": errors,
    }
    return store_world_model(world, params, spaces, Experience(*gathered.observations()), report)


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
