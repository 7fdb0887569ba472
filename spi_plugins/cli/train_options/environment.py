"""What is trained on."""

import argparse

from spi_plugins.cli.arguments import add_pairs, copies, parse_pairs, positive
from spi_plugins.cli.env_recipe import VEC_ENVS, EnvRecipe, check_wrappers, parse_normalize, parse_wrappers


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
    group.add_argument(
        "--wrapper",
        nargs="+",
        action="append",
        metavar=("NAME", "KEY=VALUE"),
        help="a wrapper from 'spi list wrappers' or MODULE:CLASS, and its arguments; may be repeated, innermost first",
    )
    group.add_argument(
        "--vec-env",
        choices=VEC_ENVS,
        help="how copies of a Gymnasium environment run: dummy and subproc are Stable-Baselines3's (one process, or "
        "one each), sync and async Gymnasium's (default: dummy)",
    )
    group.add_argument(
        "--normalize",
        nargs="?",
        const="True",
        metavar="DICT",
        help="normalize observations and rewards by running statistics, or as a dict of VecNormalize's arguments says",
    )
    group.add_argument(
        "--frame-stack",
        type=positive,
        metavar="N",
        help="give the policy the last N observations, by VecFrameStack",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse words that are not pairs, unknown wrappers, and arguments that VecNormalize lacks."""
    parse_pairs("--env-kwargs", args.env_kwargs)
    check_wrappers(parse_wrappers(args.wrapper))
    parse_normalize("--normalize", args.normalize)


def recipe(args: argparse.Namespace) -> EnvRecipe:
    """The environment that checked arguments ask for."""
    return EnvRecipe(
        args.env,
        parse_pairs("--env-kwargs", args.env_kwargs),
        parse_wrappers(args.wrapper),
        args.vec_env,
        parse_normalize("--normalize", args.normalize),
        args.frame_stack,
    )
