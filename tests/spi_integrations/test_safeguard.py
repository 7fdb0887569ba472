"""``SafeguardCallback``: what it takes back, what it leaves, and how often noise fools its test."""

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import CARTPOLE, tiny_ppo

from spi_integrations.stable_baselines3 import SafeguardCallback
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.certificates.comparison import difference, errors, judge
from spi_plugins.certificates.result import Certificate
from spi_plugins.envs.cartpole import make_cartpole


def run_of_checks(rng, draw, tolerance, n_checks=8, n=50, looks=2, error_rate=0.1):
    """Whether any of many checks of a policy against itself, or against one that is worse, says so."""
    reference, levels = draw(rng, n * looks), errors(error_rate, looks)
    verdicts = []
    for error, _ in zip(levels, range(n_checks), strict=False):
        played = np.zeros(0)
        for _ in range(looks):
            played = np.concatenate([played, draw(rng, n)])
            verdict = judge(difference(played, reference, error), tolerance)
            if verdict != "undecided":
                break
        verdicts.append(verdict)
    return verdicts


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(0, 1, n),
        lambda rng, n: rng.exponential(1, n),
        lambda rng, n: 10.0 * (rng.random(n) < 0.2),  # most episodes cost nothing
    ],
)
def test_noise_rolls_back_no_more_often_than_promised(draw):
    rng = np.random.default_rng(0)
    runs = [run_of_checks(rng, draw, tolerance=0.0, error_rate=0.1) for _ in range(200)]
    assert np.mean(["worse" in run for run in runs]) <= 0.1


def test_what_is_worse_is_found_and_what_is_as_good_is_kept():
    rng = np.random.default_rng(0)
    old = rng.normal(0, 1, 100)
    worse = [judge(difference(rng.normal(-2, 1, 100), old, 0.01), 0.5) for _ in range(200)]
    equal = [judge(difference(rng.normal(0, 1, 100), old, 0.01), 1.0) for _ in range(200)]
    assert worse.count("worse") > 190
    assert equal.count("fine") > 190
    for bounds in (None, (0.0, 1.0)):  # both kinds of bounds cover
        missed = 0
        for _ in range(400):
            new, old = rng.beta(2, 5, 50), rng.beta(2, 3, 50)
            found = difference(new, old, 0.1, bounds)
            missed += not found.low <= 2 / 7 - 2 / 5 <= found.high
        assert missed <= 0.25 * 400


def test_levels_add_up_to_the_error_rate():
    levels = errors(0.05, looks=3)
    assert 3 * sum(next(levels) for _ in range(100_000)) == pytest.approx(0.05, rel=1e-4)


class Break(BaseCallback):
    """Ruins the policy at some step, as a bad update would."""

    def __init__(self, at):
        super().__init__()
        self.at, self.done = at, False

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        if self.num_timesteps >= self.at and not self.done:
            self.done = True
            spoil(self.model)


def spoil(model):
    parameters = model.get_parameters()
    for key, value in parameters["policy"].items():
        if key.endswith(("action_net.bias", "actor/dense/bias")):
            pushes_left = [50.0, -50.0]
            tensor = hasattr(value, "new_tensor")  # SB3's are torch's
            parameters["policy"][key] = value.new_tensor(pushes_left) if tensor else np.array(pushes_left)
    model.set_parameters(parameters)


UNLIMITED = make_cartpole(
    max_episode_steps=60
)  # a random policy lasts 22 steps, one that always pushes left 9


@pytest.mark.parametrize("which", ["ours", "sb3"])
def test_a_ruined_policy_is_taken_back_with_any_algorithm(which):
    if which == "ours":
        model = tiny_ppo("stepped", learning_rate=0.0)
    else:
        model = A2C("MlpPolicy", FunctionalVecEnv(CARTPOLE, 2, seed=0), n_steps=4, learning_rate=0.0, seed=0)
    before = flat(model)
    guard = SafeguardCallback(
        FunctionalVecEnv(UNLIMITED, 4, seed=1),
        tolerance=2.0,
        check_freq=40,
        n_eval_episodes=20,
        max_eval_episodes=40,
        deterministic=False,
        stop_after=1,
    )
    torch.set_num_threads(1)
    model.learn(96, callback=[Break(at=40), guard])
    assert guard.rollbacks
    assert model.num_timesteps < 96  # it stopped
    for name, value in flat(model).items():
        np.testing.assert_array_equal(value, before[name])


def flat(model):
    return {k: np.asarray(v) for k, v in model.get_parameters()["policy"].items()}


def test_a_certificate_takes_the_place_of_episodes():
    model = tiny_ppo("stepped", learning_rate=0.0)
    asked = []

    def certify(model, reference):
        asked.append(model.num_timesteps)
        return Certificate("improvement", 0.0, 1.0, ())

    guard = SafeguardCallback(
        FunctionalVecEnv(CARTPOLE, 4, seed=1), 0.1, check_freq=8, n_eval_episodes=2, max_eval_episodes=2,
        certify=certify,
    )  # fmt: skip
    model.learn(24, callback=guard)
    assert [verdict for _, verdict in guard.verdicts] == ["fine"] * 3
    assert len(asked) == 3


def test_arguments_are_checked():
    env = FunctionalVecEnv(CARTPOLE, 2, seed=1)
    for kwargs, words in (
        ({"tolerance": -1.0}, "tolerance must be finite and at least 0"),
        ({"tolerance": 1.0, "error_rate": 0.0}, "error_rate must be above 0"),
        ({"tolerance": 1.0, "n_eval_episodes": 30, "max_eval_episodes": 20}, "max_eval_episodes"),
    ):
        with pytest.raises(ValueError, match=words):
            SafeguardCallback(env, **kwargs)
