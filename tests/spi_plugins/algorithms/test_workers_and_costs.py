"""What an environment may do wrong besides its numbers: odd costs, processes that die."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy as sb3s_evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv
from tiny_models import SMALL, tiny_ppo, tiny_spowl, tiny_tdmpc2

from spi_integrations.stable_baselines3 import evaluate_policy
from spi_plugins import PPO, fit_world_model
from spi_plugins.algorithms.vec_envs.workers import WorkerDiedError

ODD_COSTS = [None, "high", np.array([0.5, 1.0]), [0.5], {}]


class Costly(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, cost):
        self.cost, self.left = cost, 0

    def reset(self, *, seed=None, options=None):
        self.left = 4
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(3, np.float32), 0.0, False, self.left == 0, {"cost": self.cost}


def test_odd_costs_are_ignored_by_algorithms_without_costs():
    single, double = Costly(None), [Costly(None), Costly(None)]
    vector = gym.vector.SyncVectorEnv([lambda env=env: env for env in double])
    models = PPO("MlpPolicy", single, **SMALL), PPO("MlpPolicy", vector, **SMALL), tiny_tdmpc2(single)
    for cost in ODD_COSTS:
        for env in (single, *double):
            env.cost = cost
        for model in models:
            model.learn(4, reset_num_timesteps=False)
            assert all(episode.get("c", 0.0) == 0.0 for episode in model.ep_info_buffer)


def test_odd_costs_are_named_by_what_learns_costs():
    env = Costly(None)
    model = tiny_spowl(env)
    for cost in ODD_COSTS:
        env.cost = cost
        with pytest.raises(
            ValueError, match=r"time step 1: info\['cost'\] of environment 0 must be one number"
        ):
            model.learn(6)
    with pytest.raises(ValueError, match="must be one number"):
        fit_world_model(env, n_steps=8)


def test_one_number_is_a_cost_in_any_type():
    env = Costly(0.0)
    model = tiny_spowl(env)
    for cost in (True, -0.5, np.float64(2), np.array([0.5]), np.array(1)):
        env.cost = cost
        model.learn(6)
        assert model.ep_info_buffer[0]["c"] == pytest.approx(4 * float(np.asarray(cost).item()))


@pytest.mark.filterwarnings(
    "ignore:.*os.fork.*:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("library", ["sb3", "sb3_fork", "gymnasium"])
def test_a_worker_that_died_is_named(library):
    if library != "gymnasium":
        start_method = "fork" if library == "sb3_fork" else None
        env = SubprocVecEnv([lambda: gym.make("CartPole-v1")] * 2, start_method=start_method)
    else:
        env = gym.make_vec("CartPole-v1", 2, vectorization_mode="async", vector_kwargs={"context": "spawn"})
    model = PPO("MlpPolicy", env, **SMALL).learn(8)
    env.processes[1].kill()
    env.processes[1].join()
    with pytest.raises(WorkerDiedError, match=r"died: environment 1 \(exit code -9\)"):
        model.learn(8, reset_num_timesteps=False)
    if library == "sb3_fork":
        env.close()
    env.processes[0].terminate()
    env.closed = True


def test_what_make_vec_makes_by_default_can_be_evaluated():
    env = gym.make_vec("CartPole-v1", 2)
    model = PPO("MlpPolicy", env, **SMALL).learn(8)
    expected = sb3s_evaluate_policy(
        model, gym.make("CartPole-v1"), 4, warn=False, return_episode_rewards=True
    )
    for returns, lengths in (
        sb3s_evaluate_policy(model, model.get_env(), 4, return_episode_rewards=True),
        evaluate_policy(model, gym.make_vec("CartPole-v1", 3), 4, return_episode_rewards=True),
        *(
            evaluate_policy(
                model, gym.make_vec("CartPole-v1", 3, vectorization_mode=mode), 4, return_episode_rewards=True
            )
            for mode in ("sync", "vector_entry_point")
        ),
        evaluate_policy(model, "CartPole-v1", 4, return_episode_rewards=True),
    ):
        assert len(returns) == 4
        assert returns == lengths  # a reward of 1 for each step: resets are not counted
        assert max(expected[0]) / 3 < max(returns) < 3 * max(expected[0])


def test_predict_speaks_of_tuples_and_empty_batches():
    model = tiny_ppo()
    with pytest.raises(ValueError, match="tuple of 2 that ends with an info"):
        model.predict(gym.make("CartPole-v1").reset())
    with pytest.raises(ValueError, match="empty batch"):
        model.predict(np.zeros((0, 4)))
