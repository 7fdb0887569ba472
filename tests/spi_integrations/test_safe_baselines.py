"""The recipes run as they are, with few steps."""

import os
import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "examples/safe_baselines"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "recipe")
SMALL = ["--timesteps", "600", "--n-envs", "2", "--episodes", "2"]
MORE = {
    "ppo_lagrangian": [[], ["--pid", "--library", "spi"], ["--library", "sbx"]],
    "deep_spi_lagrangian": [[]],
}


def test_every_recipe_is_there():
    assert len(SCRIPTS) == 7


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        pytest.param(script, arguments, marks=() if not arguments else pytest.mark.slow)
        for script in SCRIPTS
        for arguments in MORE.get(script.stem, [[]])
    ],
    ids=lambda value: value.stem if isinstance(value, pathlib.Path) else "_".join(value) or "default",
)
def test_a_recipe_runs(script, arguments):
    done = subprocess.run(
        [sys.executable, script, *SMALL, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ep_cost_mean" in done.stdout or script.stem == "sac_lagrangian"  # which logs every fourth episode
    last = done.stdout.splitlines()[-1]
    assert last.startswith("return ")
    assert ", cost " in last
