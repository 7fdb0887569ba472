import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The fast tests compile for longer than they compute, and compile in half the time without LLVM's optimizations and
# XLA's newer emitters. (In one module, because split over several XLA gets programs wrong at this setting:
# test_environments_with_costs notices.) The learning runs, `make test-slow`, set the variable to nothing.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Compiling is most of what the tests do, and often of the same program. Processes that a test starts, and
    # pytest's own workers, inherit the folder.
    _CACHE = tempfile.mkdtemp(prefix="spi-plugins-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

import gymnasium
import jax
import pytest

# [T, B] against [T, B, 1] broadcasts to [T, T, B] and trains on nonsense; make it an error.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def own_dreams(tmp_path, monkeypatch):
    """An empty list of kept dreams; no id of the pages and tests, mine/... or theirs/..., is left to later tests."""
    monkeypatch.setenv("SPI_DREAMS", str(tmp_path / "dreams.json"))
    yield
    for name in [name for name in gymnasium.registry if name.startswith(("mine/", "theirs/"))]:
        del gymnasium.registry[name]
