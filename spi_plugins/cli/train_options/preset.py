"""Tuned settings for known environments, which fill in what the words leave open."""

import argparse
from collections.abc import Mapping
from typing import Any

from spi_plugins import plugins, presets
from spi_plugins.cli.arguments import CommandError
from spi_plugins.presets.files import DEFAULT

_NONE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group(
        "preset",
        "Settings of algorithm and environment that other words do not set, with how many steps to train.",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="another environment's (default: that of --env, unless there is a file)",
    )
    group.add_argument("--no-preset", dest="preset", action="store_const", const=_NONE, help="take none")


def choose(args: argparse.Namespace) -> presets.Preset | None:
    """The preset to take, if there is one.

    Raises:
        CommandError: there is none of the name asked for.
    """
    if args.preset == _NONE or args.resume is not None or args.algo is None or args.env is None:
        return None
    if args.preset is None:
        return None if args.config is not None else presets.find(args.algo, args.env)
    known = presets.read(args.algo)
    if args.preset not in known:
        hint = plugins.did_you_mean(args.preset, known)
        listed = f"It has: {', '.join(known)}." if known else "It has none."
        raise CommandError(f"--preset {args.preset!r} is unknown to {args.algo}.{hint} {listed}")
    return known[args.preset]


def line(preset: presets.Preset, taken: Mapping[str, Any]) -> str:
    """What a preset set, in a line."""
    settings = ", ".join(f"{key}={value}" for key, value in taken.items())
    what = "Default length" if preset.env == DEFAULT else f"Preset {preset.env}"
    return f"{what}: {settings} (--no-preset for none)."
