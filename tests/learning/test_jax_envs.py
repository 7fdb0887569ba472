"""PPO learns a task of each family of JAX environments. Families whose package is not installed are left out.

``pip install 'spi-plugins[brax,playground]'`` and, in an environment of its own, ``'spi-plugins[crax]'``.
"""

import sys

import jax
import numpy as np
import pytest

import spi_plugins
from spi_integrations.stable_baselines3 import evaluate_policy
from spi_plugins import PPO
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.testing import check_functional_env

pytestmark = [
    pytest.mark.slow,
    # The packages' own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def ranks_promoted():
    """Brax relies on it, which the other tests forbid."""
    with jax.numpy_rank_promotion("allow"):
        yield


def learned(name, steps, n_envs=128, episodes=32, **kwargs):
    """The mean return of deterministic episodes after training, and that of random play."""
    env_kwargs = kwargs.pop("env_kwargs", {})
    env = spi_plugins.make_env(name, **env_kwargs)
    fresh = FunctionalVecEnv(env, episodes, seed=1000)
    model = PPO(default_policy(fresh), env, n_envs=n_envs, seed=0, **kwargs)
    before, _ = evaluate_policy(model, fresh, episodes, deterministic=False)
    model.learn(steps)
    after, _ = evaluate_policy(model, fresh, episodes)
    sys.stdout.write(f"{name}: {before:.2f} before, {after:.2f} after {steps:,} steps\n")
    return before, after


def test_gymnax_cartpole():
    before, after = learned("gymnax:CartPole-v1", 200_000, n_envs=8)
    assert before < 60
    assert after >= 450


def test_pgx_breakout():
    before, after = learned(
        "pgx:minatar-breakout", 500_000, n_steps=32, env_kwargs={"max_episode_steps": 1000}
    )
    assert before < 2
    assert after >= 5


def test_jumanji_snake():
    env_kwargs = {"num_rows": 5, "num_cols": 5, "time_limit": 200}
    settings = {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "learning_rate": 1e-3, "gamma": 0.97}
    before, after = learned("jumanji:Snake-v1", 200_000, n_envs=64, env_kwargs=env_kwargs, **settings)
    assert before < 7
    assert after >= 11


def test_brax_inverted_pendulum():
    pytest.importorskip("brax")
    env_kwargs = {"backend": "spring", "max_episode_steps": 200}
    before, after = learned("brax:inverted_pendulum", 100_000, n_envs=32, n_steps=64, env_kwargs=env_kwargs)
    assert before < 50
    assert after >= 180


def test_playground_cartpole():
    pytest.importorskip("mujoco_playground")
    check_functional_env(spi_plugins.make_env("playground:CartpoleBalance"), num_steps=4)
    env_kwargs = {"max_episode_steps": 100}
    before, after = learned(
        "playground:CartpoleBalance", 100_000, n_envs=32, n_steps=64, env_kwargs=env_kwargs
    )
    assert after >= before + 20


def test_crax_has_costs():
    pytest.importorskip("crax.envs")
    env = spi_plugins.make_env("crax:safe_goal_point")
    check_functional_env(env, num_steps=4)
    vec_env = FunctionalVecEnv(env, 16, seed=0)
    vec_env.reset()
    rng = np.random.default_rng(0)
    costs = []
    for _ in range(200):
        *_, infos = vec_env.step(rng.uniform(-1, 1, (16, 2)).astype(np.float32))
        costs.append([info["cost"] for info in infos])
    assert np.isfinite(costs).all()
    assert np.max(costs) > 0
