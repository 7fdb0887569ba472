"""Two pools as one: the same episodes as one pool, and a training that steps one while it decides for the other."""

import numpy as np
import pytest
from pool_histories import actions_for, assert_same_history, by_environment, make
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import SMALL

from spi_integrations.envpool import make_vec
from spi_plugins import PPO
from spi_plugins.algorithms.halved_collector import HalvedStepCollector
from spi_plugins.errors import EnvironmentNotSupportedError

N_ENVS, N_STEPS = 4, 16


def halves(env_id="CartPole-v1", num_envs=N_ENVS, **kwargs):
    return make_vec(env_id, num_envs, halves=True, **kwargs)


@pytest.mark.parametrize("rows", [True, False])
def test_episodes_are_those_of_one_pool(rows):
    one, two = (by_environment(env, 60, rows) for env in (make("CartPole-v1", N_ENVS), halves()))
    assert_same_history(two, one)


def test_whole_games_are_counted_as_in_one_pool():
    atari = {"max_episode_steps": 30, "img_height": 42, "img_width": 42}
    one, two = make_vec("Breakout-v5", 2, **atari), halves("Breakout-v5", 2, **atari)
    np.testing.assert_array_equal(one.reset(), two.reset())
    for action in actions_for(one, 40):
        ours, theirs = two.step_rows(action), one.step_rows(action)
        np.testing.assert_array_equal(ours.obs, theirs.obs)
        episodes = [[info.get("episode", {}).get("r") for info in rows.infos] for rows in (ours, theirs)]
        assert episodes[0] == episodes[1]


class Note(BaseCallback):
    """What hooks see of each step, and the observations before it."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.steps, self.stop_at, self.obs = [], stop_at, None

    def _on_step(self):
        values = (
            self.locals[key] for key in ("actions", "rewards", "dones", "new_obs", "values", "log_probs")
        )
        before = self.model._last_obs
        self.steps.append((before, *map(np.copy, values)))
        assert not self.training_env.is_under_way
        return self.num_timesteps != self.stop_at


def train(n_rollouts, note=None):
    model = PPO("MlpPolicy", halves(), **{**SMALL, "n_steps": N_STEPS})
    return model.learn(n_rollouts * N_STEPS * N_ENVS, callback=note)


@pytest.fixture(scope="module")
def trained():
    note = Note()
    return train(3, note), note


def test_each_environment_gets_the_action_that_was_chosen_for_its_newest_observation(trained):
    model, note = trained
    assert isinstance(model._collector, HalvedStepCollector)
    replayed = make("CartPole-v1", N_ENVS)
    replayed.reset()
    for _, actions, rewards, dones, obs, *_ in note.steps:
        rows = replayed.step_rows(actions)
        np.testing.assert_array_equal(rows.obs, obs)
        np.testing.assert_array_equal(rows.reward, rewards)
        np.testing.assert_array_equal(rows.terminated | rows.truncated, dones)
    assert sum(step[3].sum() for step in note.steps) > 3
    # The parameters are those of the first rollout.
    untrained = train(0)
    for before, actions, *_, values, log_probs in note.steps[1:N_STEPS]:
        expected = untrained.evaluations_of(before, actions)
        np.testing.assert_allclose(values, expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(log_probs, expected[1], rtol=1e-5, atol=1e-6)


def test_the_update_sees_the_rollout_of_both_halves(trained):
    model, note = trained
    rollout, last = model._collector._rollout(model._collector._storage), note.steps[-N_STEPS:]
    for row, name in ((1, "action"), (2, "reward"), (6, "log_prob")):
        expected = np.stack([step[row] for step in last])
        np.testing.assert_array_equal(getattr(rollout, name), expected, err_msg=name)
    np.testing.assert_array_equal(rollout.obs[1:], np.stack([step[4] for step in last]))


def test_the_same_seed_gives_the_same_training(trained):
    other = train(3)
    for group, arrays in trained[0].get_parameters().items():
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, other.get_parameters()[group][name])


def test_one_half_is_stepped_while_the_actions_of_the_other_are_chosen(trained):
    model, seen = trained[0], []
    collector, env = model._collector, model.get_env()
    decide = collector._decide
    collector._decide = lambda half, state: (seen.append((half, *env._under_way)), decide(half, state))[1]
    model.learn(N_STEPS * N_ENVS, reset_num_timesteps=False)
    collector._decide = decide
    # (whose actions, whether the first is stepped, whether the second is)
    assert seen == [
        (0, False, False),
        *[(1, True, False), (0, False, True)] * (N_STEPS - 1),
        (1, True, False),
    ]


def test_training_goes_on_after_a_callback_stopped_it_and_after_an_interrupted_step(trained):
    model = trained[0]
    model.learn(10**6, callback=Note(stop_at=model.num_timesteps + 3 * N_ENVS), reset_num_timesteps=False)
    env = model.get_env()
    receive, env.receive = env.receive, lambda half: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        model.learn(N_STEPS * N_ENVS, reset_num_timesteps=False)
    env.receive = receive
    with pytest.raises(RuntimeError, match=r"interrupted .* call reset\(\)"):
        env.step(np.zeros(N_ENVS, int))
    before = model.num_timesteps
    model.learn(N_STEPS * N_ENVS, reset_num_timesteps=False)
    assert model.num_timesteps == before + N_STEPS * N_ENVS


def test_halves_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="even num_envs, got 3"):
        halves(num_envs=3)
    with pytest.raises(EnvironmentNotSupportedError, match="same num_envs, got 2 and 3"):
        type(halves())(make("CartPole-v1", 2), make("CartPole-v1", 3))
