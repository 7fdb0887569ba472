import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_worlds import SETTINGS
from toy_envs import ToyEnv

import spi_plugins
from spi_plugins.algorithms.environments import prepare_env
from spi_plugins.algorithms.experience import gather
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.point_goal import make_point_goal
from spi_plugins.errors import UnknownPluginError
from spi_wrappers import DreamEnv, LatentObservation

CARTPOLE = make_cartpole(max_episode_steps=12)
QUICK = {"n_steps": 200, "n_updates": 20, "n_envs": 4, **SETTINGS}


class Left:
    """A policy that pushes to the left, and remembers how it was asked."""

    def __init__(self):
        self.asked = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.asked.append((state, np.array(episode_start), deterministic))
        return np.zeros(len(observation), np.int64), len(self.asked)


def test_steps_are_gathered_as_they_came():
    env = prepare_env("CartPole-v1", 3, 0)
    policy = Left()
    gathered = gather(env, policy, 60, seed=0)
    slots, sizes = gathered.slots, gathered.sizes
    filled = np.arange(slots.valid.shape[1])[None] < sizes[:, None]
    assert (filled & slots.valid).sum() == 60
    assert ~slots.valid[:, 0].any()
    assert (slots.reward[filled & slots.valid] == 1.0).all()
    assert (slots.action[filled] == 0.0).all()
    for row, size in enumerate(sizes):
        ends = np.flatnonzero(slots.terminated[row, :size])
        assert len(ends) >= 1
        # The slot after an end begins an episode, near the middle; the end itself is far from it.
        following = ends[ends + 1 < size] + 1
        assert not slots.valid[row, following].any()
        assert (np.abs(slots.obs[row, following]) <= 0.05).all()
        assert (np.abs(slots.obs[row, ends, 2]) > 0.2).all()
    # Dreams begin in all of them but terminal ones, where nothing follows.
    assert len(gathered.observations()[0]) == filled.sum() - slots.terminated[filled].sum()
    assert not gathered.has_costs
    assert all(8 <= total <= 11 for total in gathered.episode_returns)
    states, starts, deterministic = zip(*policy.asked, strict=True)
    assert states[:3] == (None, 1, 2)
    assert starts[0].all()
    assert not starts[1].any()
    assert not any(deterministic)


def test_steps_are_split_in_time():
    gathered = gather(prepare_env(CARTPOLE, 2, 0), None, 100, seed=0)
    train, rest = gathered.buffers(0.25)
    assert (train.size + rest.size == gathered.sizes).all()
    assert train.size.tolist() == np.round(0.75 * gathered.sizes).astype(int).tolist()
    first = int(train.size[1])
    np.testing.assert_array_equal(rest.slots.obs[1, 0], gathered.slots.obs[1, first])


def test_costs_and_box_actions_are_gathered():
    env = prepare_env(make_point_goal(max_episode_steps=20), 2, 0)
    gathered = gather(env, None, 100, seed=0)
    assert gathered.has_costs
    steps = gathered.slots.action[gathered.slots.valid & (gathered.slots.action != 0).any(axis=2)]
    assert steps.min() >= -1.0
    assert steps.max() <= 1.0
    assert steps.std() == pytest.approx(3**-0.5, abs=0.08)  # uniform in [-1, 1]


def test_the_widest_box_is_sampled_uniformly():
    largest = np.finfo(np.float64).max
    env = DummyVecEnv(
        [lambda: ToyEnv(action_space=gymnasium.spaces.Box(-largest, largest, (1,), np.float64))]
    )
    gathered = gather(env, None, 50, seed=0)
    assert np.isfinite(gathered.slots.action).all()
    assert gathered.slots.action.max() > 0 > gathered.slots.action.min()


def test_the_same_seed_fits_the_same_model():
    first, second = (spi_plugins.fit_world_model(CARTPOLE, **QUICK, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.starts, second.starts)
    assert first.report == second.report
    other = spi_plugins.fit_world_model(CARTPOLE, **QUICK, seed=4)
    assert not np.array_equal(first.starts[:4], other.starts[:4])


def test_a_fitted_model_predicts_better_than_standing_still():
    stored = spi_plugins.fit_world_model(
        CARTPOLE, n_steps=1500, n_updates=300, n_envs=4, hidden=(32,), n_members=2, batch_size=64
    )
    held_out = stored.report["held_out"]
    for error, change in zip(held_out["latent_error"][:5], held_out["latent_change"][:5], strict=True):
        assert error < 0.25 * change
    assert held_out["reward_error"][0] < 0.1
    assert stored.report["policy"] == "uniform"
    assert stored.report["mean_return"] > 5
    low, high = stored.decoded_space.low, stored.decoded_space.high
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


def test_costs_are_learned_where_every_step_has_one():
    stored = spi_plugins.fit_world_model("spi/CostCartPole-v0", **QUICK)
    assert stored.fitted.model.spec.n_costs == SETTINGS["n_members"]
    assert spi_plugins.fit_world_model("CartPole-v1", **QUICK).fitted.model.spec.n_costs == 0


def test_the_implicit_model_is_fitted_too():
    settings = {"encoder_hidden": (8,), "latent_dim": 8, "hidden": (8,), "n_values": 2, "n_costs": 2}
    stored = spi_plugins.fit_world_model(
        make_point_goal(max_episode_steps=20), kind="tdmpc", n_steps=200, n_updates=10, n_envs=4, **settings
    )
    assert stored.kind == "tdmpc"
    env = DreamEnv.from_model(stored, horizon=4, observation="decoded")
    obs, _ = env.reset(seed=0)
    assert obs.shape == stored.observation_space.shape
    assert env.step(env.action_space.sample())[4]["cost"] >= 0.0


def test_an_agent_of_stable_baselines_trains_in_a_dream_and_comes_back():
    collector = PPO("MlpPolicy", make_vec_env("CartPole-v1", 2), n_steps=32, seed=0, device="cpu")
    stored = spi_plugins.fit_world_model("CartPole-v1", collector, **QUICK)
    assert stored.report["policy"] == "PPO"
    dream = DreamEnv.from_model(stored, horizon=10)
    agent = PPO("MlpPolicy", dream, n_steps=64, seed=0, device="cpu").learn(64)
    real = Monitor(LatentObservation(gymnasium.make("CartPole-v1"), stored))
    agent.set_env(real)  # the spaces are the same
    assert evaluate_policy(agent, real, 2)[0] >= 8


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_steps": 0}, ValueError, "n_steps must be an integer of at least 1, got 0"),
        ({"n_updates": 1.5}, ValueError, "n_updates must be an integer"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be a number above 0"),
        ({"held_out": 0.95}, ValueError, "held_out must be a number at least 0 and at most 0.9"),
        ({"kind": "ensembel"}, UnknownPluginError, "ensemble"),
        ({"n_members": 0}, ValueError, "n_members must be an integer of at least 1, got 0"),
        ({"depth": 3}, TypeError, "depth"),
        ({"kind": "tdmpc", "hidden": (8,)}, TypeError, "n_members"),
        ({"n_costs": 1}, ValueError, r"needs info\['cost'\] at every step"),
    ],
)
def test_wrong_arguments_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        spi_plugins.fit_world_model("CartPole-v1", **{**QUICK, **changes})


def test_a_kind_that_only_an_agent_fits_is_refused():
    settings = {"encoder": {"encoder": "mlp", "pi": (8,), "vf": (8,)}, "model": {}}
    with (
        pytest.raises(ValueError, match="'deep_mdp' is fitted only by its agent"),
        pytest.warns(DeprecationWarning, match="The world model 'deep_spi' is now called 'deep_mdp'"),
    ):
        spi_plugins.fit_world_model(CARTPOLE, n_steps=20, n_envs=2, kind="deep_spi", **settings)


def test_the_ensembles_old_name_still_fits_it_with_a_warning():
    with pytest.warns(DeprecationWarning, match="The world model 'deep_mdp' is now called 'ensemble'"):
        stored = spi_plugins.fit_world_model("CartPole-v1", **{**QUICK, "kind": "deep_mdp"})
    assert stored.kind == "ensemble"
