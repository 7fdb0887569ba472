"""How the policy is evaluated."""

import argparse

from spi_plugins.cli.arguments import whole


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--eval-episodes",
        type=whole,
        metavar="N",
        help="episodes of the evaluation at the end, 0 for none (default: 10)",
    )
