"""Loads a saved model and plays episodes with it."""

import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import get_algorithm, plugins
from spi_plugins.algorithms.action_masks import with_masks
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.environments import build_env
from spi_plugins.cli.run_folder import EvaluationTask
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe

# Copies to evaluate in; more would only wait longer for the longest episode.
MOST_COPIES = 8


class Evaluation(NamedTuple):
    """The episodes' undiscounted returns and lengths, and how they were played."""

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
    copies = min(task.n_episodes, MOST_COPIES)
    env = build_env(task.env, n_envs=copies, seed=task.seed, env_kwargs=task.env_kwargs)
    try:
        model = load_model(algorithm, path, trusted=trusted)
        _check_spaces(model, env, task.env)
        deterministic = task.deterministic
        if deterministic is None:
            deterministic = default_policy(env) != "CnnPolicy"
        with warnings.catch_warnings():
            # A third party's environment may have no monitor; its raw returns are correct then.
            warnings.filterwarnings(
                "ignore", message="Evaluation environment is not wrapped", category=UserWarning
            )
            results: Any = evaluate_policy(
                with_masks(model, env),
                env,
                n_eval_episodes=task.n_episodes,
                deterministic=deterministic,
                return_episode_rewards=True,
            )
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunError(f"The evaluation of {path} on {task.env!r} failed: {describe(error)}") from error
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
    """Whether arrays have the same layout. Bounds and the order of an image's axes, which SB3 changes, may differ."""
    if isinstance(asked, spaces.Dict) and isinstance(given, spaces.Dict):
        return asked.keys() == given.keys() and all(_fits(asked[key], given[key]) for key in asked)
    if isinstance(asked, spaces.Box) and isinstance(given, spaces.Box):
        return sorted(asked.shape) == sorted(given.shape) and asked.dtype == given.dtype
    return asked == given
