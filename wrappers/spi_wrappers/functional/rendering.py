"""What both faces say about rendering."""

from typing import Any

from spi_plugins.envs.base import FunctionalEnv

RENDER_FPS = 15


def declared_metadata() -> dict[str, Any]:
    """What a face declares before it knows its environment."""
    return {"render_modes": ["rgb_array"], "render_fps": RENDER_FPS}


def metadata_of(functional: FunctionalEnv, render_mode: str | None) -> dict[str, Any]:
    """What a face of ``functional`` declares.

    Raises:
        ValueError: ``render_mode`` is not among it.
    """
    modes = [] if functional.render is None else ["rgb_array"]
    if render_mode is not None and render_mode not in modes:
        raise ValueError(
            f"render_mode must be None or one of {modes} for {functional.name}, got {render_mode!r}."
        )
    return {**declared_metadata(), "render_modes": modes}
