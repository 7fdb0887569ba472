"""``spi list`` and ``spi plugins``: what is registered, and by whom. Imports no targets."""

import argparse
import sys
from collections.abc import Callable, Sequence

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError, to_json
from spi_plugins.cli.env_families import families, newest

_KINDS: dict[str, plugins.Kind] = {
    kind.replace("_", "-"): kind for kind in plugins.KINDS if kind != "commands"
}


# How what is listed is used.
_NOTES = {
    "wrappers": "\n'spi train --wrapper NAME KEY=VALUE' applies one; in Python they are in spi_wrappers.\n",
}


def configure_list(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi list``."""
    parser.add_argument("kind", metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("family", metavar="FAMILY", nargs="?", help="with envs: list the ids of a family")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return run_list


def run_list(args: argparse.Namespace) -> int:
    """Print the registered names of one kind with their summaries and plugins, or the ids of a family.

    Raises:
        CommandError: there is no such kind, or no such family.
    """
    if args.kind not in _KINDS:
        hint = plugins.did_you_mean(args.kind, _KINDS)
        raise CommandError(f"KIND {args.kind!r} is unknown.{hint} Allowed: {', '.join(_KINDS)}.")
    if args.family is not None:
        return _list_family(args)
    registry = plugins.registry(_KINDS[args.kind])
    entries = [registry.peek(name) for name in registry.names()]
    if args.json:
        fields = [
            {
                "name": entry.name,
                "summary": entry.summary,
                "target": entry.target if isinstance(entry.target, str) else repr(entry.target),
                "plugin": entry.owner.plugin,
                "family": entry.family,
            }
            for entry in entries
        ]
        sys.stdout.write(to_json(fields) + "\n")
    elif entries:
        names = [f"{entry.name}:..." if entry.family else entry.name for entry in entries]
        rows = [(name, entry.summary, entry.owner.plugin) for name, entry in zip(names, entries, strict=True)]
        _write_table(("NAME", "SUMMARY", "PLUGIN"), rows)
        if args.kind in _NOTES:
            sys.stdout.write(_NOTES[args.kind])
        if args.kind == "envs":
            _write_families()
    else:
        sys.stdout.write(f"No {args.kind} are registered.\n")
    return 0


def _write_families() -> None:
    rows = [
        (name, str(len(ids)), newest(ids) if ids else "none: 'spi dream register' makes one")
        for name, ids in families().items()
    ]
    sys.stdout.write("\n")
    _write_table(("FAMILY", "IDS", "SUCH AS"), rows)
    sys.stdout.write("\n'spi list envs FAMILY' lists the ids.\n")


def _list_family(args: argparse.Namespace) -> int:
    if args.kind != "envs":
        raise CommandError(f"unrecognized arguments: {args.family} (only 'spi list envs' takes a FAMILY).")
    known = families()
    if args.family not in known:
        hint = plugins.did_you_mean(args.family, known)
        raise CommandError(f"FAMILY {args.family!r} is unknown.{hint} Allowed: {', '.join(known)}.")
    ids = known[args.family]
    sys.stdout.write(to_json(ids) + "\n" if args.json else "".join(f"{name}\n" for name in ids))
    return 0


def configure_plugins(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi plugins``."""
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return run_plugins


def run_plugins(args: argparse.Namespace) -> int:
    """Print every plugin with its distribution, version, status and what it provides."""
    records = plugins.current_host().records()
    if args.json:
        sys.stdout.write(to_json([record._asdict() for record in records]) + "\n")
        return 0
    rows = [
        (
            record.name,
            " ".join(filter(None, (record.distribution, record.version))) or "-",
            record.status,
            record.error or ", ".join(record.provides),
        )
        for record in records
    ]
    _write_table(("PLUGIN", "PACKAGE", "STATUS", "PROVIDES OR ERROR"), rows)
    return 0


def _write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
