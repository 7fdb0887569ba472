"""PPO with a constraint on every path: compiled, in chunks and stepped, saved and resumed, with one cost or two."""

import re

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost_envs import RandomCosts
from gymnasium.vector import SyncVectorEnv
from logged_rows import Rows
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

import spi_plugins
from spi_plugins import PPO, DeepMDP, DeepSPI
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.cost_cartpole import make_cost_cartpole
from spi_plugins.errors import EnvironmentNotSupportedError, ModelFileError, NotFiniteError

SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "seed": 0}
TWO = {"constraint": "lagrangian", "cost_limit": {"cost": 2.0, "speed": 1.0}, "n_envs": 2}
TOTAL = 20 * 16  # enough for chunks


def speed(state, params):
    return {"speed": jnp.abs(state[3]).astype(jnp.float32)}


# A tilted pole and a fast one: two costs.
ENV = make_cost_cartpole(0.03, max_episode_steps=9)._replace(info=speed, info_dtypes=(("speed", "float32"),))


class EachStep(BaseCallback):
    """Asks for every step, and thereby for single iterations; saves at one of them."""

    def __init__(self, file=None):
        super().__init__()
        self.file = file

    def _on_step(self):
        if self.file is not None and self.num_timesteps == 202:
            self.model.save(self.file)
        return True


def learn(model, total=TOTAL, callback=None):
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(total - model.num_timesteps, callback=callback, reset_num_timesteps=False)
    return rows.rows


def assert_same(model, other):
    states = (jax.tree.leaves(each._agent_state._replace(key=())) for each in (model, other))
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The same training in chunks, one iteration at a time, and stepped; with a file from the middle of each."""
    folder = tmp_path_factory.mktemp("models")
    models, logs = {}, {}
    for name, compiled, callback in (
        ("chunks", None, None),
        ("compiled", None, EachStep(folder / "compiled")),
        ("stepped", False, EachStep(folder / "stepped")),
    ):
        models[name] = PPO("MlpPolicy", ENV, compiled=compiled, **TWO, **SMALL)
        logs[name] = learn(models[name], callback=callback)
    return models, logs, folder


def test_every_path_gives_the_same_numbers(paths):
    models, logs, _ = paths
    assert type(models["compiled"]._collector) is CompiledCollector
    assert models["chunks"]._collector.chunked is not None
    assert type(models["stepped"]._collector) is StepCollector
    assert_same(models["compiled"], models["chunks"])
    for a, b in zip(
        *(jax.tree.leaves(models[name].get_parameters()) for name in ("compiled", "stepped")), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    for name in models:
        prices = models[name].multipliers
        assert prices["cost"] > 0.1
        assert prices == pytest.approx(models["chunks"].multipliers, rel=1e-5)
        last = logs[name][-1]
        assert last["train/lambda_cost"] == pytest.approx(logs["chunks"][-1]["train/lambda_cost"], rel=1e-5)
        assert last["train/cost_value_loss"] > 0
        assert last["rollout/ep_cost_mean"] > 2


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_training_goes_on_exactly(paths, path):
    models, _, folder = paths
    loaded = PPO.load(folder / path, env=ENV)
    assert loaded.num_timesteps == (208 if path == "compiled" else 192)
    assert loaded.cost_limit == TWO["cost_limit"]
    learn(loaded, callback=EachStep())
    assert_same(loaded, models[path])


def test_another_number_of_copies_keeps_the_prices(paths):
    _, _, folder = paths
    loaded = PPO.load(folder / "compiled", env=FunctionalVecEnv(ENV, 3, seed=0))
    assert loaded._agent_state.constraint.running.shape == (3, 3)
    assert not loaded._agent_state.constraint.running.any()
    assert loaded.multipliers["cost"] > 0


def test_a_new_limit_is_taken_when_a_file_is_loaded(paths):
    _, _, folder = paths
    loaded = PPO.load(folder / "compiled", cost_limit={"cost": 3.0, "speed": 4.0})
    assert loaded.agent.constraint.limits == (3.0, 4.0)
    assert loaded.episode_cost_limit == 3.0


@pytest.mark.parametrize("cls", [DeepSPI, DeepMDP])
def test_agents_with_a_world_model_have_constraints_too(cls):
    model = cls("MlpPolicy", ENV, constraint="pid", cost_limit=2.0, n_envs=2, **SMALL)
    last = learn(model, 64)[-1]
    assert last["train/lambda"] > 0
    assert last["train/cost_loss"] > 0
    assert last["train/transition_loss"] > 0
    assert set(model.get_parameters()) == {"policy", "world_model", "cost_critic", "optimizer"}


@pytest.mark.parametrize("kwargs", [{}, {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}])
def test_costs_of_stepped_episodes_are_counted_whole(kwargs):
    """Also of episodes that a callback's stop has cut into two rollouts, and without reset rows."""

    class Stop(BaseCallback):
        def _on_step(self):
            return self.num_timesteps != 14

    env = SyncVectorEnv([RandomCosts] * 2, **kwargs)
    model = PPO("MlpPolicy", env, constraint="lagrangian", cost_limit=1.0, **SMALL)
    model.learn(64, callback=Stop())
    assert model._agent_state.constraint.running[:, -1].max() > 0
    steps = np.asarray(model._agent_state.constraint.running[:, -1])
    running = [env.envs[i].unwrapped.t for i in range(2)]
    fresh = model._last_episode_starts
    np.testing.assert_array_equal(steps, np.where(fresh, 0, running))


def test_the_limit_is_the_environments_own_unless_one_is_given():
    def limit(env, **kwargs):
        return PPO("MlpPolicy", env, constraint="lagrangian", **SMALL, **kwargs).cost_limit

    class Stated(RandomCosts):
        metadata = {**RandomCosts.metadata, "cost_limit": 3.5}  # noqa: RUF012

    assert limit(Stated()) == 3.5
    assert limit(SyncVectorEnv([Stated] * 2)) == 3.5
    assert limit(Stated(), cost_limit=1) == 1.0
    assert limit(RandomCosts()) == 25.0
    assert limit(ENV._replace(cost_limit=7.0), n_envs=2) == 7.0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"cost_limit": 5.0}, "cost_limit=5.0 needs a constraint"),
        ({"constraint_kwargs": {"lr": 1.0}}, "constraint_kwargs={'lr': 1.0} needs a constraint"),
        (
            {"constraint": "lagrangian", "cost_limit": -1.0},
            "cost_limit must be a number at least 0, got -1.0",
        ),
        (
            {"constraint": "pid", "cost_limit": {"cost": -1.0}},
            r"cost_limit\['cost'\] must be a number at least 0",
        ),
        ({"constraint": "pid", "cost_limit": {}}, "at least one cost"),
        ({"constraint": "lagrangian", "constraint_kwargs": {"kp": 1.0}}, "unknown keys"),
        ({"constraint": "lagrangain"}, "Did you mean 'lagrangian'"),
        ({"constraint": "pid", "cost_gamma": 1.5}, "cost_gamma must be a number"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises((ValueError, spi_plugins.errors.UnknownPluginError), match=message):
        PPO("MlpPolicy", ENV, n_envs=2, **SMALL, **kwargs)


def test_a_cost_that_is_missing_is_named():
    model = PPO("MlpPolicy", RandomCosts(cost=False), constraint="pid", **SMALL)
    with pytest.raises(
        EnvironmentNotSupportedError, match=r"info\['cost'\] is missing .* or PPO without a constraint"
    ):
        model.learn(8)
    model = PPO("MlpPolicy", ENV, constraint="pid", cost_limit={"noise": 1.0}, n_envs=2, **SMALL)
    with pytest.raises(
        EnvironmentNotSupportedError, match=r"the cost 'noise', but infos of .* only cost, speed"
    ):
        model.learn(8)


def test_a_cost_that_is_not_finite_is_named():
    def spoiled(state, action, after, params):
        return jnp.where(jnp.abs(after[2]) > 0.04, jnp.nan, 0.0).astype(jnp.float32)

    for compiled in (None, False):
        model = PPO(
            "MlpPolicy", ENV._replace(cost=spoiled), constraint="pid", n_envs=2, compiled=compiled, **SMALL
        )
        with pytest.raises(
            NotFiniteError, match=r"at time step \d+: the cost of environment [01] is not finite"
        ):
            model.learn(64)


def test_files_of_the_time_when_rewards_were_priced_say_so(paths, tmp_path):
    model = spi_plugins.make("ppo_lag", "MlpPolicy", ENV, n_envs=2, **SMALL)
    model.lagrange_state = {"value": 1.0}
    type(model).stored_arguments += ("lagrange_state",)
    try:
        model.save(tmp_path / "old")
    finally:
        type(model).stored_arguments = type(model).stored_arguments[:-1]
    with pytest.raises(ModelFileError, match="was written when PPOLag and PPOPID subtracted the cost"):
        type(model).load(tmp_path / "old")
    assert re.search("critic", spi_plugins.get_algorithm("ppo_pid").__doc__)


def test_dreams_of_a_constrained_agent_have_costs(tmp_path):
    model = DeepSPI(
        "MlpPolicy", ENV, constraint="lagrangian", cost_limit=2.0, termination_model=True, n_envs=2, **SMALL
    )
    model.learn(64).save_world_model(tmp_path / "world")
    dream = spi_plugins.load_world_model(tmp_path / "world")
    assert dream.fitted.model.spec.n_costs == 1
    env = gym.make("spi/Dream-v0", model=str(tmp_path / "world.zip"), disable_env_checker=True)
    env.reset(seed=0)
    costs = [env.step(env.action_space.sample())[4]["cost"] for _ in range(3)]
    assert min(costs) >= 0


def test_cpo_needs_an_actor_of_its_own():
    for cls, kwargs, message in (
        (DeepSPI, {}, "use it with PPO"),
        (PPO, {"policy_kwargs": {"latent_arch": [8]}}, "must share no layers"),
    ):
        with pytest.raises(ValueError, match=message):
            cls("MlpPolicy", ENV, constraint="cpo", n_envs=2, **{**SMALL, **kwargs})


def test_cpo_moves_the_policy_and_lets_the_critics_learn():
    model = PPO("MlpPolicy", ENV, constraint="cpo", cost_limit=2.0, n_envs=2, **SMALL)
    before = model.get_parameters()
    model.learn(16)
    after = model.get_parameters()
    for group in ("policy", "cost_critic"):
        assert any(np.abs(before[group][key] - after[group][key]).max() > 0 for key in before[group])
