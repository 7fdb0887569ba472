"""Worlds with chance, fitted, stored, dreamt and planned in."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from tiny_worlds import SETTINGS, tiny_world

import spi_plugins
from spi_wrappers import DreamVectorEnv, LatentObservation

GOOD, BAD, HOME = (0, 1), (1, 2), (0, 0)


class Gamble(gymnasium.Env):
    """Action 0 leads to GOOD (probability 0.7, reward 1) or to BAD (reward -10, the end), action 1 to HOME."""

    observation_space = spaces.MultiDiscrete([2, 3])
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array(HOME), {}

    def step(self, action):
        if action == 1:
            return np.array(HOME), 0.0, False, False, {}
        bad = self.np_random.random() < 0.3
        return np.array(BAD if bad else GOOD), -10.0 if bad else 1.0, bad, False, {}


FIT = {
    "n_steps": 600,
    "n_updates": 400,
    "n_members": 2,
    "hidden": (16,),
    "batch_size": 32,
    "learning_rate": 5e-3,
}


@pytest.fixture(scope="module")
def gamble():
    return spi_plugins.fit_world_model(Gamble(), **FIT)


def gambled(stored, n=2000):
    """Action 0 from HOME, many times."""
    model, params = stored.fitted.model, stored.fitted.params
    z = model.encode(params, jnp.tile(jnp.array(HOME), (n, 1)))
    return jax.jit(model.step)(params, z, jnp.zeros(n, jnp.int32), jax.random.key(0))


def test_states_are_drawn_as_often_as_they_follow_with_the_reward_and_end_that_belong_to_them(gamble):
    assert gamble.settings["transition_density"] == "categorical"
    step = gambled(gamble)
    drawn = np.asarray(step.next_z)
    good, bad = ((drawn == code).all(axis=1) for code in ([1, 0, 0, 1, 0], [0, 1, 0, 0, 1]))
    # No mixture of the two: the variables are drawn together.
    assert (good | bad).mean() > 0.97
    assert bad.mean() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_allclose(step.reward[bad], -10.0, atol=1.5)
    np.testing.assert_allclose(step.reward[good], 1.0, atol=1.5)
    assert step.terminated[bad].min() > 0.8
    assert step.terminated[good].max() < 0.2


def test_the_most_likely_state_follows_where_nothing_is_drawn(gamble):
    model, params = gamble.fitted.model, gamble.fitted.params
    z = model.encode(params, jnp.array([HOME]))
    step = jax.jit(lambda params: model.step(params, z, jnp.zeros(1, jnp.int32), None))(params)
    np.testing.assert_array_equal(step.next_z[0], [1, 0, 0, 1, 0])
    assert step.reward[0] > 0.0


def test_a_dream_of_the_file_visits_states_only(gamble, tmp_path):
    gamble.save(tmp_path / "gamble")
    stored = spi_plugins.load_world_model(tmp_path / "gamble")
    np.testing.assert_array_equal(gambled(stored).next_z, gambled(gamble).next_z)
    single = gymnasium.make("spi/Dream-v0", model=tmp_path / "gamble", horizon=5)
    assert single.observation_space == LatentObservation(Gamble(), stored).observation_space
    envs = DreamVectorEnv(16, tmp_path / "gamble", horizon=5)
    envs.reset(seed=0)
    last_rewards = []
    for _ in range(8):
        obs, reward, terminated, _, _ = envs.step(np.zeros(16, int))
        assert set(np.unique(obs)) == {0.0, 1.0}
        last_rewards += reward[terminated].tolist()
    assert 10 < len(last_rewards) < 60
    assert np.mean(np.array(last_rewards) < -5.0) > 0.8
    assert len(spi_plugins.open_dream(stored, start="distinct").params.starts) == 2  # BAD is terminal


def test_the_report_says_whether_chance_is_shown(gamble):
    found = gamble.report["randomness"]
    assert (found["test"], found["looks_random"], found["shown"]) == ("repeats", True, True)


class Toss(Gamble):
    """Each step moves by 1 (probability 0.7) or by -1, around half of where it was."""

    observation_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1, np.float32)
        return self.x, {}

    def step(self, action):
        self.x = np.float32(self.x / 2 + (1.0 if self.np_random.random() < 0.7 else -1.0))
        return self.x, float(self.x[0]), False, False, {}


def test_a_mixture_draws_the_sides_of_a_coin_and_nothing_between():
    stored = spi_plugins.fit_world_model(
        Toss(), **FIT, transition_density="mixture", n_components=3, held_out=0.25
    )
    found = stored.report["randomness"]
    assert (found["test"], found["looks_random"], found["shown"]) == ("residuals", True, True)
    model, params = stored.fitted.model, stored.fitted.params
    z = model.encode(params, jnp.full((2000, 1), 0.5))
    step = jax.jit(model.step)(params, z, jnp.zeros(2000, jnp.int32), jax.random.key(0))
    x = np.asarray(model.decode(params, step.next_z))[:, 0]
    up, down = np.abs(x - 1.25) < 0.4, np.abs(x + 0.75) < 0.4
    assert (up | down).mean() > 0.9
    assert up.mean() == pytest.approx(0.7, abs=0.1)
    # The reward is that of the side that was drawn.
    np.testing.assert_allclose(np.asarray(step.reward)[up | down], x[up | down], atol=0.5)


def test_a_mixture_of_numbers_is_stored_and_planned_in(tmp_path):
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    stored = tiny_world(box, box, transition_density="mixture", n_components=3)
    stored.save(tmp_path / "mixture")
    loaded = spi_plugins.load_world_model(tmp_path / "mixture")
    policy = spi_plugins.PlannerPolicy(
        loaded.fitted, "cem", horizon=1, num_samples=16, num_elites=4, iterations=1
    )
    assert box.contains(policy.predict(np.zeros(2, np.float32))[0])


def test_a_density_must_fit_the_observations():
    with pytest.raises(
        ValueError, match="transition_density='categorical' needs observations that are all discrete"
    ):
        tiny_world(transition_density="categorical")
    mixed = spaces.Dict({"cell": spaces.Discrete(3), "speed": spaces.Box(-1.0, 1.0, (1,), np.float32)})
    from spi_plugins.fitting.ensemble import make_ensemble_world
    from spi_plugins.spaces import action_spec, observation_spec

    world = make_ensemble_world(observation_spec(mixed), action_spec(spaces.Discrete(2)), **SETTINGS)
    assert world.settings["transition_density"] == "mixture"
