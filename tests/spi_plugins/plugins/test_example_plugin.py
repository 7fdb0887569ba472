"""The example of a third party: built, installed, and used by name, without a change here."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "spi-planner-example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the example, a folder where its wheel is installed, and the environment variables to use it."""
    root = tmp_path_factory.mktemp("example")
    source, site = root / "source", root / "site"
    shutil.copytree(EXAMPLE, source)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    run = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options, str(source)]
    subprocess.run(run, check=True, cwd=root)
    return source, site, {**os.environ, "PYTHONPATH": str(site), "SPI_STRICT_PLUGINS": "1"}


def test_it_is_found_by_name_with_its_distribution(installed):
    _, site, env = installed
    spi = [sys.executable, "-m", "spi_plugins.cli"]
    listing = subprocess.run(
        [*spi, "list", "planners", "--json"], env=env, cwd=site, capture_output=True, check=True
    )
    (mine,) = [entry for entry in json.loads(listing.stdout) if entry["name"] == "safe_shooting"]
    assert mine["plugin"] == "spi-planner-example"
    assert mine["target"] == "spi_planner_example.planner:make_safe_shooting"


def test_its_own_tests_pass(installed):
    source, _, env = installed
    pytest_run = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(pytest_run, env=env, cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


TRAIN = """
import numpy as np
from tiny_models import tiny_spowl
model = tiny_spowl(planner="safe_shooting", planner_kwargs=None).learn(12)
assert "safe_shooting" in model.agent.planner.name
action, _ = model.predict(np.zeros(model.observation_space.shape, np.float32))
assert model.action_space.contains(action)
"""


@pytest.mark.slow
def test_spowl_trains_with_it_by_name(installed):
    _, site, env = installed
    paths = os.pathsep.join([str(site), str(pathlib.Path(__file__).parents[2])])
    subprocess.run([sys.executable, "-c", TRAIN], env={**env, "PYTHONPATH": paths}, cwd=site, check=True)


def test_its_planner_has_less_than_sixty_lines():
    assert len((EXAMPLE / "spi_planner_example" / "planner.py").read_text().splitlines()) < 60
