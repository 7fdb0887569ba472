"""``spi certify``: from a run's checkpoint to its model, and into the report."""

import json
import math
import pathlib

import numpy as np
import pytest
from tiny_runs import TINY

import spi_plugins
from spi_integrations.stable_baselines3.update_report import UpdateReport, told
from spi_plugins.certificates.result import Certificate
from spi_plugins.cli.arguments import to_json
from spi_plugins.cli.certify import _table
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import exact_model, start_value

RUN = pathlib.Path("runs/ppo/spi-ConfoundingGrid-v0_1")
TRAIN = (
    *("train", "ppo", "--env", "spi/ConfoundingGrid-v0", "--env-kwargs", "size:None", "n_path:2"),
    *("--n-envs", 2, "--no-preset", "--eval-episodes", 0),
    *(*TINY, "-n", 320, "--save-freq", 160),
)


def _chances(model, state):
    """Probabilities of the four actions, from the log-probability of each."""
    states, actions = np.full(4, state, np.int32), np.arange(4, dtype=np.int32)
    _, log_prob, _ = model.evaluations_of(states, actions)
    return np.exp(log_prob)


def test_certify_tells_certificates_from_diagnostics_and_the_report_shows_them(spi):
    assert spi(*TRAIN).code == 0
    done = spi("certify", RUN, "--n-episodes", 4, "--return-range", -50, 50, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert "_160_steps" in found["baseline"]  # that of 320 steps is the model itself
    kinds = {entry["name"]: entry["kind"] for entry in found["entries"]}
    assert kinds["old_return"] == kinds["new_return"] == "certificate"
    exact = {name for name in kinds if name.startswith("exact_")}
    certified = {name for name, kind in kinds.items() if kind == "certificate"}
    assert certified == {"old_return", "new_return"} | exact
    assert kinds["ratio_max"] == "diagnostic"  # states are sampled
    # All 10 states of the grid can be enumerated, so these are no bounds but the numbers themselves.
    values = {entry["name"]: entry["value"] for entry in found["entries"]}
    model = spi_plugins.get_algorithm("ppo").load(RUN / "model.zip")
    chances = np.stack([_chances(model, state) for state in range(10)])
    tables = exact_model(make_confounding_grid(2, size=None))
    assert values["exact_new_return"] == pytest.approx(start_value(tables, chances), rel=1e-4)
    gain = values["exact_new_return"] - values["exact_old_return"]
    assert values["exact_improvement"] == pytest.approx(gain)
    assert values["exact_bound_model_free"] <= gain
    assert values["exact_ratio_max"] >= values["ratio_max"] - 1e-5
    shown = spi("report", RUN, "-o", "report.html")
    assert shown.code == 0, shown.err
    page = pathlib.Path("report.html").read_text()
    assert "What is guaranteed" in page
    assert "guarantee nothing" in page
    assert "largest ratio over all states and actions" in page

    plain = spi("certify", RUN, "--n-episodes", 4)
    assert "if the tables are the process, episodes go on after the limit of 200 steps:" in plain.out
    diagnostics = [entry for entry in found["entries"] if entry["kind"] == "diagnostic"]
    assert "CERTIFICATES: none" in _table(RUN, RUN, diagnostics)
    for words, message in (
        (("certify", RUN, "--return-range", 1, 0), "LOW below its HIGH"),
        (("certify", RUN, "--error", 2), "--error must be above 0"),
        (("certify", next(iter(sorted((RUN / "checkpoints").glob("*.zip"))))), "no checkpoint before"),
    ):
        wrong = spi(*words)
        assert wrong.code == 2
        assert message in wrong.err


def test_a_void_bound_is_json_that_every_parser_reads():
    void = Certificate("improvement", -math.inf, 1.0, (), void="ratios are unbounded", vacuity=math.inf)
    entries = json.loads(to_json(told(UpdateReport({"bound": void}))), parse_constant=pytest.fail)
    assert (entries[0]["value"], entries[0]["vacuity"]) == ("-inf", "inf")
    assert "-inf  void: ratios are unbounded" in _table(RUN, RUN, entries)
