"""Plain defaults learn: what a user of SB3 types first ends near SB3's figures, with every seed."""

import gymnasium
import pytest
from stable_baselines3.common.evaluation import evaluate_policy

import spi_plugins

SEEDS = range(3)


def returns(algorithm, env, steps, **kwargs):
    models = (
        spi_plugins.make(algorithm, "MlpPolicy", env, seed=seed, **kwargs).learn(steps) for seed in SEEDS
    )
    fresh = gymnasium.make(env)
    fresh.reset(seed=100)
    return [evaluate_policy(model, fresh, n_eval_episodes=20, warn=False)[0] for model in models]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "deep_spi"])
@pytest.mark.parametrize(
    ("env", "steps", "bound"), [("CartPole-v1", 30_000, 450), ("Acrobot-v1", 100_000, -110)]
)
def test_classic_control_is_learned_with_plain_defaults(algorithm, env, steps, bound):
    found = returns(algorithm, env, steps)
    assert min(found) >= bound, found


@pytest.mark.slow
def test_a_small_tdmpc2_swings_the_pendulum_up_with_plain_defaults():
    found = returns("tdmpc2", "Pendulum-v1", 15_000, model_size="small")
    assert min(found) >= -200, found
