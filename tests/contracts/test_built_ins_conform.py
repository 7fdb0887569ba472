"""Everything that is built in passes the suite that plugin authors get."""

import warnings

import cost_envs  # noqa: F401 (registers the ids below)
import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from tiny_models import TINY_PLANNER

import spi_plugins
import spi_wrappers  # noqa: F401 - registers all ids
from spi_integrations.jax_families import JAX_FAMILIES
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.planners.decision import adaptive
from spi_plugins.plugins import registry
from spi_plugins.testing import (
    check_algorithm,
    check_functional_env,
    check_planner,
    check_world_model,
    check_wrapper,
)
from spi_plugins.types import ActionSpec, ArraySpec

# What each built-in world model is made for, and its settings.
NUMBERS = ArraySpec(kind="box", shape=(4,), dtype="float32")
THREE = ActionSpec(kind="discrete", nvec=(3,))
FORCE = ActionSpec(kind="box", shape=(2,), low=(-1.0, 0.0), high=(1.0, 4.0))
WORLD_MODELS = {
    "ensemble": (NUMBERS, THREE, {"hidden": (16,), "n_members": 3, "n_costs": 1, "batch_size": 32}),
    "deep_mdp": (
        NUMBERS,
        THREE,
        {
            "encoder": {"encoder": "mlp", "pi": (8,), "vf": (8,)},
            "model": {"transition_density": "deterministic", "lipschitz": False, "termination": True},
        },
    ),
    "tdmpc": (NUMBERS, FORCE, {"encoder_hidden": (8,), "latent_dim": 8, "hidden": (8,), "n_costs": 2}),
}
# What each built-in wrapper is put around, and its arguments. Multipliers and statistics stand still here, because
# a vector has one of them, a vector of wrapped environments one for each.
WRAPPERS = {
    "action_repeat": ("tests/LongCosts-v0", {"repeat": 2}),
    "cost_from_fn": ("CartPole-v1", {"fn": "cost_envs:tilt"}),
    "cost_from_info": ("tests/LongNoCosts-v0", {"key": "x_velocity", "op": ">", "threshold": 0.5}),
    "cost_limit": ("tests/LongCosts-v0", {"limit": 5.0}),
    "cost_penalty": ("tests/LongCosts-v0", {"coef": 0.5}),
    "cost_to_termination": ("tests/LongCosts-v0", {"threshold": 1.5}),
    "delay_cost": ("tests/LongCosts-v0", {"delay": 2}),
    "lagrangian_reward": ("tests/LongCosts-v0", {"limit": 0.0, "init": 0.5, "maximum": 0.5}),
    "multi_cost": ("tests/LongNoCosts-v0", {"terms": {"x": "x_velocity", "y": "y_velocity"}}),
    "normalize_cost": ("tests/LongCosts-v0", {"update": False}),
    "saute_budget": ("tests/LongCosts-v0", {"budget": 8.0}),
    "velocity_cost": ("tests/LongNoCosts-v0", {"threshold": 0.5, "axes": "xy"}),
}


def built_in(kind):
    return [name for name in registry(kind).names() if registry(kind).get(name).owner.plugin == "builtins"]


# SPOWL has TD-MPC2's programs and more, so the fast tests hold it alone to the contract.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "tdmpc2" else name
        for name in built_in("algorithms")
    ],
)
def test_algorithm(name):
    cls = spi_plugins.get_algorithm(name)
    if name in ("spowl", "tdmpc2"):
        sizes = {**TINY_PLANNER, "planner": "policy", "planner_kwargs": None}
        del sizes["seed"]
        check_algorithm(cls, env_id="spi/PointGoal-v0", total_timesteps=16, **sizes)
        return
    safe = name.startswith("ppo_")  # these need costs
    env_id = "spi/CostCartPole-v0" if safe else "CartPole-v1"
    check_algorithm(cls, env_id=env_id, n_steps=8, batch_size=8, n_epochs=1)


ENVS = [name for name in built_in("envs") if not registry("envs").get(name).family]


@pytest.mark.parametrize("name", ENVS)
def test_environment(name):
    env = spi_plugins.make_env(name)
    if isinstance(env, FunctionalEnv):
        check_functional_env(env)
    else:
        with warnings.catch_warnings():
            # Of infinite bounds in the robots' spaces, and of their wrappers.
            warnings.simplefilter("ignore", UserWarning)
            check_env(env, skip_render_check=True)


def test_every_environment_is_a_gymnasium_id_too():
    # safety-gymnasium's tasks, and the environments of other JAX packages, have tests of their own.
    others = ("spi/Safety", *(f"spi/{family}." for family in JAX_FAMILIES))
    ids = [name for name in gymnasium.registry if name.startswith("spi/") and not name.startswith(others)]
    assert sorted(ids) == sorted([*ENVS, "spi/Dream-v0"])  # a dream needs a world model
    for name in ENVS:
        gymnasium.make(name).close()
        gymnasium.make_vec(name, num_envs=2).close()


@pytest.mark.parametrize("name", built_in("planners"))
def test_planner(name):
    check_planner(spi_plugins.get_planner(name)())


def test_planner_with_the_adaptive_decision():
    check_planner(adaptive(spi_plugins.get_planner("cem")()))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "tdmpc" else name
        for name in built_in("world_models")
    ],
)
def test_world_model(name):
    observations, actions, settings = WORLD_MODELS[name]
    check_world_model(spi_plugins.get_world_model(name), observations, actions, **settings)


@pytest.mark.parametrize("name", sorted(set(built_in("wrappers")) - {"latent_observation"}))
def test_wrapper(name):
    env_id, kwargs = WRAPPERS.get(name, ("tests/LongCosts-v0", {}))
    vector = spi_plugins.get_wrapper(name, vector=True)
    check_wrapper(spi_plugins.get_wrapper(name), vector=vector, env_id=env_id, **kwargs)
