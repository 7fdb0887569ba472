"""``spi eval``, ``spi enjoy`` and ``spi video`` keep to the action masks that an environment offers."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from spi_plugins import PPO

STEPS = 40  # of an episode: without masks, a chance of 1e-7 to take no forbidden action in it
ENV = ("--env", "Forbidden-v0", "--stochastic")


class Forbidden(gymnasium.Env):
    """One of three actions is forbidden at a time, and ends the episode with -1."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        forbidden = action == self.n_steps % 3
        self.n_steps += 1
        done = forbidden or self.n_steps == STEPS
        return np.zeros(1, np.float32), -1.0 if forbidden else 1.0 / STEPS, done, False, {}

    def action_masks(self):
        return np.arange(3) != self.n_steps % 3

    def render(self):
        return np.full((16, 16, 3), self.n_steps, np.uint8)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.zip"
    PPO("MlpPolicy", Forbidden(), n_steps=8, batch_size=8, policy_kwargs={"net_arch": [4]}).save(path)
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eval", "--n-episodes", 2), "1.00"),
        (("enjoy", "--no-render", "-n", 2 * STEPS), "Mean of 2: return 1.00 +- 0.00"),
        (("video", "--n-episodes", 1, "-o", "film.gif"), "of 1 episode, return 1,"),
    ],
)
def test_no_forbidden_action_is_taken(spi, model_file, monkeypatch, words, said):
    monkeypatch.setitem(
        gymnasium.registry, "Forbidden-v0", gymnasium.envs.registration.EnvSpec("Forbidden-v0", Forbidden)
    )
    command, *options = words
    done = spi(command, model_file, "--algo", "ppo", *ENV, *options)
    assert done.code == 0, done.err
    assert said in done.out
