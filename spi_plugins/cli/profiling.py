"""Records where the time of a few iterations goes, in a file that Perfetto opens."""

import pathlib
import shutil

import jax
from stable_baselines3.common.callbacks import BaseCallback


class Profile(BaseCallback):
    """Traces some iterations once training has started in earnest.

    Args:
        file: where the trace goes, ``.json.gz``.
        skip: iterations before the first one that is traced, in which XLA compiles.
        count: how many are traced; the file grows with them.
    """

    def __init__(self, file: pathlib.Path, *, skip: int = 2, count: int = 3) -> None:
        super().__init__()
        self.file, self.skip, self.count = file, skip, count
        self._iterations, self._running = 0, False

    def _on_rollout_start(self) -> None:
        if self._running and self._iterations == self.skip + self.count:
            self._stop()
        elif self._iterations == self.skip:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self.file.parent), create_perfetto_trace=True)
            self._running = True
        self._iterations += 1

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._running:
            self._stop()

    def _stop(self) -> None:
        """Write the trace, of which JAX's own folder is not kept."""
        jax.profiler.stop_trace()  # type: ignore[no-untyped-call]
        self._running = False
        folder = self.file.parent / "plugins"
        (written,) = folder.rglob("perfetto_trace.json.gz")
        written.replace(self.file)
        shutil.rmtree(folder)
