"""What is trained on."""

import argparse

from spi_plugins.cli.arguments import add_pairs, copies, parse_pairs


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("environment")
    group.add_argument(
        "--env",
        metavar="ID",
        help="a Gymnasium id, a name from 'spi list envs', or FAMILY:ID such as envpool:Breakout-v5",
    )
    group.add_argument(
        "--n-envs",
        type=copies,
        metavar="N",
        help="copies of the environment (default: 8 of a Gymnasium environment, else 128)",
    )
    add_pairs(group, "--env-kwargs", help="arguments of the environment, Python literals")


def check(args: argparse.Namespace) -> None:
    """Refuse words that are not pairs."""
    parse_pairs("--env-kwargs", args.env_kwargs)
