"""Checks of a command's words that need neither JAX nor torch nor an environment, so that mistakes show at once."""

import argparse
import importlib.util
import pathlib
import tempfile
import zipfile
from typing import Any

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.env_recipe import check_recipe_imports, check_wrappers
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model
from spi_plugins.errors import MissingDependencyError

DEFAULT_FOLDER = pathlib.Path("runs")
_DESTINATION = {
    "--policy": "policy",
    "-p": "values",
    "--seed": "seed",
    "--seeds": "seeds",
    "--n-envs": "n_envs",
    "--env-kwargs": "env_kwargs",
    "--wrapper": "wrapper",
    "--vec-env": "vec_env",
    "--normalize": "normalize",
    "--frame-stack": "frame_stack",
    "-f": "log_folder",
}
# Options whose values are in the run's folder.
_SET_BY_RUN = ("--n-envs", "--env-kwargs", "--wrapper", "--vec-env", "--normalize", "--frame-stack", "-f")
# Options whose values are in the model file.
_SET_BY_MODEL = ("--policy", "-p", "--seed", "--seeds")


def check_train(args: argparse.Namespace) -> None:
    """Refuse what is wrong with the words of ``spi train``.

    Raises:
        SPIError: an argument is wrong, missing, or contradicts the run that is resumed; or a package is missing.
    """
    if args.resume is None:
        _check_new(args)
    else:
        _check_resumed(args)


def _check_new(args: argparse.Namespace) -> None:
    _require("ALGO", args.algo)
    _require("--env", args.env)
    _require("-n", args.n_timesteps)
    find_source(args.env)
    check_writable("-f", args.log_folder or DEFAULT_FOLDER)


def _check_resumed(args: argparse.Namespace) -> None:
    path, folder = locate_model(args.resume)
    if folder is None:
        for option, given in {"ALGO": args.algo, "--env": args.env}.items():
            _require(option, given, f", because {path} does not belong to a run")
        _require("-n", args.n_timesteps)
        _refuse(args, *_SET_BY_MODEL)
        plugins.registry("algorithms").get(args.algo)
        find_source(args.env)
        check_writable("-f", args.log_folder or DEFAULT_FOLDER)
        check_model_file(args.algo, path)
        return
    config = folder.read_config()
    for option, given, own in (("ALGO", args.algo, config.algorithm), ("--env", args.env, config.env)):
        if given not in (None, own):
            raise CommandError(f"{option} is {own!r} in the run {folder.path}, it cannot become {given!r}.")
    _refuse(args, *_SET_BY_RUN, *_SET_BY_MODEL)
    _check_evaluations(args, folder, config)
    plugins.registry("algorithms").get(config.algorithm)
    if not args.trust_imports:
        check_recipe_imports(config.recipe, named=args.env)
    find_source(config.env)
    check_wrappers(config.wrappers)
    check_model_file(config.algorithm, path)


def _check_evaluations(args: argparse.Namespace, folder: RunFolder, config: RunConfig) -> None:
    """Refuse another number of episodes where evaluations are stored, which is a table."""
    asked, own = args.eval_episodes, config.eval_episodes
    if asked not in (None, own) and folder.evaluations.is_file():
        raise CommandError(f"--eval-episodes is {own} in {folder.evaluations}, it cannot become {asked}.")
    freq = config.eval_freq if args.eval_freq is None else args.eval_freq
    if freq and (own if asked is None else asked) == 0:
        raise CommandError(f"--eval-freq {freq} needs episodes to evaluate, but --eval-episodes is 0.")


def check_policy(path: pathlib.Path | None, algorithm: str | None) -> tuple[str, pathlib.Path] | None:
    """The algorithm and the file of a model that acts, checked as far as its words go; ``None`` without one.

    Raises:
        SPIError: there is no such model, or its algorithm is unknown.
    """
    if path is None:
        return None
    file, folder = locate_model(path)
    name = algorithm_of(file, folder, algorithm)
    if name is None:
        raise CommandError(f"{file} does not belong to a run: name its algorithm with --algo.")
    check_model_file(name, file)
    return name, file


def algorithm_of(file: pathlib.Path, folder: RunFolder | None, given: str | None) -> str | None:
    """The algorithm of a model file: its run's, or else the one that ``--algo`` names.

    Raises:
        SPIError: it is unknown, or ``--algo`` contradicts the run.
    """
    own = None if folder is None else folder.read_config().algorithm
    if own is not None and given not in (None, own):
        raise CommandError(f"--algo {given} contradicts the run of {file}, whose algorithm is {own!r}.")
    name = own or given
    if name is not None:
        plugins.registry("algorithms").get(name)
    return name


def check_model_file(algorithm: str, path: pathlib.Path) -> None:
    """Refuse a file that no algorithm can load.

    Raises:
        CommandError: it is not a zip archive with a description.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo("data")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CommandError(f"{algorithm} cannot load {path}: it is not a model file.") from error


def check_writable(option: str, folder: pathlib.Path) -> None:
    """Refuse a folder that cannot be made or written; the attempt leaves nothing behind.

    Raises:
        CommandError: names the option and the reason.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        raise CommandError(f"{option} {folder} cannot be written: {error.strerror} ({existing}).") from error


def check_target(option: str, path: pathlib.Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        CommandError: names the option and the reason.
    """
    if path.is_dir():
        raise CommandError(f"{option} {path} is a folder, not a file to write.")
    check_writable(option, path.parent)


def _require(option: str, value: Any, reason: str = "") -> None:
    if value is None:
        raise CommandError(f"{option} is required{reason} (see 'spi train --help').")


def _refuse(args: argparse.Namespace, *options: str) -> None:
    for option in options:
        if getattr(args, _DESTINATION[option]) not in (None, {}):
            raise CommandError(f"{option} cannot be changed with --resume: it is part of what is resumed.")


def require_package(package: str, purpose: str, extra: str = "cli") -> None:
    """Refuse what needs a missing package, with the command that installs it."""
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError.named(package, purpose, extra)
