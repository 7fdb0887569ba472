"""``spi train --coordinator``: one training by several processes, of which the first one writes and speaks."""

import argparse
import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from spi_plugins.cli.arguments import CommandError, whole


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="train together with other processes, which all run this command; HOST:PORT is free on the machine of the "
        "first one; 'auto' reads what SLURM or MPI say",
    )
    group.add_argument("--processes", type=whole, metavar="N", help="how many there are")
    group.add_argument("--process-id", type=whole, metavar="I", help="which one this is, from 0")


def check(args: argparse.Namespace) -> None:
    """Refuse words that do not say who takes part.

    Raises:
        CommandError: names the option.
    """
    address, count, number = args.coordinator, args.processes, args.process_id
    numbers = {"--processes": count, "--process-id": number}
    if address is None or address == "auto":
        for option, given in numbers.items():
            if given is not None:
                raise CommandError(f"{option} needs --coordinator HOST:PORT.")
    else:
        for option, given in numbers.items():
            if given is None:
                raise CommandError(f"--coordinator {address} needs {option}; or use --coordinator auto.")
        if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
            raise CommandError(f"--coordinator must be HOST:PORT or auto, got {address!r}.")
        if not 0 <= number < count:
            raise CommandError(f"--process-id must be within 0 and {count - 1}, got {number}.")
    if address is not None and args.seeds is not None:
        raise CommandError("--seeds cannot be combined with --coordinator; start one run for each seed.")


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[None]:
    """Take part as ``args`` say, on all devices; all but the first are silent, with a folder that is removed."""
    if args.coordinator is None:
        yield
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    try:
        if args.coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(args.coordinator, args.processes, args.process_id)
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"--coordinator {args.coordinator}: {error}") from error
    args.device = args.device or "all"
    if jax.process_index() == 0:
        yield
        return
    args.progress, args.verbose, args.track, args.tensorboard_log = False, 0, None, None
    with (
        tempfile.TemporaryDirectory(prefix="spi-process-") as folder,
        open(os.devnull, "w") as silence,
        contextlib.redirect_stdout(silence),
    ):
        args.log_folder = pathlib.Path(folder)
        yield


def own_copy(args: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """A run's folder to go on in; a copy without models in all processes but the first."""
    if args.coordinator is None:
        return folder
    import jax

    if jax.process_index() == 0:
        return folder
    copy: pathlib.Path = args.log_folder / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.zip", "*.npz", "checkpoints"))
    return copy


def writes(args: argparse.Namespace) -> bool:
    """Whether this process writes the run's files."""
    if args.coordinator is None:
        return True
    import jax

    return jax.process_index() == 0
