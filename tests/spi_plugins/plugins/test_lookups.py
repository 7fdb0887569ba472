"""Everything that plugins register is found by its name."""

import json

import pytest
from plugin_packages import plugin

import spi_plugins
from spi_plugins.errors import UnknownPluginError
from spi_plugins.testing import plugin_sandbox


def test_a_wrappers_vector_twin_is_found_and_its_absence_said():
    def register_wrappers(register):
        register("both", "json:dumps", vector="json:loads")
        register("single", "json:dumps")

    with plugin_sandbox(plugin(register_wrappers=register_wrappers)):
        assert {"both", "single"} <= set(spi_plugins.list_wrappers())
        assert spi_plugins.get_wrapper("both") is json.dumps
        assert spi_plugins.get_wrapper("both", vector=True) is json.loads
        with pytest.raises(UnknownPluginError, match="'single' of plugin 'test_plugin' has no counterpart"):
            spi_plugins.get_wrapper("single", vector=True)


def test_environments_are_built_by_name_and_families_by_prefix():
    def single(**kwargs):
        return ("single", kwargs)

    def family(env_id, *, num_envs, seed, **kwargs):
        return (env_id, num_envs, seed, kwargs)

    def register_envs(register):
        register("mine/E-v0", single)
        register("arcade", family, family=True)

    with plugin_sandbox(plugin(register_envs=register_envs)):
        assert spi_plugins.make_env("mine/E-v0", size=3) == ("single", {"size": 3})
        made = spi_plugins.make_env("arcade:Pong-v5", num_envs=4, seed=1, lives=3)
        assert made == ("Pong-v5", 4, 1, {"lives": 3})
        with pytest.raises(UnknownPluginError, match="write 'arcade:<id>'"):
            spi_plugins.make_env("arcade")
        with pytest.raises(
            UnknownPluginError, match=r"No family of environments named 'arcde'. Did you mean 'arcade'"
        ):
            spi_plugins.make_env("arcde:Pong-v5")
        with pytest.raises(UnknownPluginError, match="Did you mean 'mine/E-v0'"):
            spi_plugins.make_env("mine/e-v0")


def test_make_builds_a_registered_algorithm():
    class Algorithm:
        def __init__(self, policy, env, **kwargs):
            self.arguments = (policy, env, kwargs)

    with plugin_sandbox(plugin(register_algorithms=lambda register: register("mine", Algorithm))):
        assert spi_plugins.get_algorithm("mine") is Algorithm
        made = spi_plugins.make("mine", "MlpPolicy", "CartPole-v1", gamma=0.9)
        assert made.arguments == ("MlpPolicy", "CartPole-v1", {"gamma": 0.9})
        with pytest.raises(UnknownPluginError, match=r"No algorithm named 'mien'. Did you mean 'mine'"):
            spi_plugins.make("mien", "MlpPolicy", "CartPole-v1")


def test_world_models_and_callbacks_are_found_by_name():
    module = plugin(
        register_world_models=lambda register: register("rssm", "json:dumps"),
        register_callbacks=lambda register: register("stop", "json:loads"),
    )
    with plugin_sandbox(module):
        assert "rssm" in spi_plugins.list_world_models()
        assert spi_plugins.get_world_model("rssm") is json.dumps
        assert spi_plugins.get_callback("stop") is json.loads
