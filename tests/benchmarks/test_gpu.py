"""The script for GPUs runs dry on a CPU, so that no GPU minute is lost to a typo."""

import json

import gpu
import numpy as np
import pytest


def test_a_part_runs_in_its_own_process_and_its_figures_are_written(tmp_path):
    results = gpu.main(["--tiny", "--parts", "matmul", "--out", str(tmp_path)])
    assert results["parts"]["matmul"]["ended"] == "done"
    assert json.loads((tmp_path / "gpu.json").read_text()) == results
    assert "| matmul | product of 64, bfloat16 |" in (tmp_path / "gpu.md").read_text()


def test_a_part_is_cut_at_its_limit():
    assert gpu.finish_part(gpu.start_part("matmul", tiny=True, cache="0"), 0.0)["ended"] == "cut at its limit"


FAST = ("spowl", "cartpole")  # the longest, and the one with our two losses; the others take minutes together


def part(name):
    return pytest.param(name, marks=() if name in FAST else pytest.mark.slow)


@pytest.mark.parametrize("name", [part(name) for name in gpu.CORE | gpu.LONG])
def test_every_part_runs_dry(name):
    figures = list((gpu.CORE | gpu.LONG)[name].measure(True))
    assert figures
    assert all(np.isfinite(figure.value) for figure in figures if "not installed" not in figure.what)
