"""Models that compile and train quickly. Tests that use the same ones share their compiled programs."""

from stable_baselines3.common.vec_env import DummyVecEnv
from toy_envs import Walker

from spi_plugins import PPO, SPOWL, TDMPC2, DeepSPI
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.point_goal import make_point_goal

N_ENVS, N_STEPS = 2, 4
ROLLOUT = N_ENVS * N_STEPS
SMALL = {"n_steps": N_STEPS, "batch_size": 4, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "seed": 0}
UPDATES = 4  # gradient steps for each rollout
CARTPOLE = make_cartpole(max_episode_steps=9)  # episodes of 8 or 9 steps, most of them cut by the limit
# The ways to fill a rollout: (environment, compiled).
PATHS = {"compiled": (CARTPOLE, None), "stepped": (CARTPOLE, False), "gymnasium": ("CartPole-v1", None)}


def tiny_ppo(path="compiled", **kwargs):
    env, compiled = PATHS[path]
    return PPO("MlpPolicy", env, **{"n_envs": N_ENVS, "compiled": compiled, **SMALL, **kwargs})


def tiny_deep_spi(path="compiled", **kwargs):
    env, compiled = PATHS[path]
    kwargs = {
        "n_envs": N_ENVS,
        "compiled": compiled,
        "transition_density": "deterministic",
        **SMALL,
        **kwargs,
    }
    return DeepSPI("MlpPolicy", env, **kwargs)


POINT_GOAL = make_point_goal(max_episode_steps=9)
TINY_PLANNER = {
    "model_size": "small",
    "policy_kwargs": {"encoder_hidden": (8,), "latent_dim": 8, "hidden": (8, 8), "n_bins": 11, "n_values": 3},
    "planner_kwargs": {"num_samples": 8, "num_prior": 3, "num_elites": 3, "iterations": 2, "horizon": 2},
    "horizon": 2,
    "batch_size": 4,
    "learning_starts": 8,
    "train_freq": 4,
    "buffer_size": 64,
    "seed": 0,
}


def tiny_tdmpc2(env=POINT_GOAL, **kwargs):
    copies = {"n_envs": N_ENVS} if env is POINT_GOAL else {}
    return TDMPC2("MlpPolicy", env, **{**copies, **TINY_PLANNER, **kwargs})


def tiny_spowl(env=POINT_GOAL, **kwargs):
    copies = {"n_envs": N_ENVS} if env is POINT_GOAL else {}
    return SPOWL("MlpPolicy", env, **{**copies, **TINY_PLANNER, "policy_kwargs": TINY_COSTS, **kwargs})


TINY_COSTS = {**TINY_PLANNER["policy_kwargs"], "n_costs": 2}


def tiny_walkers():
    return DummyVecEnv([Walker] * N_ENVS)


def overlapping_tdmpc2(**kwargs):
    """Stepped from Python, without a search, and with updates of two chunks that begin during each fourth step."""
    quick = {"planner": "policy", "planner_kwargs": {}, "overlap_updates": True, "gradient_steps": 60}
    return tiny_tdmpc2(tiny_walkers(), **{**quick, **kwargs})
