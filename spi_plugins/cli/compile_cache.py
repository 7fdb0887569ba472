"""Keeps compiled programs on disk, so that later runs with the same shapes start at once."""

import os
import pathlib


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, in the user's cache folder if there is one.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, and ``JAX_ENABLE_COMPILATION_CACHE=0`` turns it off.
    """
    import jax

    if getattr(jax.config, "jax_compilation_cache_dir") is None:  # noqa: B009 - mypy does not know it
        try:
            base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        except RuntimeError:  # containers run as users without a home folder
            return
        folder = str(base / "spi-plugins" / "xla")
        jax.config.update("jax_compilation_cache_dir", folder)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # type: ignore[no-untyped-call]
