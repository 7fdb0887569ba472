"""``spi sweep``: all runs that a file asks for, continued where they were stopped, and a report."""

import argparse
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spi_plugins.cli.arguments import CommandError, seed
from spi_plugins.cli.config_file import read_entries, to_words
from spi_plugins.cli.jobs.execution import RESUMED, add_options, execute, folder_of
from spi_plugins.cli.jobs.plan import Job, make_job
from spi_plugins.cli.train import new_parser
from spi_plugins.errors import SPIError

# What a list of runs is made of. All other keys are those of files for 'spi train -c'.
_KEYS = _GRID, _RUNS, _SEEDS, _SEED = "grid", "runs", "seeds", "seed"


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi sweep``."""
    parser.description = f"Train all runs that a file asks for, and report on them. {RESUMED}"
    parser.add_argument(
        "file",
        type=pathlib.Path,
        metavar="FILE",
        help="YAML: keys as for 'spi train -c' that all runs share; 'grid', lists of values to combine; 'runs', a list "
        "of changes; 'seeds', their number or a list",
    )
    add_options(parser, "the name of the file")
    return run


def run(args: argparse.Namespace) -> int:
    """Train what is missing, then print the table and write the report.

    Raises:
        SPIError: the file is wrong; the message names the key.
        RunError: a run failed; the others are done.
    """
    folder = folder_of(args, args.file.stem)
    return execute(args, read_jobs(args.file, folder), folder, title=args.file.stem)


def read_jobs(file: pathlib.Path, folder: pathlib.Path) -> list[Job]:
    """The runs that a file asks for: for each entry of ``runs`` and each point of ``grid``, all seeds.

    Raises:
        SPIError: names the file and what is wrong with it.
    """
    stored = read_entries("FILE", file)
    seeds = _seeds(file, stored)
    common = {key: value for key, value in stored.items() if key not in _KEYS}
    jobs, parser = [], new_parser()
    for choice in _choices(file, stored):
        named = {key: value for key, value in choice.items() if key not in ("algo", "algorithm", "env")}
        details = ", ".join(f"{key}={value}" for key, value in named.items())
        source = f"{file} ({details})" if details else f"{file}"
        words = to_words(parser, source, common | choice, others=_KEYS)
        for each in seeds:
            try:
                jobs.append(make_job([*words, f"--seed={each}"], folder, details))
            except SPIError as error:
                raise CommandError(f"{source}: {error}") from error
    return _different(file, jobs)


def _seeds(file: pathlib.Path, stored: Mapping[str, Any]) -> list[int]:
    """The seeds of each run: a list, or how many from ``seed`` on."""
    given, first = stored.get(_SEEDS, 1), stored.get(_SEED, 0)
    if isinstance(given, list) and given and _SEED not in stored and all(map(_is_seed, given)):
        return given
    if isinstance(given, int) and given >= 1 and _is_seed(first):
        return list(range(first, first + given))
    raise CommandError(
        f"{file}: seeds must be a number of at least 1, with seed as the first one, or a list of seeds; got "
        f"seeds: {given!r}" + (f", seed: {first!r}." if _SEED in stored else ".")
    )


def _is_seed(value: Any) -> bool:
    try:
        return type(value) is int and seed(str(value)) == value
    except ValueError:
        return False


def _choices(file: pathlib.Path, stored: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each run changes: the entries of ``runs``, each with all combinations of ``grid``."""
    grid, runs = stored.get(_GRID) or {}, stored.get(_RUNS) or [{}]
    if not isinstance(grid, Mapping) or not all(isinstance(each, list) and each for each in grid.values()):
        raise CommandError(f"{file}: grid must hold a list of values for each key, got {grid!r}.")
    if not isinstance(runs, list) or not all(isinstance(each, Mapping) for each in runs):
        raise CommandError(f"{file}: runs must be a list of keys and values, got {runs!r}.")
    for changes in runs:
        for key in (*changes, *grid):
            if key in (_SEED, _SEEDS) or (key in changes and key in grid):
                where = "in grid and in runs" if key in grid and key in changes else "in grid or runs"
                raise CommandError(f"{file}: {key!r} cannot be {where}.")
        for values in itertools.product(*grid.values()):
            yield {**changes, **dict(zip(grid, values, strict=True))}


def _different(file: pathlib.Path, jobs: list[Job]) -> list[Job]:
    for at, job in enumerate(jobs):
        if any(job.expected == other.expected for other in jobs[:at]):
            raise CommandError(f"{file} asks twice for {job}.")
    return jobs
