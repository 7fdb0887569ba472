"""The folder of ``spi train --seeds N``: runs that differ in their seed, and what they came to."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, to_json
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.plugins.registry import describe

FILE = "seeds.json"


@dataclasses.dataclass(frozen=True)
class SeedsFolder:
    """Runs with several seeds.

    Attributes:
        path: the folder; ``seed_0`` and so on are the folders of runs.
        seeds: in the order in which they are trained.
        finished: what the runs that have finished came to, by seed.
    """

    path: pathlib.Path
    seeds: tuple[int, ...]
    finished: dict[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def run(self, seed: int) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / f"seed_{seed}")

    def start(self, seed: int) -> RunFolder:
        """Make the folder of one run, and write the seeds down before the first."""
        folder = self.run(seed)
        folder.path.mkdir(parents=True, exist_ok=True)
        self.write()
        return folder

    def first(self) -> RunFolder:
        """A run that has started, whose settings are those of all but for the seed.

        Raises:
            CommandError: none has.
        """
        for seed in self.seeds:
            if self.run(seed).config.is_file():
                return self.run(seed)
        raise CommandError(f"{self.path} holds no run yet: start it anew.")

    def write(self, **summary: Any) -> None:
        """Write ``seeds.json``."""
        finished = {str(seed): result for seed, result in self.finished.items()}
        text = to_json({"seeds": list(self.seeds), "finished": finished, **summary})
        write_atomically(self.path / FILE, f"{text}\n".encode())


def read_seeds(path: pathlib.Path | None) -> SeedsFolder | None:
    """The folder of several runs at a path; ``None`` if it is something else.

    Raises:
        CommandError: its file is damaged.
    """
    if path is None or not (path / FILE).is_file():
        return None
    try:
        stored = json.loads((path / FILE).read_text("utf-8"))
        finished: dict[int, Mapping[str, float]] = {
            int(seed): {**result} for seed, result in stored["finished"].items()
        }
        return SeedsFolder(path, tuple(map(int, stored["seeds"])), finished)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CommandError(f"{path / FILE} does not list seeds: {describe(error)}") from error
