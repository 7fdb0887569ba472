"""``spi eval``: plays episodes with a saved model."""

import argparse
import sys
from collections.abc import Callable

from spi_plugins.cli import played
from spi_plugins.cli.arguments import copies, to_json
from spi_plugins.cli.train_options.evaluation import limit


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi eval``."""
    played.add_options(parser, n_episodes=10)
    parser.add_argument(
        "--n-eval-envs",
        type=copies,
        metavar="N",
        help="copies of the environment to play in (default: one per episode, up to 8)",
    )
    parser.add_argument(
        "--cost-limit",
        type=limit,
        metavar="X",
        help="limit of an episode's mean cost (default: the run's, or the algorithm's own)",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return run


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print the statistics of the episodes.

    Raises:
        CommandError: there is no such model, or its algorithm or environment is unknown.
    """
    algorithm, path, _, task, trusted = played.read(args)
    task = task._replace(n_envs=args.n_eval_envs)
    if args.cost_limit is not None:
        task = task._replace(cost_limit=args.cost_limit)

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli.evaluation import evaluate

    with announcing_compilation():
        result = evaluate(algorithm, path, task, trusted=trusted)
    env = task.recipe.env
    if args.json:
        sys.stdout.write(to_json({"model": str(path), "env": env, **result._asdict()}) + "\n")
    else:
        trained = f"{path}, {result.num_timesteps:,} steps of training"
        sys.stdout.write(f"{trained}, on {env} in {result.episodes}:\n{result.table()}\n")
    return 0
