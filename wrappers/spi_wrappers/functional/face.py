"""What the two Gymnasium faces of a functional environment share."""

from typing import Any

from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import PyTree
from spi_wrappers.functional.batch import Batch
from spi_wrappers.functional.source import Source


class Face:
    """Holds the copies, their parameters, and what can be rendered."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  as in Gymnasium
    render_mode: str | None
    _batch: Batch

    def _hold(
        self, env: str | FunctionalEnv, env_kwargs: dict[str, Any], num_envs: int, render_mode: str | None
    ) -> None:
        self._batch = Batch(Source(env, env_kwargs), num_envs)
        modes = [] if self.functional.render is None else ["rgb_array"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(
                f"render_mode must be None or one of {modes} for {self.functional.name}, got {render_mode!r}."
            )
        self.metadata = {**self.metadata, "render_modes": modes}
        self.render_mode = render_mode

    @property
    def functional(self) -> FunctionalEnv:
        """The functional environment."""
        return self._batch.functional

    @property
    def params(self) -> PyTree:
        """The current parameters; assigning others of the same shapes needs no new compilation."""
        return self._batch.params

    @params.setter
    def params(self, params: PyTree) -> None:
        self._batch.params = params
