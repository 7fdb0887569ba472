import json

import pytest

from spi_plugins.cli import demo, main

# Uniformly random actions have 0.34, and no policy reaches 1.
BOUND, RANDOM = 0.8, 0.45


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_reaches_a_return_that_random_play_does_not(seed, tmp_path):
    assert main(["demo", "--seed", str(seed), "--log-folder", str(tmp_path)]) == 0
    (evaluation,) = tmp_path.glob("deep_spi/*/evaluation.json")
    assert json.loads(evaluation.read_text())["mean_return"] >= BOUND
    assert demo.random_return(seed) < RANDOM
