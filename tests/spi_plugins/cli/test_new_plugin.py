import os
import pathlib
import subprocess
import sys
import tomllib

import pytest


@pytest.fixture
def written(spi, tmp_path):
    result = spi("new-plugin", "my-planner")
    assert (result.code, result.err) == (0, "")
    return tmp_path / "my-planner", result.out


def test_it_writes_a_package_and_says_how_to_go_on(written):
    folder, out = written
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "README.md",
        "my_planner/__init__.py",
        "my_planner/planner.py",
        "pyproject.toml",
        "tests/test_planner.py",
    ]
    assert "cd my-planner\n" in out
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["spi_plugins"] == {"my-planner": "my_planner"}


def test_what_it_writes_passes_its_own_tests_and_our_linter(written):
    folder, _ = written
    # As an installed distribution shows itself, without the time that an installation takes.
    metadata = folder / "my_planner-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-planner\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[spi_plugins]\nmy-planner = my_planner\n")
    env = {**os.environ, "PYTHONPATH": str(folder), "SPI_STRICT_PLUGINS": "1"}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(tests, env=env, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout
    config = pathlib.Path(__file__).parents[3] / "pyproject.toml"
    for words in (["check", "--ignore=D"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", f"--config={config}", "."]
        linted = subprocess.run(ruff, cwd=folder, capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout


def test_it_writes_where_it_is_told_to(spi, tmp_path):
    (tmp_path / "there").mkdir()
    assert spi("new-plugin", "my-planner", "--path", "there").code == 0
    assert (tmp_path / "there" / "my-planner" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["My-Planner"], "NAME must be lower-case words and digits joined by '-', such as my-planner"),
        (["my_planner"], "got 'my_planner'"),
        (["../away"], "NAME must be"),
        (["mppi"], "'mppi' is taken: there is a planner 'mppi'"),
        (["safe-improvement"], "is taken: there is a planner 'safe_improvement'"),
        (["json"], "'json' is taken: this Python has a package or module 'json'"),
        (["my-planner", "--path", "nowhere"], "--path nowhere is not a folder"),
        (["full"], "full exists already; choose another NAME or --path"),
    ],
)
def test_what_cannot_be_is_refused(spi, tmp_path, words, message):
    (tmp_path / "full").mkdir()
    result = spi("new-plugin", *words)
    assert result.code == 2
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
