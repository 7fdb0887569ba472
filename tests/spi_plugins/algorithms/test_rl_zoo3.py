"""Every PPO configuration of rl_zoo3 makes a model, on stand-ins with spaces of the right kind."""

import json
import pathlib

import jax
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from toy_envs import VECTOR, ToyEnv

from spi_plugins import PPO

PATH = pathlib.Path(__file__).parents[2] / "data" / "rl_zoo3_ppo.json"
CONFIGURATIONS = json.loads(PATH.read_text())["configurations"]
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)


def scheduled(value):
    """rl_zoo3 turns ``lin_0.1`` into a function before it makes the model."""
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0) if isinstance(value, str) else value


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")  # three have more than a rollout
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_makes_a_model(name):
    kwargs = dict(CONFIGURATIONS[name])
    frames, n_envs = kwargs.pop("frame_stack", None), kwargs.pop("n_envs", 1)
    space = spaces.Box(0, 255, (64, 64, frames), np.uint8) if frames else VECTOR
    actions = ACTIONS if kwargs.get("use_sde") else None
    for key in ("learning_rate", "clip_range"):
        if key in kwargs:
            kwargs[key] = scheduled(kwargs[key])
    network = dict(kwargs.get("policy_kwargs", {}))
    if "activation_fn" in network:
        network["activation_fn"] = getattr(torch.nn, network["activation_fn"])
    kwargs["policy_kwargs"] = network
    env = DummyVecEnv([lambda: ToyEnv(space, actions)] * n_envs)
    # Everything but the compilation: shapes of all parameters and of the optimizer's state.
    model = PPO(env=env, **kwargs, _init_setup_model=False)
    state = jax.eval_shape(model._make_agent().init, jax.random.key(0))
    actor = state.params["policy"]["actor"]
    width = network.get("net_arch", {"pi": [64]})["pi"][-1] if not frames or network else 512
    assert actor["dense"]["kernel"].shape == (width, 2)
    if kwargs.get("use_sde"):
        assert actor["log_std"].shape == (width, 2)
