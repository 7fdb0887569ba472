"""Certificates of strict DeepSPI's updates on the confounding grid, judged by exact values."""

import numpy as np
import pytest
from certified_updates import judge, problem, setting
from grid_updates import train

SEEDS, UPDATES = [0, 1], 30


@pytest.mark.slow
def test_strict_updates_are_certified_and_no_bound_is_wrong():
    env, mdp = problem()
    strict, clip = (
        judge(mdp, train(env, setting(neighborhood, 3e-3, 0.2), SEEDS, UPDATES))
        for neighborhood in ("strict", "clip")
    )
    for judged in (strict, clip):
        assert (judged.change >= judged.theorem - 1e-9).all()
        assert (judged.change >= judged.ours - 1e-9).all()
    assert np.isfinite(strict.theorem).mean() >= 0.5
    assert strict.ratio.max() <= 1.25 * (1 + 1e-5)
    assert np.isfinite(clip.theorem).mean() < 0.5  # the clip leaves the theorem's band in most updates
