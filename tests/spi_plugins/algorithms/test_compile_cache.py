import os
import pathlib
import subprocess
import sys

import jax
import pytest

from spi_plugins.algorithms.compile_cache import cache_folder, keep_compiled_programs, programs_are_kept

CHILD = """
import jax
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
jax.numpy.ones(3) + 1  # compiled before anybody named a folder
from tiny_models import tiny_ppo
tiny_ppo().learn(8)
print(found.count("/jax/compilation_cache/cache_hits"), found.count("/jax/compilation_cache/cache_misses"))
"""


@pytest.fixture
def no_settings(monkeypatch):
    """The environment of a user who has configured nothing."""
    for name in (
        "SPI_COMPILE_CACHE",
        "JAX_COMPILATION_CACHE_DIR",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    ):
        monkeypatch.delenv(name, raising=False)


def test_a_second_process_finds_the_programs_of_the_first_on_disk(tmp_path, monkeypatch, no_settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, counts, kept = tmp_path / "cache" / "spi-plugins" / "xla", [], []
    for _ in range(2):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", CHILD], check=True, capture_output=True, text=True, env=environment
        )
        counts.append([int(word) for word in done.stdout.splitlines()[-1].split()])
        kept.append(len(list(folder.glob("*-cache"))))
    (first_hits, first_misses), (second_hits, _) = counts
    assert first_hits == 0
    assert first_misses >= kept[0] > 0
    # Others compile in less than the shortest time that is kept, or nearly.
    assert second_hits >= kept[0]


def test_the_folder_is_the_users_choice(tmp_path, monkeypatch, no_settings):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "spi-plugins"
    monkeypatch.setenv("SPI_COMPILE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("SPI_COMPILE_CACHE", "0")
    assert cache_folder() is None


def test_without_a_folder_to_write_to_nothing_is_kept_and_nothing_fails(tmp_path, monkeypatch, no_settings):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "file").touch()
    for home in (no_home, lambda: tmp_path / "file"):
        monkeypatch.setattr(pathlib.Path, "home", home)
        assert cache_folder() is None


def test_jax_s_own_settings_stay(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("SPI_COMPILE_CACHE", str(tmp_path))
    keep_compiled_programs()
    assert before == (
        jax.config.jax_compilation_cache_dir,
        jax.config.jax_persistent_cache_min_compile_time_secs,
    )
    assert programs_are_kept()
