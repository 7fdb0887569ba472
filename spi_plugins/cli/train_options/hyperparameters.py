"""What the algorithm is told."""

import argparse

from spi_plugins.cli.arguments import add_pairs


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("hyperparameters")
    group.add_argument("--policy", metavar="P", help="policy (default: chosen by the observation space)")
    add_pairs(group, "-p", "--hyperparameters", help="arguments of the algorithm, Python literals")
