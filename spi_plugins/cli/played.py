"""What ``spi eval``, ``spi video`` and ``spi certify`` share: the words that say which model plays, in what and how."""

import argparse
import pathlib
from typing import NamedTuple

from spi_plugins.cli.arguments import CommandError, add_pairs, parse_pairs, positive, seed
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask, check_recipe_imports, check_wrappers
from spi_plugins.cli.requests import algorithm_of, check_model_file
from spi_plugins.cli.run_folder import SEED_OFFSET, RunConfig, RunFolder, locate_model


class Played(NamedTuple):
    """A model that exists, and what it is to play."""

    algorithm: str  # its registered name
    path: pathlib.Path  # its file
    folder: RunFolder | None  # its run, if it belongs to one
    task: EvaluationTask
    trusted: bool  # whether its file may run code


def add_options(parser: argparse.ArgumentParser, *, n_episodes: int) -> None:
    """Add the options; ``n_episodes`` is the default."""
    parser.add_argument(
        "model", metavar="MODEL_ZIP_OR_RUN", type=pathlib.Path, help="a run's folder or a model file"
    )
    parser.add_argument(
        "--n-episodes", type=positive, default=n_episodes, metavar="N", help=f"(default: {n_episodes})"
    )
    add_manner(parser)


def add_manner(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not say which model plays, or how long."""
    parser.add_argument(
        *("--best", "--load-best"),
        action="store_true",
        dest="best",
        help="the best model of the evaluations during training instead of the newest",
    )
    add_place(parser)
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="take the most likely actions (default, except on images)",
    )
    actions.add_argument(
        "--stochastic", dest="deterministic", action="store_false", help="sample actions (default on images)"
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the algorithm and the environment, where a run does not."""
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument("--env", metavar="ID", help="environment (default: the run's)")
    add_pairs(
        parser, "--env-kwargs", help="arguments of the environment, Python literals (default: the run's)"
    )
    parser.add_argument(
        "--seed", type=seed, metavar="S", help="seed of the environment (default: far from training's)"
    )
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="import the modules that the run's env and wrappers name, and load a model file that may run code",
    )


def read(args: argparse.Namespace) -> Played:
    """Check the words as far as possible without JAX and torch.

    Raises:
        SPIError: there is no such model, or its algorithm or environment is unknown or would import a module.
    """
    path, folder = locate_model(args.model, best=args.best)
    config = None if folder is None else folder.read_config()
    algorithm = algorithm_of(path, folder, args.algo)
    if algorithm is None or (args.env is None and config is None):
        raise CommandError(
            f"{path} does not belong to a run: name its algorithm and environment with --algo and --env."
        )
    recipe = recipe_of(args, config)
    check_model_file(algorithm, path)
    offset = (config.seed if config else 0) + SEED_OFFSET
    task = EvaluationTask(
        recipe,
        args.n_episodes,
        args.deterministic,
        seed=offset if args.seed is None else args.seed,
        cost_limit=None if config is None else config.eval_cost_limit,
    )
    return Played(algorithm, path, folder, task, args.trust_imports)


def recipe_of(args: argparse.Namespace, config: RunConfig | None) -> EnvRecipe:
    """The environment of a run, except for what ``--env`` and ``--env-kwargs`` say; without a run, what they say.

    Raises:
        SPIError: there is no such environment or wrapper, or it would import a module that only the run names.
    """
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs)
    recipe = EnvRecipe(args.env, env_kwargs)
    if config is not None:
        env = args.env or config.env
        own = config.env_kwargs if env == config.env else {}
        recipe = config.recipe._replace(env=env, env_kwargs={**own, **env_kwargs})
    if not args.trust_imports:
        check_recipe_imports(recipe, named=args.env)
    find_source(recipe.env)
    check_wrappers(recipe.wrappers)
    return recipe
