"""From a Minari dataset to a dream under a Gymnasium id."""

import gc
import types
import warnings

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import spaces
from tiny_worlds import SETTINGS

import spi_plugins
from spi_plugins.algorithms.minari_data import open_dataset, read_episodes

pytestmark = pytest.mark.usefixtures("own_dreams")
NAME = "test/cartpole-v0"
FIT = ("--n-updates", "5", "-p", "hidden=[8]", "n_members=2", "batch_size=16")


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Six episodes of at most 15 steps with random actions, collected by Minari."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env = minari.DataCollector(gymnasium.make("CartPole-v1", max_episode_steps=15))
    env.action_space.seed(0)
    for seed in range(6):
        env.reset(seed=seed)
        done = False
        while not done:
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
    with (
        warnings.catch_warnings()
    ):  # of metadata that nobody needs here, and of folders that it leaves to be collected
        warnings.simplefilter("ignore")
        made = env.create_dataset(NAME)
        del env
        gc.collect()
    return made


def fake(episodes, observation_space, action_space):
    """A dataset in memory, with Minari's names."""
    return types.SimpleNamespace(
        id="fake-v0",
        total_episodes=len(episodes),
        episode_indices=np.arange(len(episodes)),
        iterate_episodes=lambda order: iter([episodes[i] for i in order]),
        observation_space=observation_space,
        action_space=action_space,
    )


def fake_episode(i, observations, actions, terminated=False, infos=None):
    steps = len(actions)
    ends = np.arange(steps) == steps - 1
    return types.SimpleNamespace(
        id=i,
        observations=observations,
        actions=actions,
        rewards=np.arange(steps, dtype=float),
        terminations=ends & terminated,
        truncations=ends & ~np.bool_(terminated),
        infos=infos or {},
    )


def test_episodes_become_the_slots_that_stepping_would_fill(dataset):
    gathered = read_episodes(open_dataset(NAME), None, seed=1)
    slots, (size,) = gathered.slots, gathered.sizes
    assert size == dataset.total_steps + 6
    starts = np.flatnonzero(~slots.valid[0])
    assert len(starts) == 6
    found = {}
    for begin, end in zip(starts, [*starts[1:], size], strict=True):
        found[tuple(slots.obs[0, begin])] = slots.obs[0, begin:end], slice(begin + 1, end)
    for episode in dataset.iterate_episodes():
        obs, steps = found[tuple(episode.observations[0])]
        np.testing.assert_array_equal(obs, episode.observations)
        np.testing.assert_array_equal(slots.action[0, steps, 0], episode.actions)
        np.testing.assert_array_equal(slots.terminated[0, steps], episode.terminations)
        np.testing.assert_array_equal(slots.truncated[0, steps], episode.truncations)
        assert (slots.reward[0, steps] == 1).all()
    assert slots.terminated.any()
    assert slots.truncated.any()
    assert sorted(gathered.episode_returns) == sorted(len(each) for each in dataset.iterate_episodes())
    assert not gathered.has_costs
    assert read_episodes(dataset, 20, seed=1).slots.valid.sum() == 20


def test_a_dataset_becomes_a_dream_under_an_id(spi, dataset, tmp_path):
    done = spi("dream", "fit", "world.zip", "--dataset", NAME, *FIT)
    assert done.code == 0, done.err
    assert f"fitted to {dataset.total_steps} steps of the Minari dataset {NAME}, 6 episodes" in done.out
    assert spi("dream", "register", "mine/FromData-v0", "world.zip", "--options", "horizon=4").code == 0
    env = gymnasium.make("mine/FromData-v0")
    env.reset(seed=0)
    for _ in range(4):
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs)
        if terminated or truncated:
            break
    assert terminated or truncated
    stored = spi_plugins.load_world_model(tmp_path / "world.zip")
    assert stored.report["dataset"] == NAME
    assert stored.observation_space == gymnasium.make("CartPole-v1").observation_space


def test_dict_observations_box_actions_and_costs():
    space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Dict(c=spaces.Discrete(4, start=1)))
    rng = np.random.default_rng(0)

    def observations(n):
        return {"a": rng.uniform(-1, 1, (n, 2)), "b": {"c": rng.integers(1, 5, n)}}

    actions = spaces.Box(0.0, 4.0, (1,))
    episodes = [
        fake_episode(
            i,
            observations(9),
            np.full((8, 1), float(i)),
            terminated=bool(i),
            infos={"cost": np.arange(9.0)},  # with that of the reset
        )
        for i in range(3)
    ]
    data = fake(episodes, space, actions)
    slots = read_episodes(data, None, 0).slots
    assert set(np.unique(slots.action[slots.valid])) == {-1.0, -0.5, 0.0}
    np.testing.assert_array_equal(slots.cost[0, 1:9], np.arange(1.0, 9.0))
    assert set(np.unique(slots.obs["b/c"])) <= {0, 1, 2, 3}
    stored = spi_plugins.fit_world_model(dataset=data, n_updates=2, held_out=0.2, **SETTINGS)
    assert stored.settings["n_costs"] == 1
    del episodes[1].infos["cost"]
    with pytest.raises(ValueError, match=r"Episode 1 has no infos\['cost'\]"):
        read_episodes(data, None, 0)
    episodes[1].infos["cost"] = np.arange(9.0)
    episodes[2].rewards[3] = np.nan
    with pytest.raises(ValueError, match="Episode 2: the reward at time step"):
        read_episodes(data, None, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--env or --dataset is required"),
        (("--dataset", "nobody/nothing-v0"), "minari download nobody/nothing-v0"),
        (("--dataset", NAME, "--env", "CartPole-v1"), "--env contradicts --dataset"),
        (("--dataset", NAME, "--n-envs", "2"), "--n-envs contradicts --dataset"),
    ],
)
def test_a_mistake_is_one_line(spi, tmp_path, monkeypatch, words, message):
    (tmp_path / "minari").mkdir()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    done = spi("dream", "fit", "world.zip", *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err


def test_python_takes_an_environment_or_a_dataset():
    with pytest.raises(ValueError, match="Give env or dataset"):
        spi_plugins.fit_world_model()
    with pytest.raises(ValueError, match="policy and n_envs are of an environment"):
        spi_plugins.fit_world_model(dataset=NAME, n_envs=2)
