"""A policy that imitates an agent's planner, and acts alone."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import TINY_PLANNER, tiny_spowl, tiny_tdmpc2

from spi_plugins import SPOWL, TDMPC2, distill_plans
from spi_plugins.action_heads import box_head, discrete_head
from spi_plugins.envs.cost_cartpole import make_cost_cartpole
from spi_plugins.planners.planner import Planner

QUICK = {"n_updates": 400, "batch_size": 16, "learning_rate": 3e-3}


def planning_by_sign():
    """A planner whose first action says in which half of the latent space the state is, known in closed form."""

    def plan(model, params, z, state, key, *, deterministic):
        sign = jnp.where(z[0] > jnp.mean(z), 0.5, -0.5)
        return jnp.full(model.spec.action_size, sign), state, {"planned": jnp.ones(())}

    return Planner("by_sign", frozenset(), lambda spec: (), plan)


def observations(model, n=64):
    return np.random.default_rng(0).uniform(-1, 1, (n, *model.observation_space.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def distilled():
    model = tiny_tdmpc2(planner=planning_by_sign(), planner_kwargs=None)
    obs = observations(model)
    return model, distill_plans(model, obs, **QUICK), obs


def test_the_policy_acts_as_the_planner_did(distilled):
    model, copy, obs = distilled
    planned, _ = model.predict(obs, deterministic=True)
    alone, _ = copy.predict(obs, deterministic=True)
    before, _ = TDMPC2.load(saved(model, exclude=("planner",)), planner="policy").predict(
        obs, deterministic=True
    )
    assert np.abs(before - planned).mean() > 0.4  # an untrained policy is near 0
    assert np.abs(alone - planned).mean() < 0.1


def saved(model, **options):
    file = io.BytesIO()
    model.save(file, **options)
    file.seek(0)
    return file


def test_nothing_but_the_policy_changes_and_the_file_holds_it(distilled):
    model, copy, obs = distilled
    old, new = model.get_parameters(), copy.get_parameters()
    assert any(not np.array_equal(old["policy"][key], new["policy"][key]) for key in old["policy"])
    for group in ("world_model", "targets"):
        jax.tree.map(np.testing.assert_array_equal, old[group], new[group])
    assert (copy.planner, copy.decision, copy.planner_kwargs) == ("policy", None, {})
    again = TDMPC2.load(saved(copy))
    np.testing.assert_array_equal(
        again.predict(obs, deterministic=True)[0], copy.predict(obs, deterministic=True)[0]
    )


def test_states_come_from_the_replay_buffer_and_the_copy_can_plan_again_and_learn():
    model = tiny_spowl()
    with pytest.raises(ValueError, match="no replay buffer with states to plan for: call learn"):
        distill_plans(model)
    model.learn(16)
    copy = distill_plans(model, n_states=10, n_updates=3, batch_size=4)
    assert model.planner == "safe_improvement"  # left as it is
    env = model.get_env()
    planning = SPOWL.load(
        saved(copy), env=env, planner="safe_improvement", decision="bootstrap",
        planner_kwargs=TINY_PLANNER["planner_kwargs"],
    )  # fmt: skip
    planning.learn(16, reset_num_timesteps=False)
    assert planning.num_timesteps == 32


def test_the_same_seed_gives_the_same_policy():
    model = tiny_tdmpc2()
    first, second, other = (
        distill_plans(model, observations(model, 5), n_updates=3, seed=seed).get_parameters()["policy"]
        for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_plans_of_discrete_actions_are_imitated():
    model = tiny_tdmpc2(make_cost_cartpole(max_episode_steps=9), n_envs=2)
    obs = observations(model, 32)
    copy = distill_plans(model, obs, **QUICK)
    planned, _ = model.predict(obs, deterministic=True)
    alone, _ = copy.predict(obs, deterministic=True)
    assert np.mean(planned == alone) > 0.7


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"n_states": 0}, "n_states must be an integer of at least 1"),
        ({"n_updates": 1.5}, "n_updates must be an integer"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0"),
        ({"learning_rate": 1e30, "n_updates": 20}, "learning_rate is too high"),
    ],
)
def test_bad_arguments_are_refused(argument, words):
    model = tiny_tdmpc2()
    with pytest.raises((ValueError, FloatingPointError), match=words):
        distill_plans(model, observations(model, 3), **argument)


def test_the_losses_in_closed_form():
    box, key = box_head(2), jax.random.key(0)
    parameters = jax.random.normal(key, (3, 4))
    np.testing.assert_allclose(box.imitation(parameters, box.mode(parameters)), 0.0, atol=1e-12)
    np.testing.assert_allclose(
        box.imitation(jnp.zeros((1, 4)), jnp.asarray([[0.3, -0.4]])), [0.3**2 + 0.4**2], rtol=1e-6
    )
    discrete = discrete_head((2, 3), (2,))
    hot = discrete.vector(jnp.asarray([[1, 2]], jnp.int32))
    np.testing.assert_allclose(discrete.imitation(jnp.zeros((1, 5)), hot), [np.log(2) + np.log(3)], rtol=1e-6)
