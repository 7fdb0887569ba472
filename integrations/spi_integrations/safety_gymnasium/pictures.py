"""Pictures without a window, and errors where OpenGL is missing."""

import contextlib
import os
from collections.abc import Iterator

import mujoco

# The error depends on which library is missing.
_NO_OPENGL = (mujoco.FatalError, RuntimeError, ImportError, AttributeError)


@contextlib.contextmanager
def opengl_errors() -> Iterator[None]:
    """If MuJoCo finds no OpenGL, raise a ``RuntimeError`` that says what to set."""
    try:
        yield
    except _NO_OPENGL as error:
        setting = repr(os.environ["MUJOCO_GL"]) if "MUJOCO_GL" in os.environ else "not set"
        raise RuntimeError(
            f"No picture can be drawn ({error}). Without a display, MuJoCo needs MUJOCO_GL=egl (GPU, or Mesa's libegl1 "
            "and libgl1-mesa-dri) or MUJOCO_GL=osmesa (libosmesa6) in the environment before Python starts; "
            f"MUJOCO_GL is {setting}."
        ) from error
