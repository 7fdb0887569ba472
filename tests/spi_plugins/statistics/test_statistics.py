"""Cases that can be worked out by hand."""

import numpy as np
import pytest

from spi_plugins.statistics import (
    atari_game,
    band,
    estimate,
    human_normalized,
    iqm,
    mean,
    median,
    probability_of_improvement,
)


def test_tasks_may_have_different_numbers_of_runs():
    scores = [np.array([0.0, 2.0]), np.array([3.0]), np.array([4.0, 5.0, 6.0])]
    assert mean(scores) == pytest.approx(3)
    assert median(scores) == 3
    assert iqm(scores) == pytest.approx(3.5)  # of 2, 3, 4, 5
    assert probability_of_improvement(scores, scores) == 0.5


def test_one_run_of_each_task_has_an_interval_without_width():
    assert estimate(iqm, [np.array([0.3]), np.array([0.5])]) == pytest.approx((0.4, 0.4, 0.4))


@pytest.mark.parametrize("scores", [[], [np.array([1.0]), np.array([])]])
def test_nothing_cannot_be_estimated(scores):
    with pytest.raises(ValueError, match="at least one"):
        estimate(mean, scores)


def test_a_shorter_run_counts_until_it_ends():
    long = np.array([0.0, 100.0]), np.array([0.0, 10.0])
    short = np.array([10.0, 50.0]), np.array([5.0, 5.0])
    result = band([long, short], n_points=91)
    assert result.steps[0] == 10
    assert result.steps[-1] == 100
    by_step = dict(zip(result.steps.round().astype(int).tolist(), zip(*result[1:], strict=True), strict=True))
    assert by_step[10] == pytest.approx((3, 1, 5))
    assert by_step[50] == pytest.approx((5, 5, 5))
    assert by_step[80] == pytest.approx((8, 8, 8))


@pytest.mark.parametrize(
    ("env", "game"),
    [
        ("envpool:Breakout-v5", "Breakout"),
        ("ale_py:ALE/UpNDown-v5", "UpNDown"),
        ("PongNoFrameskip-v4", "Pong"),
        ("SeaquestDeterministic-v4", "Seaquest"),
        ("CartPole-v1", None),
    ],
)
def test_a_game_is_known_by_every_spelling_of_its_id(env, game):
    assert atari_game(env) == game


def test_scores_are_normalized_by_random_play_and_the_human():
    assert human_normalized("Breakout", 1.7) == 0
    assert human_normalized("Breakout", 30.5) == pytest.approx(1)
    assert human_normalized("Pong", 20.0) == pytest.approx(40.7 / 35.3)
