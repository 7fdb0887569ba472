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
from spi_plugins.cli.arguments import CommandError, parse_pairs
from spi_plugins.cli.environments import build_env, default_policy
from spi_plugins.cli.evaluation import find_algorithm, load_model
from spi_plugins.cli.run_folder import RunConfig, RunFolder, check_imports, locate_model, new_run_folder
from spi_plugins.errors import SPIError
from spi_plugins.hyperparameters import Hyperparameter
from spi_plugins.plugins.registry import describe

DEFAULT_FOLDER = pathlib.Path("runs")
DEFAULT_EVAL_EPISODES = 10
CHECKPOINTS_PER_RUN = 10

# Arguments that have an option: "-p seed=1" would contradict "--seed".
_OPTION_OF = {
    "policy": "--policy",
    "env": "--env",
    "n_envs": "--n-envs",
    "seed": "--seed",
    "verbose": "-v",
    "tensorboard_log": "-tb",
}


class Preparation(NamedTuple):
    """A run that is ready to start."""

    model: BaseAlgorithm  # with its environment
    config: RunConfig  # what to write into the folder
    folder: RunFolder  # exists already
    n_timesteps: int  # steps to take from here on
    resumed: bool  # whether ``model`` keeps counting from where it was
    callbacks: list[BaseCallback]  # those that the user named


def prepare(args: argparse.Namespace) -> Preparation:
    """Build or load the model; nothing is written until that has succeeded.

    Raises:
        SPIError: an argument is wrong, missing, or contradicts the run that is resumed.
    """
    if args.resume is None:
        return _prepare_new(args)
    path, folder = locate_model(args.resume)
    return _prepare_loose_file(args, path) if folder is None else _prepare_resumed(args, path, folder)


def _prepare_new(args: argparse.Namespace) -> Preparation:
    _require(args, "ALGO", args.algo)
    _require(args, "--env", args.env)
    _require(args, "-n", args.n_timesteps)
    cls = find_algorithm(args.algo)
    hyperparameters = parse_pairs("-p", args.hyperparameters)
    for name in hyperparameters.keys() & _OPTION_OF.keys():
        raise CommandError(f"-p {name}=... is set with {_OPTION_OF[name]}.")
    _check_hyperparameters(cls, hyperparameters)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs)
    seed = args.seed or 0
    env = build_env(args.env, n_envs=args.n_envs, seed=seed, env_kwargs=env_kwargs)
    policy = args.policy or default_policy(env)
    model = _construct(cls, policy, env, {"seed": seed, "verbose": args.verbose, **hyperparameters})
    config = RunConfig(
        algorithm=args.algo,
        policy=policy,
        env=args.env,
        env_kwargs=env_kwargs,
        n_envs=env.num_envs,
        seed=seed,
        n_timesteps=args.n_timesteps,
        hyperparameters=hyperparameters,
    )
    return _ready(args, model, config, args.n_timesteps)


def _prepare_resumed(args: argparse.Namespace, path: pathlib.Path, folder: RunFolder) -> Preparation:
    config = folder.read_config()
    fixed = {"ALGO": args.algo, "--env": args.env}
    for option, given in fixed.items():
        own = config.algorithm if option == "ALGO" else config.env
        if given not in (None, own):
            raise CommandError(f"{option} is {own!r} in the run {folder.path}, it cannot become {given!r}.")
    _refuse(args, "--n-envs", "--env-kwargs", "-f", *_SET_BY_MODEL)
    if not args.env and not args.trust_imports:
        check_imports(config.env)
    # Loaded twice: the environment's seed depends on the steps taken, or its first episodes would be repeated.
    seed = (config.seed + load_model(config.algorithm, path).num_timesteps) % 2**31
    env = build_env(config.env, n_envs=config.n_envs, seed=seed, env_kwargs=config.env_kwargs)
    model = load_model(config.algorithm, path, env)
    if folder.replay.is_file() and hasattr(model, "load_replay_buffer"):
        model.load_replay_buffer(folder.replay)
    missing = config.n_timesteps - model.num_timesteps
    n_timesteps = args.n_timesteps or missing
    if n_timesteps <= 0:
        raise CommandError(
            f"{path} has taken all of its {config.n_timesteps} steps; say how many more with -n."
        )
    config = dataclasses.replace(config, n_timesteps=model.num_timesteps + n_timesteps)
    return _ready(args, model, config, n_timesteps, folder)


def _prepare_loose_file(args: argparse.Namespace, path: pathlib.Path) -> Preparation:
    """Start a new run from a model file that does not belong to one; algorithm and environment must be named."""
    for option, given in {"ALGO": args.algo, "--env": args.env}.items():
        _require(args, option, given, f", because {path} does not belong to a run")
    _require(args, "-n", args.n_timesteps)
    _refuse(args, *_SET_BY_MODEL)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs)
    alone = load_model(args.algo, path)
    seed = alone.seed or 0
    env = build_env(args.env, n_envs=args.n_envs or alone.n_envs, seed=seed, env_kwargs=env_kwargs)
    model = load_model(args.algo, path, env)
    config = RunConfig(
        algorithm=args.algo,
        policy=type(model.policy).__name__,
        env=args.env,
        env_kwargs=env_kwargs,
        n_envs=env.num_envs,
        seed=seed,
        n_timesteps=model.num_timesteps + args.n_timesteps,
        hyperparameters={},
        resumed_from=str(path),
    )
    return _ready(args, model, config, args.n_timesteps)


# Options whose values are in the model file.
_SET_BY_MODEL = ("--policy", "-p", "--seed")
_DESTINATION = {
    "--policy": "policy",
    "-p": "hyperparameters",
    "--seed": "seed",
    "--n-envs": "n_envs",
    "--env-kwargs": "env_kwargs",
    "-f": "log_folder",
}


def _require(args: argparse.Namespace, option: str, value: Any, reason: str = "") -> None:
    if value is None:
        raise CommandError(f"{option} is required{reason} (see 'spi train --help').")


def _refuse(args: argparse.Namespace, *options: str) -> None:
    for option in options:
        if getattr(args, _DESTINATION[option]) is not None:
            raise CommandError(f"{option} cannot be changed with --resume: it is part of what is resumed.")


def _ready(
    args: argparse.Namespace,
    model: BaseAlgorithm,
    config: RunConfig,
    n_timesteps: int,
    folder: RunFolder | None = None,
) -> Preparation:
    """Apply the remaining options, and make the run's folder last of all unless it exists."""
    config = _with_run_options(config, args)
    callbacks = _build_callbacks(config)
    if folder is None:
        folder = new_run_folder(args.log_folder or DEFAULT_FOLDER, config.algorithm, config.env)
    return Preparation(model, config, folder, n_timesteps, args.resume is not None, callbacks)


def _with_run_options(config: RunConfig, args: argparse.Namespace) -> RunConfig:
    """The options that may differ between the parts of a run."""
    changes: dict[str, Any] = {}
    if args.callback is not None:
        changes["callbacks"] = [(name, parse_pairs("--callback", rest)) for name, *rest in args.callback]
    if args.save_freq is not None:
        changes["save_freq"] = args.save_freq
    elif not config.save_freq and args.resume is None:
        changes["save_freq"] = max(args.n_timesteps // CHECKPOINTS_PER_RUN, 1)
    if args.eval_episodes is not None:
        changes["eval_episodes"] = args.eval_episodes
    if args.tensorboard_log is not None:
        changes["tensorboard_log"] = args.tensorboard_log
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
        known = _parameters(cls)
        unknown = [name for name in kwargs if name not in known]
        hint = plugins.did_you_mean(unknown[0], known) if unknown else ""
        what = str(error) if isinstance(error, TypeError | ValueError | AssertionError) else describe(error)
        raise CommandError(f"{cls.__name__} refuses its arguments: {what}{hint}") from error


def _parameters(cls: type[BaseAlgorithm]) -> set[str]:
    """The constructor's parameters, including those that it passes on to its bases."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name
        for base in cls.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(vars(base)["__init__"]).parameters.values()
        if parameter.kind in named and not parameter.name.startswith("_")
    }
