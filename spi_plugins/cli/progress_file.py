"""``progress.csv``, as Stable-Baselines3 writes it, but able to continue an existing file."""

import csv
import errno
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from spi_plugins.archive import write_atomically
from spi_plugins.cli.progress_rows import STEPS, read_progress


class ProgressFile(KVWriter):
    """Writes one row for each dump of the log and one column for each key; new keys are added at the end.

    Args:
        path: the file, created with the first row.
        keep_until: rows with more ``time/total_timesteps`` than this are dropped from an existing file: a run that
            continues from an older checkpoint writes them again.
    """

    def __init__(self, path: pathlib.Path, *, keep_until: int) -> None:
        self.path = path
        kept = [row for row in read_progress(path) if float(row.get(STEPS, 0)) <= keep_until]
        self._keys = list(dict.fromkeys(key for row in kept for key in row))
        if path.exists():
            self._rewrite(kept)

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Append a row of numbers and text; figures and videos are left out.

        Raises:
            FileNotFoundError: the folder is gone; it is not made again, since the rest of the run went with it.
        """
        if not self.path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "The folder of the run is gone", str(self.path.parent))
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        row = {
            key: str(value)
            for key, value in values.items()
            if isinstance(value, bool | int | float | str | np.generic)
        }
        new = [key for key in row if key not in self._keys]
        if new:
            self._keys += new
            self._rewrite([*read_progress(self.path), row])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._keys).writerow(row)

    def close(self) -> None:
        """Do nothing: the file is closed between rows."""

    def _rewrite(self, rows: Sequence[Mapping[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._keys)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue().encode())
