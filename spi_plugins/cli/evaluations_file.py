"""``evaluations.npz``, as Stable-Baselines3's ``EvalCallback`` writes it, but able to continue an existing file."""

import io
import pathlib
from typing import Any

import numpy as np

from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.plugins.registry import describe

# Keys of ``evaluations.npz`` and the fields of ``Evaluation`` that are stored under them.
_ARRAYS = {"results": "returns", "ep_lengths": "lengths", "costs": "costs", "successes": "successes"}


class EvaluationsFile:
    """Stores the evaluations during training, with a row for each evaluation and a column for each episode.

    Args:
        path: the file.
        keep_until: evaluations after more steps are dropped: a run that continues from an older checkpoint makes
            them again.
    """

    def __init__(self, path: pathlib.Path, *, keep_until: int) -> None:
        self.path = path
        stored = read_evaluations(path)
        kept = stored["timesteps"] <= keep_until if stored else np.zeros(0, np.bool_)
        self._rows = {key: values[kept].tolist() for key, values in stored.items()}

    @property
    def last(self) -> int:
        """Number of steps before the last evaluation."""
        timesteps = self._rows.get("timesteps")
        return int(timesteps[-1]) if timesteps else 0

    def append(self, result: Evaluation) -> None:
        """Store an evaluation."""
        rows = {key: getattr(result, field) for key, field in _ARRAYS.items()}
        rows = {"timesteps": result.num_timesteps, **rows}
        for key, row in rows.items():
            if row is not None:
                self._rows.setdefault(key, []).append(row)
        content = io.BytesIO()
        np.savez(content, **{key: np.asarray(values) for key, values in self._rows.items()})  # type: ignore[arg-type]
        write_atomically(self.path, content.getvalue())


def read_evaluations(path: pathlib.Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an ``evaluations.npz``; empty if there is no file.

    Raises:
        CommandError: it is damaged, or would run code.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{path} cannot be read: {describe(error)}") from error
