import sys

import pytest

from spi_plugins.cli.training import program


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command ``spi`` in a folder that is not on the path."""
    path = tmp_path / "bin" / "spi"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(path), "train"])
    return path


def test_off_the_path_the_command_is_named_as_it_was_called(command):
    assert program() == str(command)


def test_on_the_path_its_name_is_enough(command, monkeypatch):
    monkeypatch.setenv("PATH", str(command.parent))
    assert program() == "spi"


def test_another_command_of_that_name_on_the_path_is_not_taken_for_it(command, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "spi").write_text("#!/bin/sh\n")
    (other / "spi").chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program() == str(command)


def test_called_as_a_module_or_a_function_the_name_is_given(command, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(command.with_name("pytest"))])
    assert program() == "spi"
