"""``spi calibrate``: what an agent's world model expects of costs, and what comes."""

import json
import pathlib

import numpy as np
import pytest
from tiny_models import tiny_spowl, tiny_tdmpc2

from spi_plugins import calibrate_costs

WORDS = ("--env", "spi/PointGoal-v0", "--n-steps", 64, "--seed", 3)


def test_expected_costs_are_compared_with_those_that_came(spi):
    tiny_spowl().save("model.zip")
    done = spi("calibrate", "model.zip", "--algo", "spowl", *WORDS, "-o", "out/costs.png", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    # Nothing is learned yet: the heads start at 0, whatever comes.
    everything = told["groups"]["all"]
    assert everything["n_steps"] == 64
    np.testing.assert_allclose(everything["predicted"], 0.0, atol=1e-6)
    assert everything["cost"][0] >= 0.0
    assert pathlib.Path("out/costs.png").stat().st_size > 1000


def test_an_agent_without_costs_is_refused():
    with pytest.raises(ValueError, match="TDMPC2 has no model of costs; SPOWL has one"):
        calibrate_costs(tiny_tdmpc2())
