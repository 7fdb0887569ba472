"""``spi eval``: plays episodes with a saved model."""

import argparse
import pathlib
import sys
from collections.abc import Callable

from spi_plugins.cli.arguments import CommandError, add_pairs, parse_pairs, positive, seed, to_json
from spi_plugins.cli.env_names import check_imports, find_source
from spi_plugins.cli.requests import algorithm_of, check_model_file
from spi_plugins.cli.run_folder import SEED_OFFSET, EvaluationTask, locate_model


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi eval``."""
    parser.add_argument(
        "model", metavar="MODEL_ZIP_OR_RUN", type=pathlib.Path, help="a run's folder or a model file"
    )
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument("--env", metavar="ID", help="environment (default: the run's)")
    add_pairs(
        parser, "--env-kwargs", help="arguments of the environment, Python literals (default: the run's)"
    )
    parser.add_argument("--n-episodes", type=positive, default=10, metavar="N", help="(default: 10)")
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
    parser.add_argument(
        "--seed", type=seed, metavar="S", help="seed of the environment (default: far from training's)"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="import the module that the run's env names, and load a model file that may run code",
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print mean and deviation of the returns.

    Raises:
        CommandError: there is no such model, or its algorithm or environment is unknown.
    """
    path, folder = locate_model(args.model)
    config = None if folder is None else folder.read_config()
    algorithm = algorithm_of(path, folder, args.algo)
    env = args.env or (config and config.env)
    if not algorithm or not env:
        raise CommandError(
            f"{path} does not belong to a run: name its algorithm and environment with --algo and --env."
        )
    if not args.env and not args.trust_imports:
        check_imports(env)
    find_source(env)
    check_model_file(algorithm, path)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs)
    if config is not None and env == config.env:
        env_kwargs = {**config.env_kwargs, **env_kwargs}
    offset = (config.seed if config else 0) + SEED_OFFSET
    task = EvaluationTask(
        env, env_kwargs, args.n_episodes, args.deterministic, offset if args.seed is None else args.seed
    )

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli.evaluation import evaluate

    with announcing_compilation():
        result = evaluate(algorithm, path, task, trusted=args.trust_imports)
    if args.json:
        sys.stdout.write(to_json({"model": str(path), "env": env, **result._asdict()}) + "\n")
    else:
        sys.stdout.write(f"{path}, {result.num_timesteps:,} steps of training, on {env}\n{result}\n")
    return 0
