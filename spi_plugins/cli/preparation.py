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

from spi_plugins import get_algorithm, get_callback, plugins
from spi_plugins.cli.arguments import CommandError, parse_pairs
from spi_plugins.cli.environments import build_env, default_policy
from spi_plugins.cli.evaluation import load_model
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model, new_run_folder
from spi_plugins.errors import SPIError
from spi_plugins.hyperparameters import Hyperparameter

DEFAULT_FOLDER = pathlib.Path("runs")
DEFAULT_EVAL_EPISODES = 10
CHECKPOINTS_PER_RUN = 10

# What other options set; "-p seed=1" would contradict "--seed".
_OPTION_OF = {
    "policy": "--policy",
    "env": "--env",
    "n_envs": "--n-envs",
    "seed": "--seed",
    "verbose": "-v",
    "tensorboard_log": "-tb",
}


class Preparation(NamedTuple):
    """A run that is ready to start.

    Attributes:
        model: with its environment.
        config: what to note down.
        folder: made already.
        n_timesteps: steps to learn from here on.
        resumed: whether ``model`` goes on counting.
        callbacks: those that were asked for by name.
    """

    model: BaseAlgorithm
    config: RunConfig
    folder: RunFolder
    n_timesteps: int
    resumed: bool
    callbacks: list[BaseCallback]


def prepare(args: argparse.Namespace) -> Preparation:
    """Build or load the model. Nothing is written before that has worked.

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
    cls = get_algorithm(args.algo)
    hyperparameters = parse_pairs("-p", args.hyperparameters or [])
    for name in hyperparameters.keys() & _OPTION_OF.keys():
        raise CommandError(f"-p {name}=... is given as {_OPTION_OF[name]}.")
    _check_hyperparameters(cls, hyperparameters)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs or [])
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
    config = _with_run_options(config, args)
    callbacks = _build_callbacks(config)
    folder = new_run_folder(args.log_folder or DEFAULT_FOLDER, args.algo, args.env)
    return Preparation(model, config, folder, args.n_timesteps, resumed=False, callbacks=callbacks)


def _prepare_resumed(args: argparse.Namespace, path: pathlib.Path, folder: RunFolder) -> Preparation:
    config = folder.read_config()
    fixed = {"ALGO": args.algo, "--env": args.env}
    for option, given in fixed.items():
        own = config.algorithm if option == "ALGO" else config.env
        if given not in (None, own):
            raise CommandError(f"{option} is {own!r} in the run {folder.path}, it cannot become {given!r}.")
    _refuse(args, "--n-envs", "--env-kwargs", "-f", *_SET_BY_MODEL)
    # Loaded twice: the environment's seed depends on the steps taken, or its first episodes would come again.
    seed = (config.seed + load_model(config.algorithm, path).num_timesteps) % 2**31
    env = build_env(config.env, n_envs=config.n_envs, seed=seed, env_kwargs=config.env_kwargs)
    model = load_model(config.algorithm, path, env)
    if folder.replay.is_file() and hasattr(model, "load_replay_buffer"):
        model.load_replay_buffer(folder.replay)
    missing = config.n_timesteps - model.num_timesteps
    n_timesteps = args.n_timesteps or missing
    if n_timesteps <= 0:
        raise CommandError(
            f"{path} has all {config.n_timesteps} steps that were asked for; say how many more with -n."
        )
    config = dataclasses.replace(config, n_timesteps=model.num_timesteps + n_timesteps)
    config = _with_run_options(config, args)
    callbacks = _build_callbacks(config)
    return Preparation(model, config, folder, n_timesteps, resumed=True, callbacks=callbacks)


def _prepare_loose_file(args: argparse.Namespace, path: pathlib.Path) -> Preparation:
    """A model file of no run: its algorithm and environment must be named, and a new run begins with it."""
    _require(args, "ALGO", args.algo, f", for {path} belongs to no run")
    _require(args, "--env", args.env, f", for {path} belongs to no run")
    _require(args, "-n", args.n_timesteps)
    _refuse(args, *_SET_BY_MODEL)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs or [])
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
    config = _with_run_options(config, args)
    callbacks = _build_callbacks(config)
    folder = new_run_folder(args.log_folder or DEFAULT_FOLDER, args.algo, args.env)
    return Preparation(model, config, folder, args.n_timesteps, resumed=True, callbacks=callbacks)


# Options whose answer is in the model file.
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
        try:
            callbacks.append(factory(**kwargs))
        except (TypeError, ValueError) as error:
            raise CommandError(f"The callback {name!r} refuses its arguments: {error}") from error
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
    """Turn what an algorithm refuses, which is the user's mistake, into one line."""
    try:
        yield
    except SPIError:
        raise
    except (TypeError, ValueError, AssertionError) as error:
        known = _parameters(cls)
        unknown = [name for name in kwargs if name not in known]
        hint = plugins.did_you_mean(unknown[0], known) if unknown else ""
        raise CommandError(f"{cls.__name__} refuses its arguments: {error}{hint}") from error


def _parameters(cls: type[BaseAlgorithm]) -> set[str]:
    """The constructor's parameters, those that it passes on to its bases included."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name
        for base in cls.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(vars(base)["__init__"]).parameters.values()
        if parameter.kind in named and not parameter.name.startswith("_")
    }
