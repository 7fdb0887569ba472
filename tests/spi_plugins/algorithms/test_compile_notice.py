import json
import random
import threading

import jax
import pytest
from tiny_models import tiny_ppo

from spi_plugins.algorithms.compile_notice import _COMPILATION, announcing_compilation


@pytest.fixture
def impatient(tmp_path, monkeypatch):
    """Every compilation takes too long, and is remembered in a folder of its own."""

    class Now:
        def __init__(self, seconds, function, args):
            self.start = lambda: function(*args)

        def cancel(self):
            pass

    monkeypatch.setattr(threading, "Timer", Now)
    monkeypatch.setenv("SPI_COMPILE_CACHE", str(tmp_path))
    return tmp_path / "compile_times.json"


def compile_something():
    """Compile a program that cannot be on disk."""
    number = random.random()
    return jax.jit(lambda x: x + number)(1)


def test_a_compilation_is_announced_with_the_time_that_it_took_before(impatient, capsys):
    with announcing_compilation("Mine"):
        compile_something()
    assert capsys.readouterr().err == (
        "Compiling (first time on this machine, may take a minute) ...\nCompiled in 0 s.\n"
    )
    (name,) = json.loads(impatient.read_text())
    assert name.startswith("Mine ")
    impatient.write_text(json.dumps({name: 123.4}))
    with announcing_compilation("Mine"):
        compile_something()
    assert "Compiling (first time on this machine, about 123 s) ..." in capsys.readouterr().err


def test_a_slow_disk_is_told_from_the_compiler(impatient, capsys):
    with announcing_compilation("Mine"):
        jax.monitoring.record_scalar(_COMPILATION, 0.0, fun_name="large")
        jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
        jax.monitoring.record_event_duration_secs(_COMPILATION, 4.2, fun_name="large")
    assert capsys.readouterr().err.endswith("It was on disk, and took 4 s to read.\n")
    assert not impatient.exists()


@pytest.mark.parametrize("stored", ["[1]", '{"a": "b"}', "{", '"\\ud800"'])
def test_remembered_times_that_are_damaged_are_forgotten(impatient, capsys, stored):
    impatient.write_text(stored)
    with announcing_compilation():
        compile_something()
    assert "may take a minute" in capsys.readouterr().err
    assert json.loads(impatient.read_text())


def test_programs_that_stay_off_the_disk_are_not_called_the_first(impatient, capsys, monkeypatch):
    monkeypatch.setenv("SPI_COMPILE_CACHE", "0")
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with announcing_compilation():
            compile_something()
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    assert capsys.readouterr().err == "Compiling (may take a minute) ...\nCompiled in 0 s.\n"
    assert not impatient.exists()


def test_outside_of_a_block_and_in_a_quiet_one_nothing_is_said(impatient, capsys):
    with announcing_compilation(shown=False):
        compile_something()
    with announcing_compilation():
        pass
    compile_something()
    assert capsys.readouterr().err == ""


def test_a_short_compilation_passes_in_silence(capsys):
    with announcing_compilation():
        compile_something()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_models_announce_if_they_are_verbose_or_show_a_progress_bar(impatient, capsys, path):
    model = tiny_ppo(path)
    assert capsys.readouterr().err == ""
    model.learn(8, progress_bar=True)
    assert "Compiling (" in capsys.readouterr().err
    tiny_ppo(path, verbose=1)
    assert "Compiling (" in capsys.readouterr().err
