"""SPOWL that knows a data set before its first step costs less in training; a policy imitates its search."""

import numpy as np
import pytest
from plan_latency import measure
from safe_start import run


@pytest.mark.slow
def test_pre_training_on_data_at_least_halves_the_costs_of_training(tmp_path):
    plain, safe = run("plain", 0, tmp_path), run("data, slower multiplier", 0, tmp_path)
    assert plain["cost_sum"] > 500
    assert safe["cost_sum"] < 0.5 * plain["cost_sum"]
    assert np.mean(safe["returns"]) > 0.9 * np.mean(plain["returns"])


@pytest.mark.slow
def test_the_distilled_policy_earns_most_of_what_the_search_does_at_a_policys_latency(tmp_path):
    known = {"one iteration, 16 sequences"}
    rows = {row["way"]: row for row in measure("short_point_goal", 0, tmp_path, known)}
    search, policy, distilled = (rows[way] for way in ("search", "policy", "distilled"))
    assert np.mean(distilled["returns"]) > 0.85 * np.mean(search["returns"])
    assert np.mean(distilled["costs"]) < np.mean(search["costs"]) + 1.0
    for size, milliseconds in distilled["milliseconds"].items():
        assert milliseconds < 3.0 * policy["milliseconds"][size]
