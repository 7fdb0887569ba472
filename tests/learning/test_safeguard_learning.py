"""A good policy under a learning rate that is far too large: the safeguard holds it, and without it it is lost."""

import numpy as np
import pytest
from safeguard import ENV, GOOD_STEPS, SETTINGS, TOLERANCE, mean_return, run

from spi_plugins import PPO


@pytest.mark.slow
def test_a_safeguarded_run_ends_within_the_tolerance_of_its_start(tmp_path):
    model = PPO("MlpPolicy", ENV, seed=0, **SETTINGS)
    model.learn(GOOD_STEPS)
    model.save(tmp_path / "good.zip")
    floor = mean_return(model, 0) - TOLERANCE
    ends = np.array([
        [run(tmp_path / "good.zip", seed, guarded=guarded)[0] for guarded in (False, True)] for seed in range(4)
    ])  # fmt: skip
    assert (ends[:, 1] >= floor).all()
    assert (ends[:, 0] < floor).sum() >= 2
