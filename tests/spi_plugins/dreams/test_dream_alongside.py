import numpy as np
import pytest
from gymnasium import spaces
from tiny_worlds import known_world

from spi_plugins.dreams.alongside import DreamAlongside
from spi_plugins.dreams.file import StoredWorldModel


def stored(end):
    """The world in which the latent x becomes x + a, pays x and costs a^2; observations are 10 x."""
    box = spaces.Box(-100.0, 100.0, (1,), np.float32)
    starts = np.zeros((1, 1), np.float32)
    return StoredWorldModel(
        kind="known",
        settings={},
        fitted=known_world(end=end),
        observation_space=box,
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        starts=starts,
        first=np.ones(1, bool),
        latent_low=-2.0,
        latent_high=2.0,
        decoded_space=box,
        statistics={},
        report={},
    )


def batch(number):
    return np.full((1, 1), number, np.float32)


def test_a_dream_takes_the_real_actions_and_begins_again_after_its_horizon():
    dream = DreamAlongside(stored(end=0.25), horizon=2)
    first = dream.begin(batch(5.0))
    assert (first.step, first.z.item(), first.real_z.item(), first.decoded.item()) == (0, 0.5, 0.5, 5.0)
    assert (first.reward, first.cost, first.termination) == (None, None, None)
    steps = [dream.step(batch(action), batch(obs)) for action, obs in ((0.5, 1.0), (1.0, -10.0), (0.2, 0.0))]
    # The third begins at the real -10 of the second: x = -1 there.
    assert [step.step for step in steps] == [1, 2, 1]
    assert [step.z.item() for step in steps] == pytest.approx([1.0, 2.0, -0.8])
    assert [step.real_z.item() for step in steps] == pytest.approx([0.1, -1.0, 0.0])
    assert [step.decoded.item() for step in steps] == pytest.approx([10.0, 20.0, -8.0])
    assert [step.reward for step in steps] == pytest.approx([0.5, 1.0, -1.0])
    assert [step.cost for step in steps] == pytest.approx([0.25, 1.0, 0.04])
    assert [step.termination for step in steps] == pytest.approx([0.25] * 3)


def test_latents_stay_within_the_bounds_of_dreams():
    dream = DreamAlongside(stored(end=0.0), horizon=9)
    dream.begin(batch(15.0))
    assert dream.step(batch(1.0), batch(0.0)).z.item() == 2.0
