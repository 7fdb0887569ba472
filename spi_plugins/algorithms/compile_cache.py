"""Keeps compiled programs on disk, so that later processes with the same shapes start at once."""

import math
import os
import pathlib

import jax

VARIABLE = "SPI_COMPILE_CACHE"
# JAX's own default, a second, would leave out most of a small model's programs.
_SHORTEST = "jax_persistent_cache_min_compile_time_secs"
_JAX_SHORTEST, _OUR_SHORTEST = 1.0, 0.2


def cache_folder() -> pathlib.Path | None:
    """Where compiled programs and their compile times are kept.

    ``SPI_COMPILE_CACHE`` names a folder, or turns the cache off with ``0``. By default it is ``spi-plugins`` in the
    user's cache folder.

    Returns:
        The folder, which exists and can be written to; ``None`` if there is none or the cache is off.
    """
    named = os.environ.get(VARIABLE, "")
    if named == "0":
        return None
    try:
        caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        folder = pathlib.Path(named).expanduser() if named else caches / "spi-plugins"
        folder.mkdir(parents=True, exist_ok=True)
    except (
        RuntimeError,
        OSError,
    ):  # containers run as users without a home folder, or with one that is read-only
        return None
    return folder if os.access(folder, os.W_OK) else None


def keep_compiled_programs() -> None:
    """Turn on JAX's compilation cache on disk, unless the user configured it or turned it off."""
    if _option("jax_compilation_cache_dir") is not None or not _option("jax_enable_compilation_cache"):
        return
    folder = cache_folder()
    if folder is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))  # type: ignore[no-untyped-call]
    if _option(_SHORTEST) == _JAX_SHORTEST:
        jax.config.update(_SHORTEST, _OUR_SHORTEST)  # type: ignore[no-untyped-call]


def programs_are_kept() -> bool:
    """Whether a program that is compiled now will be on disk for the next process."""
    if _option("jax_compilation_cache_dir") is None or not _option("jax_enable_compilation_cache"):
        return False
    return bool(_option(_SHORTEST) != math.inf)


def _option(name: str) -> object:
    return getattr(jax.config, name)
