import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from tiny_worlds import KNOWN_MODEL, known_world

from spi_plugins.dreams.file import StoredWorldModel
from spi_wrappers import DreamCheck

SPACES = (spaces.Box(-100.0, 100.0, (1,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32))


class Line(gymnasium.Env):
    """What the known world is a model of, with latents of a tenth: x becomes x + 10 a, five steps an episode."""

    observation_space, action_space = SPACES

    def __init__(self, bias=0.0):
        self.bias = bias

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = np.float32(self.np_random.integers(1, 4)), 0
        return np.array([self.x], np.float32), {}

    def step(self, action):
        reward = float(self.x) / 10 + self.bias
        self.x, self.t = np.float32(self.x + 10 * float(action[0])), self.t + 1
        info = {"cost": float(action[0]) ** 2}
        return np.array([self.x], np.float32), reward, False, self.t == 5, info


def stored():
    fitted = known_world()
    return StoredWorldModel(
        "known",
        {},
        fitted,
        *SPACES,
        np.ones((1, 1), np.float32),
        np.ones(1, bool),
        -50.0,
        50.0,
        SPACES[0],
        {},
        {},
    )


class Half:
    """Always a half to the right."""

    def __init__(self, space=None):
        if space is not None:
            self.observation_space = space
        self.seen = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.seen.append(np.asarray(observation))
        return np.full(np.shape(observation), 0.5, np.float32), None


def test_a_perfect_model_has_no_error_and_its_dreams_return_what_reality_does():
    report = DreamCheck(Line(), stored(), Half(), horizon=3).run(n_episodes=6)
    assert report.n_steps == 30
    np.testing.assert_allclose(report.errors["latent_error"], 0.0, atol=1e-6)
    np.testing.assert_allclose(report.errors["latent_change"], [0.5, 1.0, 1.5], atol=1e-6)
    np.testing.assert_allclose(report.errors["reward_error"], 0.0, atol=1e-6)
    np.testing.assert_allclose(report.errors["cost_error"], 0.0, atol=1e-6)
    # Five steps from x in {1, 2, 3}: the sum of x / 10 + 0.5 t is x / 2 + 5; costs are 5 / 4.
    assert set(np.round(report.real_return, 4)) <= {5.5, 6.0, 6.5}
    np.testing.assert_allclose(report.real_cost, 1.25, rtol=1e-6)
    assert set(np.round(report.dream_return, 4)) <= {5.5, 6.0, 6.5}
    np.testing.assert_allclose(report.dream_cost, 1.25, rtol=1e-6)
    np.testing.assert_allclose(report.reward.predicted, report.reward.observed, atol=1e-6)
    assert sum(report.reward.size) == 30


def test_a_wrong_reward_shows():
    report = DreamCheck(Line(bias=2.0), stored(), Half(), horizon=5).run(n_episodes=3)
    np.testing.assert_allclose(report.errors["reward_error"], 2.0, rtol=1e-5)
    np.testing.assert_allclose(np.subtract(report.reward.observed, report.reward.predicted), 2.0, rtol=1e-5)


def test_windows_do_not_cross_the_ends_of_episodes():
    report = DreamCheck(Line(), stored(), Half(), horizon=9).run(n_episodes=3)
    # Of an episode's five steps, five begin windows of 1 step, one a window of 5 steps, and none of 6.
    share = np.asarray(report.errors["share"])
    assert (share[:5] > 0).all()
    assert (share[5:] == 0).all()


def test_a_policy_sees_what_it_was_trained_on():
    real, latent = Half(), Half(spaces.Box(-50.0, 50.0, (1,), np.float32))
    DreamCheck(Line(), stored(), real).run(n_episodes=1)
    report = DreamCheck(Line(), stored(), latent).run(n_episodes=1)
    assert real.seen[0][0] == pytest.approx(10 * latent.seen[0][0])
    assert report.dream_return is not None
    with pytest.raises(ValueError, match=r"The policy sees Box.* neither the environment's"):
        DreamCheck(Line(), stored(), Half(spaces.Box(0.0, 1.0, (7,), np.float32)))


def test_without_a_decoder_a_policy_of_real_observations_cannot_dream():
    world = stored()
    blind = world.fitted._replace(model=KNOWN_MODEL._replace(decode=None))
    report = DreamCheck(Line(), world._replace(fitted=blind), Half()).run(n_episodes=1)
    assert report.dream_return is None
    assert "return, dream   unknown" in report.text()


def test_the_report_is_told_drawn_and_written(tmp_path):
    report = DreamCheck(Line(), stored(), horizon=4).run(n_episodes=2)
    assert "latent error" in report.text()
    assert (
        "Predictions are better than that nothing changes up to 4 steps ahead (latent error 0 "
        in report.text()
    )
    assert "within noise (" in report.text()
    assert json.loads(report.json())["n_steps"] == 10
    report.save_png(tmp_path / "check.png")
    assert (tmp_path / "check.png").stat().st_size > 5000


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        DreamCheck(Line(), stored(), horizon=0)
    with pytest.raises(ValueError, match="n_episodes must be at least 1"):
        DreamCheck(Line(), stored()).run(n_episodes=0)
    with pytest.raises(ValueError, match="observation must be one of 'real', 'latent', 'decoded', got 'raw'"):
        DreamCheck(Line(), stored(), observation="raw")
    with pytest.raises(ValueError, match="The world model takes observations in"):
        DreamCheck(gymnasium.make("Pendulum-v1"), stored())
