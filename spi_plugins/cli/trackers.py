"""A run's settings and log in Weights & Biases, Trackio or MLflow, whose packages are imported when one is named."""

import importlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from spi_plugins.archive import write_atomically
from spi_plugins.plugins.registry import describe


class TrackedRun(NamedTuple):
    """What a service is told about a run.

    Attributes:
        project: where the service files it.
        group: its algorithm and environment, which runs with other seeds share.
        config: its settings.
        folder: its folder, which also keeps the service's id of it, for a run that continues.
    """

    project: str
    group: str
    config: Mapping[str, Any]
    folder: pathlib.Path

    @property
    def name(self) -> str:
        """As the folders of the run are called: algorithm, environment and, if there are several, seed."""
        depth = 3 if self.folder.name.startswith("seed_") else 2
        return "-".join(self.folder.parts[-depth:])


class Session(NamedTuple):
    """An open run: the id under which it can go on, and what sends numbers and ends it."""

    id: str
    log: Callable[[dict[str, float], int], Any]
    close: Callable[[], Any]


class Tracker(KVWriter):
    """Writes the numbers of the log to a service; its own environment variables configure it.

    A service that fails later is given up with a warning: the run's folder has the same numbers.

    Args:
        service: ``"wandb"``, ``"trackio"`` or ``"mlflow"``.
        run: what to say about the run.
    """

    def __init__(self, service: str, run: TrackedRun) -> None:
        memory = run.folder / "tracking.json"
        known = json.loads(memory.read_text()) if memory.is_file() else {}
        self.service = service
        self._session: Session | None = STARTS[service](run, known.get(service))
        write_atomically(memory, json.dumps({**known, service: self._session.id}).encode())

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Send one row."""
        excluded = {key: key_excluded.get(key, ()) for key in key_values}
        values = filter_excluded_keys(key_values, excluded, "csv")
        numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
        self._ask(lambda session: session.log(numbers, step))

    def conclude(self, evaluation: Mapping[str, Any], step: int) -> None:
        """Send the numbers of the evaluation at the end."""
        self.write({f"evaluation/{key}": value for key, value in evaluation.items()}, {}, step)

    def close(self) -> None:
        """Say that the run has ended."""
        self._ask(lambda session: session.close())
        self._session = None

    def _ask(self, what: Callable[[Session], Any]) -> None:
        if self._session is None:
            return
        try:
            what(self._session)
        except Exception as fault:
            self._session = None
            sys.stderr.write(f"spi: warning: {self.service} gets no more of this run: {describe(fault)}\n")


def _start_wandb(run: TrackedRun, known: str | None) -> Session:
    wandb = importlib.import_module("wandb")
    session = wandb.init(
        project=run.project,
        name=run.name,
        group=run.group,
        config=dict(run.config),
        dir=str(run.folder),
        id=known,
        resume="allow",
    )
    return Session(session.id, session.log, session.finish)


def _start_trackio(run: TrackedRun, known: str | None) -> Session:
    trackio = importlib.import_module("trackio")
    session = trackio.init(
        project=run.project,
        name=known or run.name,
        group=run.group,
        config=dict(run.config),
        resume="must" if known else "never",  # another folder's run may have the same name
    )
    return Session(session.name, session.log, session.finish)


def _start_mlflow(run: TrackedRun, known: str | None) -> Session:
    mlflow = importlib.import_module("mlflow")
    mlflow.set_experiment(run.project)
    session = mlflow.start_run(run_id=known, run_name=None if known else run.name, tags={"group": run.group})
    if known is None:  # parameters cannot change
        mlflow.log_params({key: value for key, value in _flat(run.config).items() if value is not None})
    return Session(session.info.run_id, lambda values, step: mlflow.log_metrics(values, step), mlflow.end_run)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


#: What opens a run by the name of the service.
STARTS: dict[str, Callable[[TrackedRun, str | None], Session]] = {
    "wandb": _start_wandb,
    "trackio": _start_trackio,
    "mlflow": _start_mlflow,
}
