"""Loads a saved model and plays episodes with it."""

import contextlib
import copy
import importlib
import pathlib
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from spi_plugins import get_algorithm, plugins
from spi_plugins.algorithms.base import JaxAlgorithm
from spi_plugins.algorithms.model_file import read_model_file
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.algorithms.normalization import has_observations, restore_statistics
from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask
from spi_plugins.cli.environments import around_copies, build_env
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.cli.statistics_file import load_statistics
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe

# Copies to evaluate in; more would only wait longer for the longest episode.
MOST_COPIES = 8


def find_algorithm(name: str) -> type[BaseAlgorithm]:
    """The algorithm class registered under ``name``.

    Raises:
        UnknownPluginError: there is no such algorithm.
        CommandError: what its plugin registered is not an algorithm.
    """
    cls = get_algorithm(name)
    if not (isinstance(cls, type) and issubclass(cls, BaseAlgorithm)):
        owner = plugins.registry("algorithms").get(name).owner
        raise CommandError(
            f"The algorithm {name!r} of {owner} must be a subclass of BaseAlgorithm, got {cls!r}."
        )
    return cls


def load_model(
    algorithm: str, path: pathlib.Path, env: Any = None, *, trusted: bool, device: str | None = None
) -> BaseAlgorithm:
    """Load a model file.

    Args:
        algorithm: its registered name.
        path: the file.
        env: to continue training in.
        trusted: whether the file may run code: Stable-Baselines3's own algorithms unpickle theirs.
        device: where it runs; ``None`` for the default.

    Raises:
        UnknownPluginError: there is no such algorithm.
        CommandError: it cannot load the file, or would run code from it.
    """
    cls = find_algorithm(algorithm)
    if not (trusted or issubclass(cls, StoredAlgorithm)):
        raise CommandError(
            f"{algorithm} unpickles its model files, which can run code; if you trust {path}, add --trust-imports."
        )
    try:
        with warnings.catch_warnings():
            # SB3 seeds what it loads as in the first run; a pool that continues has another seed on purpose.
            warnings.filterwarnings("ignore", message="EnvPool fixes seeds", category=UserWarning)
            return cls.load(path, env=env, device=device or "auto")
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise CommandError(f"{algorithm} cannot load {path}: {describe(error)}") from error


def evaluate(algorithm: str, path: pathlib.Path, task: EvaluationTask, *, trusted: bool) -> Evaluation:
    """Play episodes with a saved model; ``trusted`` says whether its file may run code.

    Raises:
        UnknownPluginError: there is no such algorithm or environment.
        CommandError: the model or the environment cannot be used.
        RunError: the environment or the model failed while playing.
    """
    model = load_model(algorithm, path, trusted=trusted)
    env = open_env_of(model, path, task)
    try:
        return play(model, env, task)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunError(
            f"The evaluation of {path} on {task.recipe.env!r} failed: {describe(error)}"
        ) from error
    finally:
        env.close()


def open_env_of(model: BaseAlgorithm, path: pathlib.Path, task: EvaluationTask) -> VecEnv:
    """The environment of a model that was loaded from a file, as it was in training: see ``open_env``.

    The caller closes it.

    Raises:
        SPIError: as ``open_env``.
    """
    file = read_model_file(path) if isinstance(model, StoredAlgorithm) else None
    recipe = task.recipe
    if recipe.normalize is None and file is not None and has_observations(file):
        recipe = recipe._replace(normalize={})  # trained under VecNormalize in Python
    env = open_env(model, task._replace(recipe=recipe))
    normalization = unwrap_vec_normalize(env)
    if normalization is not None and file is not None:
        restore_statistics(normalization, file, exact=False)
    elif normalization is not None:
        load_statistics(normalization, path)
    return env


def open_env(model: BaseAlgorithm, task: EvaluationTask) -> VecEnv:
    """The environment to play in, whose rewards are not normalized and whose statistics stand still.

    Raises:
        SPIError: it cannot be made, or the model does not fit it.
    """
    recipe = task.recipe
    copies = task.n_envs or min(task.n_episodes, MOST_COPIES)
    env = build_env(recipe, n_envs=copies, seed=task.seed, for_step_rows=True)
    try:
        normalize = None
        if recipe.normalize is not None and recipe.normalize.get("norm_obs", True):
            normalize = {**recipe.normalize, "norm_reward": False, "training": False}
        env = around_copies(env, normalize, recipe.frame_stack)
        if hasattr(model, "wrap_env") and not _fits(model.observation_space, env.observation_space):
            env = model.wrap_env(env)  # the algorithm adds to the observations
        _check_spaces(model, env, recipe)
    except BaseException:
        env.close()
        raise
    return env


def follow_statistics(env: VecEnv, training_env: VecNormalize | None) -> None:
    """Give an environment of ``open_env`` the statistics of the observations in training."""
    normalization = unwrap_vec_normalize(env)
    if normalization is not None and training_env is not None:
        normalization.obs_rms = copy.deepcopy(training_env.obs_rms)


def play(model: BaseAlgorithm, env: VecEnv, task: EvaluationTask) -> Evaluation:
    """Play new episodes, without a trace in the model's or any global random numbers."""
    deterministic = task.deterministic
    if deterministic is None:
        deterministic = default_policy(env) != "CnnPolicy"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="EnvPool fixes seeds", category=UserWarning)
        env.seed(task.seed)
    successes: list[Any] = []

    def note_success(info: Mapping[str, Any]) -> None:
        if info.get("is_success") is not None:
            successes.append(info["is_success"])

    # By name, because integrations stand above the core.
    integration = importlib.import_module("spi_integrations.stable_baselines3.evaluation")
    with _own_randomness(model, task.seed):
        played = integration.evaluate_policy_with_cost(
            model,
            env,
            task.n_episodes,
            deterministic=deterministic,
            require_cost=False,
            on_episode=note_success,
        )
    return Evaluation.of(
        played,
        successes,
        cost_limit_of(model, task.cost_limit),
        deterministic=deterministic,
        seed=task.seed,
        num_timesteps=model.num_timesteps,
    )


def cost_limit_of(model: BaseAlgorithm, given: float | None) -> float | None:
    """The limit of an episode's mean cost: the given one, or else the algorithm's own.

    An algorithm whose ``cost_limit`` is of something else has an ``episode_cost_limit`` of ``None``.
    """
    if given is not None:
        return given
    own = getattr(model, "episode_cost_limit", getattr(model, "cost_limit", None))
    return float(own) if isinstance(own, int | float) else None


@contextlib.contextmanager
def _own_randomness(model: BaseAlgorithm, seed: int) -> Iterator[None]:
    """Sample from a seed, and put all generators back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - SB3's
    try:
        with (
            torch.random.fork_rng(),
            model.predicting_from(seed) if isinstance(model, JaxAlgorithm) else contextlib.nullcontext(),
        ):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _check_spaces(model: BaseAlgorithm, env: VecEnv, recipe: EnvRecipe) -> None:
    for what in ("action_space", "observation_space"):
        asked, given = getattr(model, what), getattr(env, what)
        if not _fits(asked, given):
            raise CommandError(f"The model's {what} is {asked}, but {recipe.env!r} has {given}.")


def _fits(asked: spaces.Space[Any], given: spaces.Space[Any]) -> bool:
    """Whether arrays have the same layout. Bounds and the order of an image's axes, which SB3 changes, may differ."""
    if isinstance(asked, spaces.Dict) and isinstance(given, spaces.Dict):
        return asked.keys() == given.keys() and all(_fits(asked[key], given[key]) for key in asked)
    if isinstance(asked, spaces.Box) and isinstance(given, spaces.Box):
        return sorted(asked.shape) == sorted(given.shape) and asked.dtype == given.dtype
    return asked == given
