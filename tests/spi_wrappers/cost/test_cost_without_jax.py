"""The cost wrappers need neither JAX nor torch, nor the packages that need them."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "flax", "torch", "stable_baselines3", "spi_plugins", "pluggy"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import gymnasium as gym
import spi_wrappers
from spi_wrappers import vector
from cost_envs import RandomCosts

KWARGS = {
    "ActionRepeat": {"repeat": 2}, "CostFromFn": {"fn": "cost_envs:tilt"}, "CostLimit": {"limit": 2.0},
    "CostFromInfo": {"key": "x_velocity"}, "DelayCost": {"delay": 1}, "CostPenalty": {"coef": 1.0},
    "LagrangianReward": {"limit": 1.0}, "SauteBudget": {"budget": 2.0},
    "MultiCost": {"terms": {"x": "x_velocity", "y": "y_velocity"}},
    "VelocityCost": {"threshold": 1.0, "axes": "x"},
}
MAKERS = {"CostFromFn", "CostFromInfo", "VelocityCost", "MultiCost"}
classes = [name for name in vector.__all__ if name != "SixTupleToInfo"]
for name in classes:
    wrap, wrap_vector = getattr(spi_wrappers, name), getattr(vector, name)
    make = lambda: RandomCosts(cost=name not in MAKERS)
    inner, inners = make(), gym.vector.SyncVectorEnv([make] * 2)
    env, envs = wrap(inner, **KWARGS.get(name, {})), wrap_vector(inners, **KWARGS.get(name, {}))
    if name == "InfoToSixTuple":
        env, envs = spi_wrappers.SixTupleToInfo(env), vector.SixTupleToInfo(envs)
    env.reset(seed=0)
    envs.reset(seed=0)
    for _ in range(10):
        *_, terminated, truncated, info = env.step(1)
        assert isinstance(info["cost"], float), (name, info)
        if terminated or truncated:
            env.reset()
        assert envs.step(np.array([0, 1]))[4]["cost"].shape == (2,), name
assert gym.make("CartPole-v1") and "spi/VelocityHopper-v0" in gym.registry
loaded = {"jax", "torch", "flax", "stable_baselines3", "spi_plugins"} & set(sys.modules)
assert not loaded, loaded
print(len(classes))
"""


def run(program):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)


@pytest.fixture(autouse=True)
def tests_on_path(monkeypatch, request):
    root = request.config.rootpath
    monkeypatch.setenv("PYTHONPATH", f"{root / 'wrappers'}:{root / 'integrations'}:{root / 'tests'}")


def test_every_cost_wrapper_works_where_jax_and_torch_are_blocked():
    result = run(PROGRAM)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 14


def test_importing_spi_wrappers_loads_neither():
    result = run(
        """
        import sys, spi_wrappers, spi_wrappers.vector
        heavy = {"jax", "jaxlib", "flax", "torch", "stable_baselines3", "spi_plugins", "mujoco"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert result.stdout.strip() == "[]", result.stderr
