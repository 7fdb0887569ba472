"""From the arguments of ``spi train`` to a model that is ready to learn, and the folder of its run."""

import argparse
import contextlib
import dataclasses
import inspect
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import get_callback, plugins
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.cli.arguments import CommandError, parse_pairs
from spi_plugins.cli.declarations import parameters
from spi_plugins.cli.env_recipe import EnvRecipe
from spi_plugins.cli.environments import around_copies, build_env
from spi_plugins.cli.evaluation import cost_limit_of, find_algorithm, load_model, open_env
from spi_plugins.cli.processes import own_copy
from spi_plugins.cli.requests import DEFAULT_FOLDER
from spi_plugins.cli.run_folder import (
    RunConfig,
    RunFolder,
    locate_model,
    model_of_replay,
    new_run_folder,
    statistics_of,
)
from spi_plugins.cli.statistics_file import resume_statistics
from spi_plugins.cli.train_options import environment
from spi_plugins.cli.training_evaluation import Judge
from spi_plugins.errors import SPIError
from spi_plugins.hyperparameters import Hyperparameter
from spi_plugins.plugins.registry import describe

CHECKPOINTS_PER_RUN = 10


class Preparation(NamedTuple):
    """A run that is ready to start."""

    model: BaseAlgorithm  # with its environment
    config: RunConfig  # what to write into the folder
    folder: RunFolder  # exists already
    n_timesteps: int  # steps to take from here on
    resumed: bool  # whether ``model`` keeps counting from where it was
    callbacks: list[BaseCallback]  # those that the user named
    evaluation_env: VecEnv | None  # to evaluate in during training, if that is asked for
    judge: Judge | None = None  # ends training early, at one of these evaluations


def prepare(args: argparse.Namespace) -> Preparation:
    """Build or load the model for words that ``check_train`` let pass; nothing is written until that has succeeded.

    Raises:
        SPIError: the environment, the model or a callback cannot be made as asked.
    """
    if args.resume is None:
        return _prepare_new(args)
    path, folder = locate_model(args.resume)
    return _prepare_loose_file(args, path) if folder is None else _prepare_resumed(args, path, folder)


def _prepare_new(args: argparse.Namespace) -> Preparation:
    cls = find_algorithm(args.algo)
    hyperparameters = args.values | ({} if args.device is None else {"device": args.device})
    _check_hyperparameters(cls, hyperparameters)
    recipe = environment.recipe(args)
    seed = args.seed or 0
    env = _training_env(recipe, n_envs=args.n_envs, seed=seed)
    policy = args.policy or default_policy(env)
    model = _construct(cls, policy, env, {"seed": seed, "verbose": args.verbose, **hyperparameters})
    config = RunConfig(
        algorithm=args.algo,
        policy=policy,
        **recipe._asdict(),
        n_envs=env.num_envs,
        seed=seed,
        n_timesteps=args.n_timesteps,
        hyperparameters=hyperparameters,
        preset=args.preset,
    )
    return _ready(args, model, config, args.n_timesteps)


def _prepare_resumed(args: argparse.Namespace, path: pathlib.Path, folder: RunFolder) -> Preparation:
    config = folder.read_config()
    if args.resume.is_dir() and config.save_replay_buffer:
        path = model_of_replay(folder, path)
    # Loaded twice: the environment's seed depends on the steps taken, or its first episodes would be repeated.
    trusted = args.trust_imports
    seed = (config.seed + load_model(config.algorithm, path, trusted=trusted).num_timesteps) % 2**31
    env = _training_env(config.recipe, n_envs=config.n_envs, seed=seed)
    model = load_model(config.algorithm, path, env, trusted=trusted, device=args.device)
    resume_statistics(model, path)
    if folder.replay.is_file() and hasattr(model, "load_replay_buffer"):
        model.load_replay_buffer(folder.replay)
    missing = config.n_timesteps - model.num_timesteps
    n_timesteps = args.n_timesteps or missing
    if n_timesteps <= 0 and folder.awaits_evaluation(config):
        n_timesteps = 0
    elif n_timesteps <= 0:
        raise CommandError(
            f"{path} has taken all of its {config.n_timesteps} steps; say how many more with -n."
        )
    config = dataclasses.replace(config, n_timesteps=model.num_timesteps + n_timesteps)
    return _ready(args, model, config, n_timesteps, RunFolder(own_copy(args, folder.path)))


def _prepare_loose_file(args: argparse.Namespace, path: pathlib.Path) -> Preparation:
    """Start a new run from a model file that does not belong to one."""
    recipe = environment.recipe(args)
    alone = load_model(args.algo, path, trusted=args.trust_imports)
    seed = alone.seed or 0
    env = _training_env(recipe, n_envs=args.n_envs or alone.n_envs, seed=seed)
    model = load_model(args.algo, path, env, trusted=args.trust_imports, device=args.device)
    if statistics_of(path).is_file():
        resume_statistics(model, path)
    config = RunConfig(
        algorithm=args.algo,
        policy=type(model.policy).__name__,
        **recipe._asdict(),
        n_envs=env.num_envs,
        seed=seed,
        n_timesteps=model.num_timesteps + args.n_timesteps,
        hyperparameters={},
        resumed_from=str(path),
    )
    return _ready(args, model, config, args.n_timesteps)


def _ready(
    args: argparse.Namespace,
    model: BaseAlgorithm,
    config: RunConfig,
    n_timesteps: int,
    folder: RunFolder | None = None,
) -> Preparation:
    """Apply the remaining options, and make the run's folder last of all unless it exists."""
    config = _with_run_options(config, args)
    config = dataclasses.replace(config, eval_cost_limit=cost_limit_of(model, config.eval_cost_limit))
    _share_discount(model, config)
    callbacks = _build_callbacks(config)
    evaluation_env = open_env(model, config.evaluation_task()) if config.eval_freq else None
    if folder is None and args.group is not None:
        folder = args.group.start(config.seed)
    elif folder is None:
        folder = new_run_folder(args.log_folder or DEFAULT_FOLDER, config.algorithm, config.env)
    return Preparation(model, config, folder, n_timesteps, args.resume is not None, callbacks, evaluation_env)


def _training_env(recipe: EnvRecipe, *, n_envs: int | None, seed: int) -> VecEnv:
    return around_copies(build_env(recipe, n_envs=n_envs, seed=seed), recipe.normalize, recipe.frame_stack)


def _share_discount(model: BaseAlgorithm, config: RunConfig) -> None:
    """Normalize returns that are discounted as the algorithm discounts, unless the user said otherwise."""
    env, gamma = model.get_vec_normalize_env(), getattr(model, "gamma", None)
    if env is not None and isinstance(gamma, float) and "gamma" not in (config.normalize or {}):
        env.gamma = gamma


def _with_run_options(config: RunConfig, args: argparse.Namespace) -> RunConfig:
    """The options that may differ between the parts of a run."""
    changes: dict[str, Any] = {}
    if args.callback is not None:
        changes["callbacks"] = [(name, parse_pairs("--callback", rest)) for name, *rest in args.callback]
    if args.save_freq is not None:
        changes["save_freq"] = args.save_freq
    elif not config.save_freq and args.resume is None:
        changes["save_freq"] = max(args.n_timesteps // CHECKPOINTS_PER_RUN, 1)
    own = {
        "eval_freq": args.eval_freq,
        "eval_episodes": args.eval_episodes,
        "n_eval_envs": args.n_eval_envs,
        "eval_cost_limit": args.eval_cost_limit,
        "tensorboard_log": args.tensorboard_log,
        "track": args.track,
        "track_project": args.track_project,
        "save_replay_buffer": args.save_replay_buffer,
    }
    changes |= {field: given for field, given in own.items() if given is not None}
    return dataclasses.replace(config, **changes)


def _build_callbacks(config: RunConfig) -> list[BaseCallback]:
    callbacks: list[BaseCallback] = []
    for name, kwargs in config.callbacks:
        factory = get_callback(name)
        what = f"The callback {name!r} of {plugins.registry('callbacks').get(name).owner}"
        try:
            callback = factory(**kwargs)
        except (SPIError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise CommandError(f"{what} refuses its arguments: {describe(error)}") from error
        if not isinstance(callback, BaseCallback):
            raise CommandError(f"{what} must be a BaseCallback, got {callback!r}.")
        callbacks.append(callback)
    return callbacks


def _check_hyperparameters(cls: type[BaseAlgorithm], values: Mapping[str, Any]) -> None:
    """Refuse unknown names and values out of range before an environment is opened for them."""
    with _refusals(cls, values):
        inspect.signature(cls).bind_partial(**values)
        declared: Mapping[str, Hyperparameter] = getattr(cls, "hyperparameters", {})
        for name in values.keys() & declared.keys():
            declared[name].check(values[name])


def _construct(
    cls: type[BaseAlgorithm], policy: str, env: VecEnv, kwargs: Mapping[str, Any]
) -> BaseAlgorithm:
    with _refusals(cls, kwargs):
        return cls(policy, env, **kwargs)


@contextlib.contextmanager
def _refusals(cls: type[BaseAlgorithm], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Report arguments that an algorithm refuses as the user's mistake, in one line."""
    try:
        yield
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        known = parameters(cls)
        unknown = [name for name in kwargs if name not in known]
        hint = plugins.did_you_mean(unknown[0], known) if unknown else ""
        what = str(error) if isinstance(error, TypeError | ValueError | AssertionError) else describe(error)
        raise CommandError(f"{cls.__name__} refuses its arguments: {what}{hint}") from error
