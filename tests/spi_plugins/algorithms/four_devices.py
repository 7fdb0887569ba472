"""Tests for four devices; ``test_devices.py`` runs them in a process that has as many."""

import copy
import functools
import logging

import jax
import numpy as np
import pytest
from tiny_models import CARTPOLE, N_STEPS, POINT_GOAL, SMALL, tiny_deep_spi, tiny_ppo, tiny_spowl

from spi_plugins import PPO, SPOWL, DreamSPI
from spi_plugins.agents.interaction import Carried, Steps
from spi_plugins.algorithms import on_policy
from spi_plugins.algorithms.joint_training import separate_reason
from spi_plugins.envs.cost_cartpole import make_cost_cartpole

COPIES = 8
ROLLOUT = COPIES * N_STEPS
TOLERANCE = 1e-5  # of float32 sums in another order, after a few updates


def tiny_constrained(**kwargs):
    limit = {"constraint": "lagrangian", "cost_limit": 1.0}
    return PPO("MlpPolicy", make_cost_cartpole(max_episode_steps=9), **{**SMALL, **limit, **kwargs})


def tiny_dream_spi(**kwargs):
    small = {**SMALL, "policy_kwargs": {"net_arch": [8], "latent_arch": [6]}, "imagination_horizon": 2}
    return DreamSPI("MlpPolicy", CARTPOLE, **{**small, "transition_density": "deterministic", **kwargs})


MAKERS = {
    "PPO": tiny_ppo,
    "DeepSPI": tiny_deep_spi,
    "DreamSPI": tiny_dream_spi,
    "constrained": tiny_constrained,
    "stepped": functools.partial(tiny_deep_spi, "stepped"),
    "constrained, stepped": functools.partial(tiny_constrained, compiled=False),
}


@functools.cache
def trained(maker, device, steps=2 * ROLLOUT):
    """A model that tests share, and must not train further."""
    return MAKERS[maker](n_envs=COPIES, batch_size=16, device=device).learn(steps)


def assert_close(model, other, tolerance=TOLERANCE):
    ours, theirs = model.get_parameters(), other.get_parameters()
    assert ours.keys() == theirs.keys()
    for group, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(
                array, theirs[group][name], tolerance, tolerance, err_msg=f"{group}/{name}"
            )


def spread(tree):
    """On how many devices an array lies, and which share of it each has."""
    return {(len(x.sharding.device_set), x.addressable_data(0).size / x.size) for x in jax.tree.leaves(tree)}


@pytest.mark.parametrize("maker", MAKERS)
def test_four_devices_learn_what_one_does(maker):
    one, four = trained(maker, 1), trained(maker, 4)
    assert_close(one, four)
    assert [info["r"] for info in one.ep_info_buffer] == [info["r"] for info in four.ep_info_buffer]
    np.testing.assert_allclose(one._last_obs, four._last_obs, TOLERANCE, TOLERANCE)


def test_many_iterations_in_a_call_do_too(monkeypatch):
    monkeypatch.setattr(on_policy, "WORTH_COMPILING", 1)
    one, four = (trained("PPO", device, 8 * ROLLOUT) for device in (1, 4))
    assert four._collector.chunked.n_calls > 1
    assert_close(one, four)


def test_copies_are_divided_and_parameters_are_whole():
    model = trained("PPO", 4)
    assert spread(model._agent_state) == {(4, 1.0)}
    runner = model._collector.runner(model._agent_state)
    assert spread((runner.env_state, runner.obs)) == {(4, 0.25)}


def program(model):
    """That of an iteration, compiled."""
    collector = model._collector
    runner = collector.runner(model._agent_state)
    return collector._run.lower(runner, collector.env.params, *model.rates(0, 1)).compile()


def test_each_device_computes_its_part():
    def operations(device):
        model = tiny_ppo(n_envs=64, batch_size=256, device=device)
        model._setup_learn(1)
        model._collector = model._make_collector()
        model._start(model._collector)
        return program(model).cost_analysis()["flops"]

    assert operations(4) < 0.3 * operations(1)


@pytest.mark.parametrize(("maker", "n_sums"), [("PPO", 3), ("DeepSPI", 9)])
def test_devices_exchange_little(maker, n_sums):
    text = program(trained(maker, 4)).as_text()
    # Before the first gradient step.
    assert "all-gather" in text
    in_loops = [line for line in text.splitlines() if "while/body" in line]
    assert not [line for line in in_loops if "all-gather(" in line or "collective-permute(" in line]
    # Those of a gradient step.
    assert len([line for line in in_loops if "all-reduce(" in line]) <= n_sums


def test_the_program_compiles_once(caplog):
    model = MAKERS["PPO"](n_envs=COPIES, batch_size=16, device=4)
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        model.learn(2 * ROLLOUT)
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("Compiling jit(_run_at_once)") for line in lines) == 1
    assert not lines[-1].startswith("Compiling")


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2), (4, 4)])
def test_a_run_goes_on_exactly_on_another_number_of_devices(tmp_path, before, after):
    trained("PPO", before).save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env=CARTPOLE, device=after)
    again.learn(2 * ROLLOUT, reset_num_timesteps=False)
    assert_close(again, trained("PPO", 4, 4 * ROLLOUT), 0.0 if before == after else TOLERANCE)


# Planners choose the best of a few sequences. Once rounding changes one choice, runs part: a few updates before that.
PLANNED = {"n_envs": COPIES, "batch_size": 8, "learning_starts": 32, "gradient_steps": 4, "buffer_size": 232}


@functools.cache
def planned(device, steps=64, **kwargs):
    return tiny_spowl(device=device, **PLANNED, **kwargs).learn(steps)


def assert_same_replay(model, other, tolerance):
    pairs = zip(*(jax.tree.leaves(each.replay_buffer) for each in (model, other)), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


def test_planning_agents_learn_what_they_do_on_one_device():
    one, four = planned(1), planned(4)
    assert one._n_updates == four._n_updates == 8
    assert_close(one, four)
    assert_same_replay(one, four, TOLERANCE)
    assert spread(four._agent_state) == {(4, 1.0)}
    collector = four._collector
    plans = (collector._obs, collector._plan, collector._episode_start)
    assert spread((four.replay_buffer, collector.env.state, plans)) == {(4, 0.25)}


def test_planning_agents_that_are_stepped_from_python_do_too():
    one, four = planned(1), planned(4, compiled=False)
    assert_close(one, four)
    assert_same_replay(one, four, TOLERANCE)
    assert spread(four.replay_buffer) == {(4, 0.25)}


def test_no_device_sees_the_replay_of_another():
    model = planned(4)
    collector, capacity = model._collector, model.replay_buffer.slots.reward.shape[1]
    carried = Carried(
        *(model.replay_buffer, collector.env.state, collector._obs, collector._plan, collector._episode_start)
    )
    steps = Steps(*(np.int32(n) for n in (4, 64, 0)))
    inputs = model._agent_state, carried, collector.env.params, steps, np.int32(4), np.float32(0)
    text = collector._run.lower(*inputs).compile().as_text()
    assert f"{COPIES // 4},{capacity}" in text
    assert f"{COPIES},{capacity}" not in text


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 4)])
def test_a_planning_run_goes_on_exactly_on_another_number_of_devices(tmp_path, before, after):
    model = planned(before, 32)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    again = SPOWL.load(tmp_path / "model", env=POINT_GOAL, device=after)
    again.load_replay_buffer(tmp_path / "replay")
    again.learn(32, reset_num_timesteps=False)
    assert_close(again, planned(4), 0.0 if before == after else TOLERANCE)
    assert_same_replay(again, planned(4), 0.0 if before == after else TOLERANCE)
    assert spread(again.replay_buffer) == {(after, 1 / after)}


def test_what_cannot_be_divided_is_named():
    with pytest.raises(ValueError, match="n_envs=6 cannot be divided evenly among 4 devices"):
        tiny_ppo(n_envs=6, device="all")
    with pytest.raises(ValueError, match="batch_size=6 cannot be divided evenly among 4 devices"):
        tiny_ppo(n_envs=8, batch_size=6, device=4)
    with pytest.raises(ValueError, match="batch_size=6 cannot be divided evenly among 4 devices"):
        tiny_spowl(**PLANNED | {"batch_size": 6}, device=4)
    with pytest.raises(ValueError, match="device=5: JAX finds 4 cpu devices, not 5"):
        tiny_ppo(n_envs=10, device=5)
    with pytest.raises(ValueError, match="device must be"):
        tiny_ppo(device=0)
    models = [tiny_ppo(n_envs=8, batch_size=8, device=4, seed=seed) for seed in (0, 1)]
    assert "on several devices" in separate_reason(models)


def test_a_size_that_was_left_open_can_be_divided():
    # 28 steps: 28, of the divisors near 256, but 14 and 2 are not multiples of 4.
    model = PPO("MlpPolicy", CARTPOLE, n_envs=4, n_steps=7, device=4, seed=0)
    assert model.batch_size == 28


def test_predictions_values_and_copies_are_of_one_device(tmp_path):
    one, four = trained("PPO", 1), trained("PPO", 4)
    obs = np.asarray(one._last_obs)
    np.testing.assert_array_equal(
        one.predict(obs, deterministic=True)[0], four.predict(obs, deterministic=True)[0]
    )
    np.testing.assert_allclose(one.values_of(obs), four.values_of(obs), TOLERANCE)
    same = copy.deepcopy(four)
    assert same.devices == four.devices
    assert_close(same, four, 0.0)
    four.set_parameters(one.get_parameters())
    assert spread(four._agent_state.params) == {(4, 1.0)}
