"""Functional environments behind the VecEnv face."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs import autoreset
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.probe import make_box_target, make_cost_conflict, make_dict_rule, make_time_limit

CARTPOLE = make_cartpole(max_episode_steps=30)


def actions_for(steps, num_envs, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (steps, num_envs))


def test_step_equals_stepping_and_resetting_by_hand():
    env = FunctionalVecEnv(CARTPOLE, 4, seed=3)
    obs = env.reset()
    assert obs.dtype == np.float32
    step_one = jax.jit(functools.partial(autoreset.step_without_reset, CARTPOLE))
    reset_some = jax.jit(functools.partial(autoreset.reset_where, CARTPOLE))
    keys = jax.random.split(jax.random.key(3), 4)
    state, want = autoreset.reset(CARTPOLE, CARTPOLE.params, keys)
    np.testing.assert_allclose(obs, want, atol=1e-6)
    totals, ends, limits = np.zeros(4, int), 0, 0
    for action in actions_for(90, 4):
        obs, reward, done, infos = env.step(action)
        state, out = step_one(CARTPOLE.params, state, jnp.asarray(action))
        totals += 1
        want_done = np.asarray(out.terminated | out.truncated)
        np.testing.assert_array_equal(done, want_done)
        np.testing.assert_array_equal(reward, np.ones(4, np.float32))
        state, want = reset_some(CARTPOLE.params, state, jnp.asarray(want_done))
        np.testing.assert_allclose(obs, want, atol=1e-5)
        for i, info in enumerate(infos):
            assert info["cost"] == 0.0
            assert info["TimeLimit.truncated"] == out.truncated[i]
            assert ("terminal_observation" in info) == ("episode" in info) == done[i]
            if done[i]:
                np.testing.assert_allclose(info["terminal_observation"], out.final_obs[i], atol=1e-5)
                assert (info["episode"]["r"], info["episode"]["l"]) == (totals[i], totals[i])
                ends, limits, totals[i] = ends + 1, limits + info["TimeLimit.truncated"], 0
    assert ends > 8
    assert limits > 0


def test_costs_are_summed_over_the_episode():
    env = FunctionalVecEnv(make_cost_conflict(), 3, seed=0)
    env.reset()
    total, ends = np.zeros(3), 0
    for action in actions_for(40, 3):
        _, _, _, infos = env.step(action)
        total += [info["cost"] for info in infos]
        for i, info in enumerate(infos):
            if "episode" in info:
                assert info["episode"]["c"] == total[i]
                total[i], ends = 0.0, ends + 1
    assert ends > 10


def test_a_restored_state_goes_on_bit_for_bit():
    first, second = FunctionalVecEnv(CARTPOLE, 3, seed=0), FunctionalVecEnv(CARTPOLE, 3, seed=9)
    first.reset()
    actions = actions_for(80, 3)
    for action in actions[:25]:
        first.step(action)
    second.set_state(jax.tree.map(jnp.copy, first.get_state()))
    for action in actions[25:]:
        got, want = second.step(action), first.step(action)
        for mine, theirs in zip(got[:3], want[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for mine, theirs in zip(got[3], want[3], strict=True):
            assert mine.get("episode", {}).get("r") == theirs.get("episode", {}).get("r")
    # Also a full reset follows from the state.
    np.testing.assert_array_equal(first.reset(), second.reset())


def test_a_given_state_survives_the_donation_of_its_arrays():
    env = FunctionalVecEnv(CARTPOLE, 2, seed=0)
    env.reset()
    given = jax.tree.map(jnp.copy, env.get_state())
    env.set_state(given)
    for leaf in jax.tree.leaves(given):
        leaf.delete()
    env.step(np.zeros(2, int))


def test_states_that_do_not_fit_are_refused():
    env = FunctionalVecEnv(CARTPOLE, 2)
    with pytest.raises(RuntimeError, match="before reset"):
        env.get_state()
    env.reset()
    other = FunctionalVecEnv(CARTPOLE, 3)
    other.reset()
    with pytest.raises(ValueError, match="does not fit cartpole with 2 copies"):
        env.set_state(other.get_state())
    other = FunctionalVecEnv(make_box_target(), 2)
    other.reset()
    with pytest.raises(ValueError, match="structure differs"):
        env.set_state(other.get_state())


def test_seeds_decide_the_first_observations():
    def first(seed):
        return FunctionalVecEnv(CARTPOLE, 3, seed=seed).reset()

    np.testing.assert_array_equal(first(5), first(5))
    assert not np.array_equal(first(5), first(6))
    assert not np.array_equal(first(None), first(None))
    env = FunctionalVecEnv(CARTPOLE, 3, seed=0)
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), first(5))
    assert not np.array_equal(env.reset(), first(5))  # a seed serves one reset
    assert len(np.unique(env.reset(), axis=0)) == 3


def test_the_step_compiles_once_for_all_adapters_of_an_environment():
    from spi_plugins.algorithms.vec_envs import functional

    env = make_cartpole(max_episode_steps=31)
    before = functional._step._cache_size()
    for seed in range(2):
        vec_env = FunctionalVecEnv(env, 5, seed=seed)
        vec_env.reset()
        for action in actions_for(3, 5):
            vec_env.step(action)
        vec_env.params = vec_env.params._replace(gravity=5.0)
        vec_env.step(np.zeros(5, int))
    assert functional._step._cache_size() == before + 1


def test_new_parameters_are_used_at_the_next_step():
    heavy, light = FunctionalVecEnv(CARTPOLE, 1, seed=0), FunctionalVecEnv(CARTPOLE, 1, seed=0)
    np.testing.assert_array_equal(heavy.reset(), light.reset())
    heavy.params = CARTPOLE.params._replace(force=20.0)
    assert not np.array_equal(heavy.step(np.array([1]))[0], light.step(np.array([1]))[0])


def test_dict_and_box_environments_keep_their_spaces():
    env = FunctionalVecEnv(make_dict_rule(), 2, seed=0)
    obs = env.reset()
    for _ in range(3):
        obs, _, done, infos = env.step(np.array([0, 1]))
        for key, space in env.observation_space.spaces.items():
            assert obs[key].dtype == space.dtype
            assert space.contains(obs[key][0])
        if done[0]:
            assert set(infos[0]["terminal_observation"]) == set(obs)
    env = FunctionalVecEnv(make_box_target(), 2, seed=0)
    env.reset()
    shape = (2, *env.action_space.shape)
    _, reward, _, _ = env.step(np.zeros(shape))
    assert reward.shape == (2,)


def test_what_came_out_can_be_written_and_is_not_written_again():
    env = FunctionalVecEnv(make_time_limit(), 2, seed=0)
    obs = env.reset()
    obs[:] = 7
    kept = [env.step(np.zeros(2, int)) for _ in range(6)]
    copies = [(o.copy(), r.copy()) for o, r, _, _ in kept]
    env.step(np.zeros(2, int))
    for (obs, reward, _, _), (same, also) in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(obs, same)
        np.testing.assert_array_equal(reward, also)
        obs[:] = 3


def test_frames_show_each_copy():
    env = FunctionalVecEnv(CARTPOLE, 2, seed=0)
    env.reset()
    assert env.render_mode == "rgb_array"
    first, second = env.get_images()
    assert first.shape == second.shape == (200, 300, 3)
    assert env.render().shape[2] == 3
    blind = FunctionalVecEnv(CARTPOLE._replace(render=None), 2)
    assert blind.render_mode is None
    assert blind.get_images() == [None, None]


def test_it_has_no_reset_rows_and_does_a_monitors_job():
    env = FunctionalVecEnv(CARTPOLE, 2)
    env.reset()
    assert not env.has_reset_rows
    with pytest.raises(RuntimeError, match="Use step"):
        env.step_rows(np.zeros(2, int))
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.get_attr("name") == ["cartpole", "cartpole"]
    assert not env.has_attr("action_masks")
    with pytest.raises(AttributeError):
        env.env_method("render_all")
    with pytest.raises(AttributeError):
        env.set_attr("gravity", 1.0)
    env.close()
    assert env.closed


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="got str"):
        FunctionalVecEnv("cartpole", 2)
    with pytest.raises(ValueError, match="got 0"):
        FunctionalVecEnv(CARTPOLE, 0)
    env = FunctionalVecEnv(CARTPOLE, 2)
    env.set_options({"a": 1})
    with pytest.raises(ValueError, match="no options"):
        env.reset()


def test_sb3_learns_and_evaluates_on_it():
    env = FunctionalVecEnv(CARTPOLE, 4, seed=0)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(128)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == lengths
