"""SPOWL and TDMPC2 behind the face of Stable-Baselines3."""

import functools
import io

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium import spaces
from logged_rows import Rows
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_models import POINT_GOAL, TINY_COSTS, TINY_PLANNER, tiny_spowl, tiny_tdmpc2
from toy_envs import VECTOR, ToyEnv

from spi_plugins import SPOWL, TDMPC2, buffers
from spi_plugins.algorithms import devices
from spi_plugins.errors import ModelFileError, SPIError
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.planners.planner import Planner

BOX = spaces.Box(-2.0, 4.0, (2,), np.float32)


class CostlyToy(ToyEnv):
    """The toy with a cost that counts its steps, and a place to spoil it."""

    def __init__(self, cost=float, **kwargs):
        super().__init__(VECTOR, BOX, **kwargs)
        self.cost = cost

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        cost = self.cost(self.total)
        return observation, reward, terminated, truncated, info if cost is None else {**info, "cost": cost}


def learn_logged(model, steps, **kwargs):
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(steps, **kwargs)
    return rows.rows


def same(first, second):
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    data = jax.random.key_data
    return all(
        np.array_equal(*(data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in pair))
        for pair in leaves
    )


@pytest.fixture(scope="module")
def trained():
    return tiny_spowl().learn(48)


def test_the_log_has_the_benchmarks_metrics():
    row = learn_logged(tiny_spowl(), 64)[-1]
    assert {
        "rollout/ep_rew_mean", "rollout/ep_cost_mean", "rollout/cost_rate", "rollout/training_cost_rate",
        "plan/planned", "plan/value_threshold", "plan/cost_threshold", "plan/n_feasible",
        "train/multiplier", "train/penalty", "train/consistency_loss", "train/cost_loss", "train/cost_value_loss",
        "train/value_loss", "train/reward_loss", "train/policy_loss", "train/n_updates", "train/learning_rate",
    } <= row.keys()  # fmt: skip
    assert all(np.isfinite(value) for key, value in row.items() if key.startswith(("train/", "plan/")))


def test_episodes_have_their_cost_though_the_monitor_does_not_count_it():
    env = DummyVecEnv([lambda: Monitor(CostlyToy()), lambda: Monitor(CostlyToy(cost=lambda total: 2.0))])
    model = tiny_spowl(env, learning_starts=1000).learn(20)
    # Costs are the numbers of the steps, or 2 each; episodes have five steps.
    assert [episode["c"] for episode in model.ep_info_buffer] == [15.0, 10.0, 40.0, 10.0]


@pytest.mark.slow
def test_without_costs_the_log_has_none():
    row = learn_logged(tiny_tdmpc2(), 32)[-1]
    assert not {key for key in row if "multiplier" in key or ("cost_" in key and key.startswith("train/"))}


def test_there_is_one_gradient_step_for_each_step_of_the_environments():
    assert tiny_tdmpc2().learn(40)._n_updates == 40
    assert tiny_tdmpc2(gradient_steps=3).learn(40)._n_updates == 3 * 5  # updates at 8, 16, 24, 32, 40


def test_nothing_is_learned_before_learning_starts():
    model = tiny_tdmpc2(learning_starts=33)
    before = model.get_parameters()["policy"]
    model.learn(32)
    assert all(np.array_equal(before[k], v) for k, v in model.get_parameters()["policy"].items())
    model.learn(8, reset_num_timesteps=False)
    assert model._n_updates == 40


def test_each_program_is_compiled_once_though_the_buffer_fills_and_numbers_of_updates_differ():
    model = tiny_spowl(buffer_size=24, compiled=False).learn(44)
    model.learn(20, reset_num_timesteps=False)
    collector = model._collector
    assert int(model.replay_buffer.size.min()) == 12
    for program in (collector._act, collector._explore, model._add, model._update):
        assert program._cache_size() == 1, program


def test_what_the_planner_reports_is_in_the_info_on_request():
    seen = []

    class Look(BaseCallback):
        def _on_step(self):
            seen.append(self.locals["infos"][0].get("plan"))
            return True

    tiny_spowl(info_metrics=True).learn(16, callback=Look())
    assert seen[0] is None  # at random before learning starts
    assert seen[-1]["planned"] in (0.0, 1.0)


def toy(**kwargs):
    return lambda: CostlyToy(**kwargs)


def test_next_step_and_same_step_resets_fill_the_buffer_alike():
    """The same two environments, as SB3 and as Gymnasium vectorize them: the second has a row for each reset."""
    same_step = tiny_spowl(DummyVecEnv([toy(), toy()]), learning_starts=1000).learn(40)
    next_step = tiny_spowl(gym.vector.SyncVectorEnv([toy(), toy()]), learning_starts=1000).learn(48)
    first, second = (model.replay_buffer for model in (same_step, next_step))
    filled = int(first.size[0])
    assert filled == 20 + 1 + 4  # steps, the first observation, those after four ends
    for name in ("valid", "terminated", "truncated", "cost", "reward"):
        one, two = (getattr(b.slots, name)[:, :filled] for b in (first, second))
        np.testing.assert_array_equal(one, two, err_msg=name)
    firsts = ~np.asarray(first.slots.valid[0, :filled])
    assert np.flatnonzero(firsts).tolist() == [0, 6, 12, 18, 24]
    # Every second episode is cut by the limit, the others reach a terminal state.
    assert np.flatnonzero(first.slots.terminated[0]).tolist() == [5, 17]
    assert np.flatnonzero(first.slots.truncated[0]).tolist() == [11, 23]
    assert not np.any(np.asarray(first.slots.cost[0, :filled])[firsts])


def test_actions_reach_the_environment_within_its_bounds_and_the_buffer_between_minus_one_and_one():
    taken = []

    class Note(CostlyToy):
        def step(self, action):
            taken.append(action)
            return super().step(action)

    model = tiny_spowl(DummyVecEnv([Note]), learning_starts=1000).learn(30)
    assert np.min(taken) < -1.5
    assert np.max(taken) > 3.0
    firsts = ~np.asarray(model.replay_buffer.slots.valid[0])
    stored = np.asarray(model.replay_buffer.slots.action[0])[~firsts][: len(taken)]
    np.testing.assert_allclose(np.asarray(taken), 3.0 * stored + 1.0, atol=1e-5)


def test_a_replay_file_gives_back_the_buffer(trained, tmp_path):
    trained.save_replay_buffer(tmp_path / "replay.npz")
    other = tiny_spowl()
    other.load_replay_buffer(tmp_path / "replay.npz")
    assert same(trained.replay_buffer, other.replay_buffer)
    larger = tiny_spowl(buffer_size=1000)
    larger.load_replay_buffer(tmp_path / "replay.npz")
    windows = buffers.sample(larger.replay_buffer, jax.random.key(0), 8, 2)
    assert np.isfinite(windows.obs).all()


def test_what_follows_a_buffer_of_another_moment_begins_a_window_of_its_own(trained):
    model_file, replay_file = io.BytesIO(), io.BytesIO()
    trained.save(model_file)
    model_file.seek(0)
    stepped = {"learning_starts": 1000, "compiled": False}
    tiny_spowl(**stepped).learn(8).save_replay_buffer(replay_file)
    replay_file.seek(0)
    model = SPOWL.load(model_file, env=POINT_GOAL, **stepped)
    model.load_replay_buffer(replay_file)
    model.learn(4, reset_num_timesteps=False)
    valid = np.asarray(model.replay_buffer.slots.valid[0])
    assert valid[:8].tolist() == [False] + 4 * [True] + [False] + 2 * [True]


def test_replay_files_that_do_not_fit_are_refused(trained, tmp_path):
    path = tmp_path / "replay.npz"
    with pytest.raises(FileNotFoundError, match="no replay buffer"):
        tiny_spowl().load_replay_buffer(path)
    trained.save_replay_buffer(path)
    with pytest.raises(ModelFileError, match="shape"):
        tiny_spowl(n_envs=3, buffer_size=96).load_replay_buffer(path)
    with pytest.raises(ModelFileError, match="room for"):
        tiny_spowl(buffer_size=10).load_replay_buffer(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelFileError, match="damaged"):
        tiny_spowl().load_replay_buffer(path)


@pytest.mark.slow
def test_a_buffer_on_the_host_trains_and_resumes_bit_for_bit():
    whole = tiny_spowl(buffer_device="host").learn(48)
    assert isinstance(whole.replay_buffer, HostBuffer)
    part, model_file, replay_file = tiny_spowl(buffer_device="host").learn(24), io.BytesIO(), io.BytesIO()
    part.save(model_file)
    part.save_replay_buffer(replay_file)
    model_file.seek(0), replay_file.seek(0)
    resumed = SPOWL.load(model_file, env=POINT_GOAL)
    resumed.load_replay_buffer(replay_file)
    resumed.learn(24, reset_num_timesteps=False)
    assert resumed._n_updates == whole._n_updates == 48
    assert same(resumed._agent_state, whole._agent_state)


def test_a_buffer_that_does_not_fit_on_the_device_goes_to_the_host(monkeypatch):
    monkeypatch.setattr(devices, "device_bytes", lambda device: 1000)
    model = tiny_spowl(learning_starts=1000).learn(4)
    assert isinstance(model.replay_buffer, HostBuffer)


def test_sb3s_checkpoint_callback_saves_the_buffer_too(tmp_path):
    tiny_tdmpc2().learn(16, callback=CheckpointCallback(4, str(tmp_path), save_replay_buffer=True))
    assert len(list(tmp_path.glob("*replay_buffer*"))) == 2


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(40, marks=pytest.mark.slow, id="at an update"),
        # test_compiled_off_policy holds a killed run to the same.
        pytest.param(44, marks=pytest.mark.slow, id="between two"),
    ],
)
def test_training_resumes_bit_for_bit_with_the_buffer(half):
    whole = tiny_spowl().learn(80)
    part, model_file, replay_file = tiny_spowl().learn(half), io.BytesIO(), io.BytesIO()
    part.save(model_file)
    part.save_replay_buffer(replay_file)
    model_file.seek(0), replay_file.seek(0)
    resumed = SPOWL.load(model_file, env=POINT_GOAL)
    resumed.load_replay_buffer(replay_file)
    resumed.learn(80 - half, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps == 80
    assert resumed._n_updates == whole._n_updates
    assert same(resumed._agent_state, whole._agent_state)
    assert same(resumed.replay_buffer, whole.replay_buffer)


def test_a_model_goes_on_without_its_buffer_and_with_another_number_of_environments(trained):
    file = io.BytesIO()
    trained.save(file)
    file.seek(0)
    model = SPOWL.load(file, env=POINT_GOAL, n_envs=3, learning_starts=1000)
    model.learn(24, reset_num_timesteps=False)
    assert model.num_timesteps == 72


def test_plans_travel_in_predicts_state(trained):
    obs = np.random.default_rng(0).normal(size=(3, *trained.observation_space.shape)).astype(np.float32)
    _, plans = trained.predict(obs, deterministic=True)
    warm, _ = trained.predict(obs, state=plans, deterministic=True)
    cold, _ = trained.predict(obs, deterministic=True)
    again, _ = trained.predict(obs, state=plans, episode_start=np.ones(3, bool), deterministic=True)
    mixed, _ = trained.predict(obs, state=plans, episode_start=np.asarray([1, 0, 1]), deterministic=True)
    np.testing.assert_array_equal(again, cold)
    np.testing.assert_array_equal(mixed, np.where([[True], [False], [True]], cold, warm))
    leaf = jax.tree.leaves(plans)[0]
    assert isinstance(leaf, np.ndarray)
    assert leaf.any()


def test_evaluate_policy_works_with_any_number_of_environments(trained):
    for n_envs in (1, 3):
        env = make_vec_env("spi/PointGoal-v0", n_envs=n_envs, env_kwargs={"max_episode_steps": 4})
        _, lengths = evaluate_policy(trained, env, n_eval_episodes=4, return_episode_rewards=True)
        assert lengths == [4] * 4


def test_plans_of_another_number_of_environments_are_refused(trained):
    obs = np.zeros((3, *trained.observation_space.shape), np.float32)
    _, plans = trained.predict(obs)
    with pytest.raises(ValueError, match="observation has 2 rows"):
        trained.predict(obs[:2], state=plans)
    with pytest.raises(ValueError, match="observation has 3 rows"):
        trained.predict(obs, episode_start=np.zeros(2, bool))


def test_a_planner_of_ones_own_needs_no_name():
    def plan(model, params, z, state, key, *, deterministic):
        step = model.step(params, z[None], jax.numpy.zeros((1, 2)), key)
        return jax.numpy.full(2, 0.5), state + 1, {"reward": step.reward[0]}

    planner = Planner("half", frozenset(), lambda spec: jax.numpy.zeros((), jax.numpy.int32), plan)
    model = tiny_tdmpc2(planner=planner, planner_kwargs=None).learn(16)
    action, state = model.predict(np.zeros(model.observation_space.shape, np.float32))
    np.testing.assert_allclose(action, [0.5, 0.5], rtol=1e-6)
    assert state == [1]
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    with pytest.raises(ValueError, match=r"load\(..., planner=...\)"):
        TDMPC2.load(file)
    file.seek(0)
    assert TDMPC2.load(file, planner=planner).predict(np.zeros(model.observation_space.shape))[1] == [1]


@pytest.mark.parametrize("name", ["mppi", "ccem", "safe_improvement", "cem", "icem", "policy"])
def test_every_planner_can_be_chosen_by_name(name):
    sizes = {} if name == "policy" else {"num_samples": 8, "num_elites": 3, "iterations": 2}
    sizes |= {"num_prior": 3} if name in ("mppi", "ccem", "safe_improvement") else {}
    model = tiny_spowl(planner=name, planner_kwargs=sizes, decision="mean")
    assert name in model.agent.planner.name
    obs = np.zeros((model.n_envs, *model.observation_space.shape), np.float32)
    plans, starts = model.agent.init_plan(model.n_envs), np.ones(model.n_envs, bool)
    act = functools.partial(model.agent.act, deterministic=False)
    state = model._agent_state
    assert "planned" in jax.eval_shape(act, state.params, obs, plans, starts, state.key)[2]


@pytest.mark.parametrize("spoiled", ["observation", "reward", "cost"])
def test_nan_is_reported_with_environment_and_step_and_not_learned_from(spoiled):
    def spoil(total, observation, reward):
        bad = total == 7
        return (
            np.full_like(observation, np.nan) if bad and spoiled == "observation" else observation,
            np.nan if bad and spoiled == "reward" else reward,
        )

    def cost(total):
        return np.nan if spoiled == "cost" and total == 7 else 0.0

    model = tiny_spowl(DummyVecEnv([toy(), toy(cost=cost, spoil=spoil)]), learning_starts=1000)
    with pytest.raises(ValueError, match=f"at time step 14: the {spoiled} of environment 1 is not finite"):
        model.learn(30)
    assert np.isfinite(np.asarray(model.replay_buffer.slots.obs)).all()


def test_a_model_of_costs_says_what_to_do_where_there_are_none():
    with pytest.raises(ValueError, match=r"info\['cost'\] is missing.*environment 0.*CostFromFn.*TDMPC2"):
        tiny_spowl(DummyVecEnv([toy(cost=lambda total: None)]), learning_starts=1000).learn(10)
    tiny_tdmpc2(DummyVecEnv([toy(cost=lambda total: None)]), learning_starts=1000).learn(10)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"buffer_size": 0}, "buffer_size must be an integer of at least 1, got 0"),
        ({"learning_starts": -1}, "learning_starts"),
        ({"batch_size": 0}, "batch_size"),
        ({"horizon": 0}, "horizon"),
        ({"train_freq": 0}, "train_freq"),
        ({"gradient_steps": 0}, "gradient_steps"),
        ({"buffer_device": "disk"}, "buffer_device must be one of 'auto', 'device', 'host', got 'disk'"),
        ({"tau": 1.5}, "tau"),
        ({"gamma": -0.1}, "gamma"),
        ({"ent_coef": -1.0}, "ent_coef"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"model_size": "5M"}, "model_size must be one of '5m', 'small', got '5M'"),
        ({"decision": "median"}, "decision"),
        ({"planner": "mpii"}, "mpii.*mppi"),
        ({"planner": 3}, "planner must be a registered name or a Planner, got 3"),
        ({"planner_kwargs": {"samples": 3}}, "samples.*num_samples"),
        ({"policy_kwargs": {"net_arch": [64]}}, "policy_kwargs has unknown keys.*net_arch.*hidden"),
        ({"policy_kwargs": {"latent_dim": 12}}, "latent_dim=12.*simnorm_dim=8"),
        ({"loss_kwargs": {"rho": 2.0}}, "rho"),
        ({"loss_kwargs": {"tau": 0.1}}, "loss_kwargs has unknown keys.*tau"),
        ({"loss_kwargs": {"penalty_init": 0.0}}, "penalty_init"),
        ({"cost_limit": -1.0}, "cost_limit"),
        ({"cost_gamma": 1.1}, "cost_gamma"),
        ({"use_lagrangian": 2}, "use_lagrangian"),
        ({"policy_kwargs": {"n_costs": 0}}, "cost_value|cost"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(kwargs, message):
    with pytest.raises((ValueError, SPIError), match=message):
        tiny_spowl(**kwargs)


def test_the_papers_size_on_a_cpu_is_warned_of(monkeypatch):
    kwargs = {**TINY_PLANNER, "policy_kwargs": TINY_COSTS, "model_size": "5m"}
    model = SPOWL("MlpPolicy", POINT_GOAL, n_envs=2, **kwargs)
    with pytest.warns(UserWarning, match="model_size='small'"):
        model.learn(4)
