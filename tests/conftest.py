import atexit
import ctypes
import gc
import os
import pathlib
import resource
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The fast tests spend more time compiling than computing, and compile twice as fast without LLVM's optimizations and
# XLA's newer emitters. The split count is 1 because at this setting XLA miscompiles programs that it splits over
# several modules, as test_environments_with_costs would notice. The learning runs, `make test-slow`, unset the flags.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # The tests mostly compile, and often the same program. Processes that a test starts, and pytest's own workers,
    # inherit the folder.
    _CACHE = tempfile.mkdtemp(prefix="spi-plugins-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
# Remembered compile times, too, stay out of the user's home.
os.environ.setdefault("SPI_COMPILE_CACHE", os.environ["JAX_COMPILATION_CACHE_DIR"])

import gymnasium
import jax
import pytest

# [T, B] against [T, B, 1] broadcasts to [T, T, B] and trains on nonsense; make it an error.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def programs_dropped():
    """Forget compiled programs when they fill the memory; the cache on the disk has them still."""
    yield
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    if pages * resource.getpagesize() > 2**31:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or glibc keeps what XLA has freed, up to 8 GB


@pytest.fixture
def own_dreams(tmp_path, monkeypatch):
    """Start without registered dreams, and remove the ids mine/... and theirs/... of pages and tests afterwards."""
    monkeypatch.setenv("SPI_DREAMS", str(tmp_path / "dreams.json"))
    yield
    for name in [name for name in gymnasium.registry if name.startswith(("mine/", "theirs/"))]:
        del gymnasium.registry[name]
