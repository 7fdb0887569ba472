"""How the policy is evaluated."""

import argparse
import math
from typing import Any

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError, copies, whole
from spi_plugins.cli.declarations import read_declarations


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--eval-freq",
        type=frequency,
        metavar="N",
        help="environment steps between evaluations during training, which keep the best model; 0 for none (default)",
    )
    group.add_argument(
        "--eval-episodes",
        type=whole,
        metavar="N",
        help="episodes of an evaluation, during training and at the end; 0 for none (default: 10)",
    )
    group.add_argument(
        "--n-eval-envs",
        type=copies,
        metavar="N",
        help="copies of the environment to evaluate in (default: one per episode, up to 8)",
    )
    group.add_argument(
        "--eval-cost-limit",
        type=limit,
        metavar="X",
        help="limit of an episode's mean cost, which the best model keeps (default: the algorithm's own, if any); "
        "also --cost-limit, except where that is a hyperparameter",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse evaluations of no episodes."""
    if args.eval_freq and args.eval_episodes == 0:
        raise CommandError("--eval-freq needs episodes to evaluate, but --eval-episodes is 0.")


def take_cost_limit(args: argparse.Namespace, *given_values: dict[str, Any]) -> None:
    """Move ``--cost-limit`` out of the hyperparameters of a built-in algorithm that has no such one, or no constraint.

    Raises:
        CommandError: it is not a number of at least 0.
    """
    known = read_declarations(plugins.registry("algorithms").get(args.algo).target)
    if known is None:
        return
    if "cost_limit" in known:
        choices = [values.get("constraint") for values in given_values]
        if "constraint" not in known or known["constraint"].default is not None or any(choices):
            return
    for values in given_values:
        if "cost_limit" not in values:
            continue
        given = values.pop("cost_limit")
        try:
            given = limit(str(given))
        except ValueError as error:
            raise CommandError(f"--cost-limit must be a {limit.__name__}, got {given!r}.") from error
        if args.eval_cost_limit is None:
            args.eval_cost_limit = given


def frequency(text: str) -> int:
    """A number of steps, or 0 or the RL Zoo's -1 for never."""
    return 0 if text == "-1" else whole(text)


def limit(text: str) -> float:
    """A number of at least 0."""
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(text)
    return value


# argparse uses these names in its messages.
frequency.__name__ = whole.__name__
limit.__name__ = "number of at least 0"
