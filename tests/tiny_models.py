"""Models that compile and train in no time. Tests that use the same ones share their compiled programs."""

from spi_plugins import PPO, DeepSPI
from spi_plugins.envs.cartpole import make_cartpole

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
