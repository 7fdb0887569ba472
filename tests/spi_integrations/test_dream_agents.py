"""Agents of other people, trained in a dream and played in the real environment."""

import pathlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from sb3_contrib import QRDQN, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv
from tiny_worlds import tiny_world

from spi_integrations.stable_baselines3 import as_vec_env
from spi_wrappers import DreamEnv, DreamVectorEnv, LatentObservation

SCRIPTS = pathlib.Path(__file__).parents[2] / "examples/dreams"
ON_POLICY = {"n_steps": 8, "batch_size": 16}
OFF_POLICY = {"learning_starts": 8, "buffer_size": 64, "batch_size": 8}
AGENTS = {
    "PPO": (PPO, "MlpPolicy", ON_POLICY),
    "TRPO": (TRPO, "MlpPolicy", ON_POLICY),
    "RecurrentPPO": (RecurrentPPO, "MlpLstmPolicy", ON_POLICY),
    "DQN": (DQN, "MlpPolicy", OFF_POLICY),
    "QRDQN": (QRDQN, "MlpPolicy", OFF_POLICY),
    "SAC": (SAC, "MlpPolicy", OFF_POLICY),
}


@pytest.fixture(scope="module")
def worlds():
    """Of CartPole, and of a continuous task for those who need one."""
    spaces = {name: gymnasium.make(name) for name in ("CartPole-v1", "Pendulum-v1")}
    return {name: tiny_world(env.observation_space, env.action_space) for name, env in spaces.items()}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_trains_in_a_dream_and_plays_in_reality(name, worlds):
    cls, policy, arguments = AGENTS[name]
    env_id = "Pendulum-v1" if name == "SAC" else "CartPole-v1"
    dream = as_vec_env(DreamVectorEnv.from_model(2, worlds[env_id], horizon=6, autoreset_mode="SameStep"))
    agent = cls(policy, dream, seed=0, device="cpu", **arguments)
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    agent.learn(32)
    assert any((before[key] != value).any() for key, value in agent.policy.state_dict().items())
    real = Monitor(LatentObservation(gymnasium.make(env_id, max_episode_steps=20), worlds[env_id]))
    mean, _ = evaluate_policy(agent, real, n_eval_episodes=2)
    assert np.isfinite(mean)


class Masked(gymnasium.Wrapper):
    """Pushing to the right is not allowed."""

    def action_masks(self):
        return np.array([True, False])


def test_an_agent_with_action_masks_trains_in_a_dream(worlds):
    dream = Masked(DreamEnv.from_model(worlds["CartPole-v1"], horizon=6))
    agent = MaskablePPO("MlpPolicy", dream, seed=0, device="cpu", **ON_POLICY).learn(16)
    obs, _ = dream.reset(seed=0)
    assert agent.predict(obs, action_masks=dream.action_masks())[0] == 0


def test_a_dream_runs_in_the_processes_of_stable_baselines(worlds, tmp_path):
    path = str(tmp_path / "world.zip")
    worlds["CartPole-v1"].save(path)
    env = SubprocVecEnv([lambda: DreamEnv(path, horizon=4)] * 2, start_method="forkserver")
    try:
        assert env.reset().shape == (2, 4)
        for _ in range(5):
            obs, _, _, infos = env.step([0, 1])
        assert obs.shape == (2, 4)
        assert all("cost" in info for info in infos)
    finally:
        env.close()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train_in_a_dream.py", ["--dream-steps", "64", "--n-envs", "2", "--agent", "DQN"]),
        ("plain_loop.py", ["--iterations", "2", "--n-envs", "4"]),
        ("compiled.py", ["--dream-steps", "64", "--n-envs", "16"]),
    ],
)
def test_the_examples_run(script, words):
    small = ["--real-steps", "200", "--updates", "5"]
    if script == "train_in_a_dream.py":
        small += ["--episodes", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *small, *words], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "return" in done.stdout


def test_every_example_is_run():
    assert {path.name for path in SCRIPTS.glob("*.py")} - {"recipe.py"} == {
        "train_in_a_dream.py",
        "plain_loop.py",
        "compiled.py",
    }
