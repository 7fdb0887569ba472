"""Training 2N equals training N, saving, loading in a new process and training N, bit for bit."""

import os
import subprocess
import sys

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from tiny_models import CARTPOLE, tiny_deep_spi, tiny_ppo

from spi_plugins import PPO
from spi_plugins.algorithms.model_file import read_model_file

TOTAL = 80  # ten rollouts
CONSTANT = {"learning_rate": 3e-3}
# As the default, but steep enough to notice a wrong step count.
LINEAR = {"learning_rate": LinearSchedule(1e-2, 0.0, 1.0), "clip_range": LinearSchedule(0.3, 0.1, 1.0)}
MAKERS = {"compiled": tiny_deep_spi, "stepped": tiny_ppo}
# path: step at which a callback saves: the step at which the file stands. A rollout has 8 steps.
CHECKPOINTS = {
    "compiled": {42: 48, 48: 48},  # rollout and update have run to the end when callbacks are called
    "stepped": {42: 40, 48: 40},  # the rollout is made again
}

# Loads every file of a folder, trains to the total, and saves the result next to it.
RESUME = """
import pathlib, sys
import spi_plugins
from spi_plugins.envs.cartpole import make_cartpole

for file in sorted(pathlib.Path(sys.argv[1]).glob("*.zip")):
    algorithm, total = file.stem.split(" ")[0], int(sys.argv[2])
    model = getattr(spi_plugins, algorithm).load(file, env=make_cartpole(max_episode_steps=9))
    model.learn(total - model.num_timesteps, reset_num_timesteps=False)
    model.save(file.with_suffix(".resumed"))
"""


class SaveAt(BaseCallback):
    """Saves as CheckpointCallback does, at given numbers of steps."""

    def __init__(self, files):
        super().__init__()
        self.files = files

    def _on_step(self):
        if self.num_timesteps in self.files:
            self.model.save(self.files[self.num_timesteps])
        return True


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """``{name: (uninterrupted model, file it could go on from, file of what another process made of it)}``."""
    folder = tmp_path_factory.mktemp("resume")
    runs = {}
    for path, make in MAKERS.items():
        whole = make(path, **CONSTANT).learn(TOTAL)
        name = type(whole).__name__
        half = folder / f"{name} half.zip"
        make(path, **CONSTANT).learn(TOTAL // 2).save(half)
        runs[f"{path}, saved after the first half"] = whole, half
        files = {at: folder / f"{name} {at}.zip" for at in CHECKPOINTS[path]}
        whole = make(path, **LINEAR).learn(TOTAL, callback=SaveAt(files))
        runs |= {f"{path}, checkpoint at {at}": (whole, file) for at, file in files.items()}
    # With a compilation cache of its own: another process compiles for itself.
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    subprocess.run([sys.executable, "-c", RESUME, str(folder), str(TOTAL)], check=True, env=env)
    return {name: (whole, file, file.with_suffix(".resumed")) for name, (whole, file) in runs.items()}


NAMES = [
    f"{path}, {how}"
    for path, points in CHECKPOINTS.items()
    for how in ("saved after the first half", *(f"checkpoint at {at}" for at in points))
]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_equals_one_that_was_never_interrupted(resumed, name, tmp_path):
    whole, _, file = resumed[name]
    model = type(whole).load(file)
    assert model.num_timesteps == whole.num_timesteps == TOTAL
    assert model._n_updates == whole._n_updates
    assert episodes(model) == episodes(whole)
    expected = whole.get_parameters()
    for group, arrays in model.get_parameters().items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, expected[group][key], err_msg=f"{group}/{key}")
    # The environments stand alike, too, and so do the random keys: the next rollouts are the same.
    whole.save(tmp_path / "whole.zip")
    ours, theirs = read_model_file(file).arrays, read_model_file(tmp_path / "whole.zip").arrays
    assert ours.keys() == theirs.keys()
    assert {"run/key", "env/key", "last_obs/"} <= ours.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_a_checkpoint_within_a_rollout_holds_the_place_from_which_training_goes_on(resumed, path):
    for at, stands in CHECKPOINTS[path].items():
        counters = read_model_file(resumed[f"{path}, checkpoint at {at}"][1]).data["counters"]
        assert counters["num_timesteps"] == stands


def episodes(model):
    # Without the seconds, which only the stepped path has.
    return [{key: value for key, value in episode.items() if key != "t"} for episode in model.ep_info_buffer]


def test_a_resumed_environment_other_than_a_functional_one_gets_new_seeds(tmp_path):
    model = tiny_ppo("gymnasium").learn(8)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env="CartPole-v1")
    first = loaded.get_env().reset()
    assert not np.array_equal(first, tiny_ppo("gymnasium").get_env().reset())
    again = PPO.load(tmp_path / "model", env="CartPole-v1")
    np.testing.assert_array_equal(first, again.get_env().reset())


def test_force_reset_starts_new_episodes(resumed):
    path = resumed["stepped, saved after the first half"][1]
    loaded = PPO.load(path, env=CARTPOLE)
    assert loaded.env.get_state().elapsed.max() > 0
    loaded = PPO.load(path, env=CARTPOLE, force_reset=True)
    loaded.learn(8, reset_num_timesteps=False)
    assert loaded.env.get_state().elapsed.max() == 4
