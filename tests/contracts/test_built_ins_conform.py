"""Everything that is built in passes the suite that plugin authors get."""

import gymnasium
import numpy as np
import pytest

import spi_plugins
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.plugins import registry
from spi_plugins.testing import check_algorithm, check_functional_env, check_world_model, check_wrapper
from spi_plugins.types import ActionSpec
from spi_plugins.world_models.deep_mdp import DeepMDPConfig

# The configuration of each built-in world model, for a latent of five numbers and three actions.
WORLD_MODEL_CONFIGS = {"deep_mdp": DeepMDPConfig()}


def built_in(kind):
    return [name for name in registry(kind).names() if registry(kind).get(name).owner.plugin == "builtins"]


@pytest.mark.parametrize("name", built_in("algorithms"))
def test_algorithm(name):
    check_algorithm(spi_plugins.get_algorithm(name), n_steps=8, batch_size=8, n_epochs=1)


FUNCTIONAL = [name for name in built_in("envs") if not registry("envs").get(name).family]


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_environment(name):
    env = spi_plugins.make_env(name)
    assert isinstance(env, FunctionalEnv)
    check_functional_env(env)


def test_every_environment_is_a_gymnasium_id_too():
    assert sorted(name for name in gymnasium.registry if name.startswith("spi/")) == FUNCTIONAL
    for name in FUNCTIONAL:
        gymnasium.make(name).close()
        gymnasium.make_vec(name, num_envs=2).close()


@pytest.mark.parametrize("name", built_in("world_models"))
def test_world_model(name):
    action_spec = ActionSpec(kind="discrete", nvec=(3,))
    model = spi_plugins.get_world_model(name)((5,), action_spec, WORLD_MODEL_CONFIGS[name])
    latents = np.random.default_rng(0).uniform(size=(4, 5)).astype(np.float32)
    check_world_model(model, latents, action_spec)


def test_wrappers():
    for name in built_in("wrappers"):
        entry = registry("wrappers").get(name)
        vector = spi_plugins.get_wrapper(name, vector=True) if entry.vector else None
        check_wrapper(spi_plugins.get_wrapper(name), vector=vector)
