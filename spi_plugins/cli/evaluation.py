"""Loads a saved model and plays episodes with it."""

import pathlib
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import get_algorithm
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.environments import build_env, default_policy
from spi_plugins.errors import SPIError

# Evaluation never sees the episodes of training: its seeds are this far away.
SEED_OFFSET = 1_000_003
# Copies to evaluate in; more would favor short episodes no less, and wait for the longest.
MOST_COPIES = 8


class EvaluationTask(NamedTuple):
    """What to play. ``env_kwargs`` and ``seed`` are those of the evaluation's own environment.

    ``deterministic=None`` samples actions where observations are images, and else takes the most likely ones,
    after the RL Zoo: in an Atari game a deterministic policy that is stuck stays so until the time limit.
    """

    env: str
    env_kwargs: Mapping[str, Any]
    n_episodes: int
    deterministic: bool | None
    seed: int


class Evaluation(NamedTuple):
    """Undiscounted returns and lengths of the episodes, and how they were played."""

    mean_return: float
    std_return: float
    mean_length: float
    returns: list[float]
    lengths: list[int]
    n_episodes: int
    deterministic: bool
    seed: int
    num_timesteps: int

    def __str__(self) -> str:
        how = "deterministic" if self.deterministic else "stochastic"
        return (
            f"Return {self.mean_return:.2f} +- {self.std_return:.2f} over {self.n_episodes} {how} "
            f"{'episode' if self.n_episodes == 1 else 'episodes'} of {self.mean_length:.0f} steps on average"
        )


def load_model(algorithm: str, path: pathlib.Path, env: Any = None) -> BaseAlgorithm:
    """Load a model file.

    Raises:
        UnknownPluginError: there is no such algorithm.
        CommandError: the file cannot be loaded by it.
    """
    cls = get_algorithm(algorithm)
    try:
        with warnings.catch_warnings():
            # SB3 seeds what it loads as in the first run; a pool that goes on has another seed, on purpose.
            warnings.filterwarnings("ignore", message="EnvPool fixes seeds", category=UserWarning)
            return cls.load(path, env=env)
    except SPIError:
        raise
    except Exception as error:
        raise CommandError(f"{algorithm} cannot load {path}: {type(error).__name__}: {error}") from error


def evaluate(algorithm: str, path: pathlib.Path, task: EvaluationTask) -> Evaluation:
    """Play episodes with a saved model.

    Raises:
        UnknownPluginError: there is no such algorithm or environment.
        CommandError: the model or the environment cannot be used.
    """
    copies = min(task.n_episodes, MOST_COPIES)
    env = build_env(task.env, n_envs=copies, seed=task.seed, env_kwargs=task.env_kwargs)
    try:
        model = load_model(algorithm, path)
        _check_spaces(model, env, task.env)
        deterministic = task.deterministic
        if deterministic is None:
            deterministic = default_policy(env) != "CnnPolicy"
        with warnings.catch_warnings():
            # An environment of a third party may come without a monitor; its raw returns are right then.
            warnings.filterwarnings(
                "ignore", message="Evaluation environment is not wrapped", category=UserWarning
            )
            results: Any = evaluate_policy(
                model,
                env,
                n_eval_episodes=task.n_episodes,
                deterministic=deterministic,
                return_episode_rewards=True,
            )
    finally:
        env.close()
    returns, lengths = results
    return Evaluation(
        mean_return=float(np.mean(returns)),
        std_return=float(np.std(returns)),
        mean_length=float(np.mean(lengths)),
        returns=[float(value) for value in returns],
        lengths=[int(value) for value in lengths],
        n_episodes=len(returns),
        deterministic=deterministic,
        seed=task.seed,
        num_timesteps=model.num_timesteps,
    )


def _check_spaces(model: BaseAlgorithm, env: VecEnv, name: str) -> None:
    for what in ("action_space", "observation_space"):
        asked, given = getattr(model, what), getattr(env, what)
        if not _fits(asked, given):
            raise CommandError(f"The model's {what} is {asked}, but {name!r} has {given}.")


def _fits(asked: spaces.Space[Any], given: spaces.Space[Any]) -> bool:
    """Whether arrays are alike. Bounds may differ, and the order of an image's axes, which SB3 changes."""
    if isinstance(asked, spaces.Dict) and isinstance(given, spaces.Dict):
        return asked.keys() == given.keys() and all(_fits(asked[key], given[key]) for key in asked)
    if isinstance(asked, spaces.Box) and isinstance(given, spaces.Box):
        return sorted(asked.shape) == sorted(given.shape) and asked.dtype == given.dtype
    return asked == given
