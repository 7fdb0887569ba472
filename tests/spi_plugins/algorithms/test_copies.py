"""Copies and pickles of models, policies and world models predict as the original; policies have SB3's methods."""

import copy
import pickle

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import CARTPOLE, ROLLOUT, tiny_ppo, tiny_spowl, tiny_tdmpc2

from spi_plugins import PPO, TDMPC2
from spi_plugins.algorithms.planner_policy import PlannerPolicy
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy
from spi_plugins.dreams.file import load_world_model
from spi_plugins.errors import ModelFileError

WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "cloudpickle": lambda x: cloudpickle.loads(cloudpickle.dumps(x)),
}
MAKERS = {"ppo": tiny_ppo, "tdmpc2": tiny_tdmpc2}


def observations(model):
    return np.random.default_rng(0).uniform(-1, 1, (5, *model.observation_space.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "way"),
    [("ppo", "deepcopy"), ("ppo", "pickle"), ("ppo", "cloudpickle"), ("tdmpc2", "pickle")],
)
def test_a_copy_of_a_model_or_a_policy_predicts_as_the_original(make, way):
    model = MAKERS[make](seed=None)
    obs = observations(model)
    for original in (model, model.policy):
        twin = WAYS[way](original)
        for deterministic in (True, False):
            twins = twin.predict(obs, deterministic=deterministic)[0]
            np.testing.assert_array_equal(twins, model.predict(obs, deterministic=deterministic)[0])
    assert WAYS[way](model).env is None


def schedule(remaining):
    return 1e-3 * remaining


def test_a_copy_keeps_what_files_do_not_hold():
    class OwnPolicy(MlpPolicy):
        default_activation = "relu"

    model = PPO(OwnPolicy, CARTPOLE, n_envs=2, n_steps=4, learning_rate=schedule)
    twin = cloudpickle.loads(cloudpickle.dumps(model))
    assert type(twin.policy).__name__ == "OwnPolicy"
    assert twin.learning_rate(0.5) == 5e-4
    assert copy.deepcopy(model).learning_rate.value_schedule is schedule


def test_world_models_and_planner_policies_are_copied(tmp_path):
    model = tiny_spowl()
    model.save_world_model(tmp_path / "world", observations=observations(model))
    stored = load_world_model(tmp_path / "world")
    obs = observations(model)
    z = np.asarray(stored.fitted.model.encode(stored.fitted.params, jnp.asarray(obs)))
    for original in (stored, stored.fitted, model.world_model):
        assert len(repr(original)) < 500
        for way in WAYS.values():
            twin = way(original)
            fitted = getattr(twin, "fitted", twin)
            np.testing.assert_array_equal(fitted.model.encode(fitted.params, jnp.asarray(obs)), z)
    assert len(repr(stored.fitted.model)) < 300
    policy = PlannerPolicy(model.world_model, "policy", seed=3)
    policy.predict(obs)
    for way in WAYS.values():
        twin = way(policy)
        for deterministic in (True, False):
            expected = copy.deepcopy(policy).predict(obs, deterministic=deterministic)[0]
            np.testing.assert_array_equal(twin.predict(obs, deterministic=deterministic)[0], expected)


def test_a_world_model_taken_from_a_model_outlives_its_updates():
    model = tiny_tdmpc2().learn(8)
    before = jax.tree.map(np.array, model.world_model.params)
    taken = model.world_model
    model.learn(16, reset_num_timesteps=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, jax.tree.map(np.asarray, taken.params)))


@pytest.mark.parametrize("make", MAKERS)
def test_policies_are_saved_and_loaded_without_their_algorithm(make, tmp_path):
    model = MAKERS[make](seed=None)
    model.policy.save(tmp_path / "policy.zip")
    policy = MlpPolicy.load(tmp_path / "policy.zip")
    obs = observations(model)
    expected = model.predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(obs, deterministic=True)[0], expected)
    assert policy.device == model.policy.device == model.jax_device
    with pytest.raises(ModelFileError, match=r"policy\.zip holds a Mlp\w*Policy, not a CnnPolicy"):
        CnnPolicy.load(tmp_path / "policy.zip")


def test_values_and_probabilities_are_those_of_training():
    model = tiny_ppo()
    obs, params = observations(model), model._agent_state.params
    act = model.agent.act(params, jnp.asarray(obs), jax.random.key(0))
    values, log_prob, entropy = model.policy.evaluate_actions(obs, np.asarray(act.action))
    assert values.shape == (5, 1)
    assert entropy.shape == (5,)
    np.testing.assert_allclose(values[:, 0], act.value, rtol=1e-5)
    np.testing.assert_allclose(model.policy.predict_values(obs)[:, 0], act.value, rtol=1e-5)
    np.testing.assert_allclose(log_prob, act.log_prob, rtol=1e-5)
    both = [model.policy.evaluate_actions(obs, np.full(5, action))[1] for action in (0, 1)]
    np.testing.assert_allclose(np.exp(both).sum(0), 1.0, rtol=1e-5)
    with pytest.raises(NotImplementedError, match="A TDMPC2 plans"):
        tiny_tdmpc2().policy.predict_values(np.zeros(1))


class MyPPO(PPO):
    """Extends PPO without arguments of its own."""


def test_subclasses_load_their_parents_files_and_the_other_way_round_if_they_can(tmp_path):
    tiny_ppo().learn(ROLLOUT).save(tmp_path / "parent.zip")
    child = MyPPO.load(tmp_path / "parent.zip")
    assert (type(child), child.num_timesteps) == (MyPPO, ROLLOUT)
    child.save(tmp_path / "child.zip")
    assert PPO.load(tmp_path / "child.zip").num_timesteps == ROLLOUT

    class WithMore(PPO):
        hyperparameters = PPO.hyperparameters | {"more": PPO.hyperparameters["gamma"]._replace(name="more")}

    own = WithMore.load(tmp_path / "parent.zip", more=0.5)
    own.save(tmp_path / "more.zip")
    assert WithMore.load(tmp_path / "more.zip").more == 0.5
    with pytest.raises(
        ModelFileError, match=r"WithMore model, which has arguments that PPO lacks: more; load it"
    ):
        PPO.load(tmp_path / "more.zip")


def test_deterministic_plans_depend_on_the_file_and_the_observation_alone(tmp_path):
    model = tiny_tdmpc2(seed=None)
    obs = observations(model)
    before = model.predict(obs, deterministic=True)[0]
    model.save(tmp_path / "model")
    loaded = TDMPC2.load(tmp_path / "model")
    loaded.predict(obs)  # draws that are not deterministic change nothing
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], before)
    loaded.set_random_seed(7)
    backwards = loaded.predict(obs[::-1], deterministic=True)[0]
    np.testing.assert_allclose(backwards[::-1], before, atol=1e-5)
    alone = [loaded.predict(one, deterministic=True)[0] for one in obs]
    np.testing.assert_allclose(alone, before, atol=1e-5)
    policies = [PlannerPolicy(model.world_model, "policy", seed=seed) for seed in (0, 1)]
    first, second = (policy.predict(obs, deterministic=True)[0] for policy in policies)
    np.testing.assert_array_equal(first, second)
