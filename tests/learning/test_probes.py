"""PPO and DeepSPI learn the probe environments, each of which fails for one reason only.

The probes stand in order of difficulty: the first one that fails names the broken part. All but one run on the path
that steps in Python, where probes with the same spaces share their compiled programs.
"""

import numpy as np
import pytest

from spi_plugins import PPO, DeepSPI
from spi_plugins.envs.probe import IMAGE_SIZE, make_probe

GAMMA = 0.8
SETTINGS = {
    "n_envs": 32,
    "n_steps": 8,
    "batch_size": 64,
    "gamma": GAMMA,
    "learning_rate": 1e-2,
    "ent_coef": 0.0,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 1,
}
ALGORITHMS = {"PPO": (PPO, {}), "DeepSPI": (DeepSPI, {"transition_density": "deterministic"})}
ON_NUMBERS = np.array([[-1.0], [0.0], [1.0]], np.float32)


def learn(algorithm, probe, *, iterations=40, compiled=False, policy="MlpPolicy", **settings):
    cls, extra = ALGORITHMS[algorithm]
    model = cls(policy, make_probe(probe), compiled=compiled, **{**SETTINGS, **extra, **settings})
    return model.learn(iterations * model.n_envs * model.n_steps)


def values(model, observations):
    """The critic's values, through the program that training compiled."""
    batch = np.resize(observations, (model.n_envs, *observations.shape[1:]))
    return np.asarray(model._collector._value(model._agent_state.params, batch))[: len(observations)]


def decisions(model, observations):
    return model.predict(observations, deterministic=True)[0]


pytestmark = pytest.mark.parametrize("algorithm", ALGORITHMS)


def test_the_critic_learns_a_constant(algorithm):
    model = learn(algorithm, "constant_reward")
    np.testing.assert_allclose(values(model, ON_NUMBERS)[1], 1.0, atol=0.05)


def test_the_critic_sees_the_observation(algorithm):
    model = learn(algorithm, "observation_reward")
    np.testing.assert_allclose(values(model, ON_NUMBERS)[[0, 2]], [-1.0, 1.0], atol=0.05)


def test_the_discount_is_that_of_one_step(algorithm):
    model = learn(algorithm, "two_steps")
    np.testing.assert_allclose(values(model, ON_NUMBERS)[1:], [GAMMA, 1.0], atol=0.05)


def test_time_limits_are_bootstrapped_and_terminal_states_are_not(algorithm):
    model = learn(algorithm, "time_limit", iterations=80)
    # A time limit taken for an end would give 2.95.
    np.testing.assert_allclose(values(model, ON_NUMBERS)[[0, 2]], [1 / (1 - GAMMA), 1.0], atol=0.2)


def test_the_actor_prefers_the_paying_action(algorithm):
    model = learn(algorithm, "action_matters")
    assert decisions(model, ON_NUMBERS)[1] == 1


@pytest.mark.parametrize("compiled", [False, None])
def test_the_actor_sees_the_observation(algorithm, compiled):
    model = learn(algorithm, "action_depends_on_observation", compiled=compiled)
    np.testing.assert_array_equal(decisions(model, ON_NUMBERS)[[0, 2]], [0, 1])
    assert np.mean([episode["r"] for episode in model.ep_info_buffer]) > 0.9


def test_without_a_limit_on_costs_the_dear_action_is_taken(algorithm):
    assert decisions(learn(algorithm, "cost_conflict"), ON_NUMBERS)[1] == 1


def test_a_gaussian_policy_follows_its_target(algorithm):
    model = learn(algorithm, "box_target", iterations=80)
    targets = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    # Always 0 would score 0.42 here, a uniform policy 0.75.
    assert np.mean((decisions(model, targets) - targets) ** 2) < 0.05


def test_dict_observations_are_combined(algorithm):
    model = learn(algorithm, "dict_rule", policy="MultiInputPolicy", iterations=60)
    rule, signal = np.array([0, 0, 1, 1]), np.array([-1, 1, -1, 1], np.float32)[:, None]
    np.testing.assert_array_equal(decisions(model, {"rule": rule, "signal": signal}), [0, 1, 1, 0])


def test_images_are_read(algorithm):
    kwargs = {"net_arch": [16], "conv_layers": [(4, 8, 8)]}
    model = learn(algorithm, "image_side", policy="CnnPolicy", iterations=20, policy_kwargs=kwargs)
    left = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    left[:, : IMAGE_SIZE // 2] = 255
    np.testing.assert_array_equal(decisions(model, np.stack([left, 255 - left])), [0, 1])
