"""EnvPool's environments through the adapter, with the real EnvPool."""

import warnings

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecVideoRecorder

from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, GymVectorEnvAdapter
from spi_plugins.errors import EnvironmentNotSupportedError

envpool = pytest.importorskip("envpool")

ATARI = {"episodic_life": True, "reward_clip": True, "img_height": 42, "img_width": 42}


def raw(env_id, num_envs=3, seed=0, **kwargs):
    return envpool.make(env_id, env_type="gymnasium", num_envs=num_envs, seed=seed, **kwargs)


def make(env_id, num_envs=3, seed=0, **kwargs):
    return EnvPoolVecEnv(raw(env_id, num_envs, seed, **kwargs))


def breakout(num_envs=3, **kwargs):
    return make("Breakout-v5", num_envs, **{**ATARI, "max_episode_steps": 150, **kwargs})


def actions_for(env, steps, seed=1):
    rng = np.random.default_rng(seed)
    if isinstance(env.action_space, gym.spaces.Discrete):
        return rng.integers(0, env.action_space.n, (steps, env.num_envs))
    shape = (steps, env.num_envs, *env.action_space.shape)
    return rng.uniform(env.action_space.low, env.action_space.high, shape).astype(np.float32)


def by_environment(env, steps, rows):
    """Play with actions drawn for each environment's own steps, and list what each environment saw.

    An entry is the true observation that was reached, with what came beside it; with None for a reset.
    """
    actions = actions_for(env, steps)
    seen, clock = [[] for _ in range(env.num_envs)], np.zeros(env.num_envs, int)
    obs = env.reset()
    for i in range(env.num_envs):
        seen[i].append((obs[i], None))
    for _ in range(steps):
        action = actions[clock, np.arange(env.num_envs)]
        if rows:
            obs, reward, terminated, truncated, is_reset, infos = env.step_rows(action)
            done = terminated | truncated
        else:
            obs, reward, done, infos = env.step(action)
            is_reset = np.zeros(env.num_envs, bool)
        clock += ~is_reset
        for i, info in enumerate(infos):
            reached = info.get("terminal_observation", obs[i])
            episode = info.get("episode", {})
            entry = (
                reward[i],
                done[i],
                info["TimeLimit.truncated"],
                info.get("lives"),
                episode.get("r"),
                episode.get("l"),
            )
            seen[i].append((reached, None) if is_reset[i] else (reached, entry))
            if done[i] and not rows:
                seen[i].append((obs[i], None))
    return seen


def assert_same_history(got, want, at_least=1):
    ends = 0
    for mine, theirs in zip(got, want, strict=True):
        for (obs, entry), (other_obs, other_entry) in zip(mine, theirs, strict=False):
            np.testing.assert_array_equal(obs, other_obs)
            assert entry == other_entry
            ends += entry is None
    assert ends > at_least, "the run was too short to show anything"


@pytest.mark.parametrize(
    ("env_id", "steps", "kwargs"),
    [("CartPole-v1", 120, {}), ("Pendulum-v1", 60, {"max_episode_steps": 20}), ("Breakout-v5", 260, ATARI)],
)
def test_step_and_rows_see_the_same_episodes(env_id, steps, kwargs):
    if env_id == "Breakout-v5":
        kwargs = {**kwargs, "max_episode_steps": 90}
    same_step = by_environment(make(env_id, **kwargs), steps, rows=False)
    next_step = by_environment(make(env_id, **kwargs), steps, rows=True)
    assert_same_history(same_step, next_step, at_least=8)


def test_terminal_observations_equal_those_of_a_single_environment():
    env, actions = make("CartPole-v1", 3), actions_for(make("CartPole-v1", 3), 100)
    env.reset()
    ends = 0
    # EnvPool seeds environment i with seed + i, whatever the number of environments.
    singles = [make("CartPole-v1", 1, seed=i).pool for i in range(3)]
    for single in singles:
        single.reset()
    for t in range(100):
        obs, _, done, infos = env.step(actions[t])
        for i, single in enumerate(singles):
            want, _, terminated, truncated, _ = single.step(actions[t, i : i + 1].astype(np.int32))
            assert done[i] == (terminated | truncated)[0]
            if done[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], want[0])
                want = single.step(np.zeros(1, np.int32))[0]
                ends += 1
            np.testing.assert_array_equal(obs[i], want[0])
    assert ends > 5


def test_a_lost_life_is_done_but_the_game_and_its_statistics_go_on():
    env = breakout(2, max_episode_steps=2000)
    env.reset()
    actions = actions_for(env, 700)
    lives, total, length = np.full(2, 5), np.zeros(2), np.zeros(2, int)
    lost = games = 0
    for t in range(700):
        _, reward, done, infos = env.step(actions[t])
        assert set(reward) <= {0.0, 1.0}
        for i, info in enumerate(infos):
            total[i], length[i] = total[i] + info["reward"], length[i] + 1
            if done[i] and info["lives"] > 0:
                assert info["lives"] == lives[i] - 1
                assert "episode" not in info
                assert env.reset_infos[i]["lives"] == info["lives"], "a lost life began a new game"
                lost += 1
            if info["terminated"]:
                assert done[i]
                assert (info["episode"]["r"], info["episode"]["l"]) == (total[i], length[i])
                assert env.reset_infos[i]["lives"] == 5
                total[i], length[i] = 0, 0
                games += 1
            assert ("episode" in info) == bool(info["terminated"])
            lives[i] = env.reset_infos[i]["lives"] if done[i] else info["lives"]
    assert lost > 4
    assert games > 1


def test_the_statistics_hold_the_reward_before_clipping():
    # An invader is worth 5 to 30 points.
    env = make("SpaceInvaders-v5", 3, **ATARI, max_episode_steps=80)
    env.reset()
    total, best = np.zeros(3), 0.0
    for action in actions_for(env, 170):
        rows = env.step_rows(action)
        assert set(rows.reward) <= {0.0, 1.0}
        for i, info in enumerate(rows.infos):
            total[i] += info["reward"]
            if "episode" in info:
                assert info["episode"]["r"] == total[i]
                best, total[i] = max(best, total[i]), 0.0
    assert best >= 10


def test_a_time_limit_ends_the_episode_and_is_named():
    env = breakout(2, max_episode_steps=10)
    env.reset()
    for _ in range(9):
        _, _, done, infos = env.step(np.zeros(2, int))
        assert not done.any()
    _, _, done, infos = env.step(np.zeros(2, int))
    assert done.all()
    for info in infos:
        assert info["TimeLimit.truncated"]
        assert info["episode"]["l"] == 10
        assert info["lives"] == 5


def test_a_reset_in_mid_game_begins_whole_games():
    env = breakout(2)
    env.reset()
    for action in actions_for(env, 60):
        env.step_rows(action)
    env.reset()
    assert [info["lives"] for info in env.reset_infos] == [5, 5]
    assert not env.ended.any()
    assert env.statistics.episode_length.tolist() == [0, 0]


def test_what_came_out_is_never_written_again():
    env = breakout(3)
    kept = [env.reset()]
    copies = [kept[0].copy()]
    for action in actions_for(env, 60):
        obs, reward, done, infos = env.step(action)
        new = [obs, reward, done, *(i["terminal_observation"] for i in infos if "terminal_observation" in i)]
        kept += new
        copies += [array.copy() for array in new]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def scan(env, actions):
    """Compile T steps over the adapter's XLA functions."""
    xla = env.xla_functions()
    return jax.jit(lambda handle, actions: jax.lax.scan(xla.step, handle, actions))


@pytest.mark.parametrize(
    ("env_id", "steps", "kwargs"),
    [
        ("CartPole-v1", 100, {}),
        ("Pendulum-v1", 50, {"max_episode_steps": 20}),
        ("Breakout-v5", 200, {**ATARI, "max_episode_steps": 90}),
        ("FrozenLake-v1", 60, {}),
        ("MiniGrid-Empty-5x5-v0", 60, {"max_episode_steps": 15}),
    ],
)
def test_compiled_steps_give_the_rows_of_python_bit_for_bit(env_id, steps, kwargs):
    compiled, python = make(env_id, **kwargs), make(env_id, **kwargs)
    actions = actions_for(python, steps)
    jax.tree.map(np.testing.assert_array_equal, compiled.xla_functions().reset(), python.reset())
    _, rows = scan(compiled, actions)(compiled.xla_functions().handle(), jnp.asarray(actions))
    recorded = compiled.record(rows)
    ends = 0
    for t in range(steps):
        want = python.step_rows(actions[t])
        got = jax.tree.map(lambda x, t=t: np.asarray(x[t]), rows)
        for mine, theirs in zip(jax.tree.leaves(got.obs), jax.tree.leaves(want.obs), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        for name in ("reward", "terminated", "truncated", "is_reset"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
            assert getattr(got, name).dtype == getattr(want, name).dtype
        for i, info in enumerate(want.infos):
            assert recorded[t][i]["TimeLimit.truncated"] == info["TimeLimit.truncated"]
            assert ("episode" in recorded[t][i]) == ("episode" in info)
            if "episode" in info:
                ends += 1
                for key in "rl":
                    assert recorded[t][i]["episode"][key] == info["episode"][key]
    assert ends > 2
    for name in ("episode_return", "episode_length"):
        np.testing.assert_array_equal(
            getattr(compiled.statistics, name), getattr(python.statistics, name), err_msg=name
        )


def test_compiled_and_python_steps_alternate_on_one_pool():
    mixed, plain = breakout(2, max_episode_steps=60), breakout(2, max_episode_steps=60)
    actions = actions_for(plain, 150)
    mixed.reset(), plain.reset()
    run, handle, got, want = scan(mixed, actions), None, [], []

    def entry(row, infos):
        episodes = [(info["episode"]["r"], info["episode"]["l"]) for info in infos if "episode" in info]
        return (np.asarray(row.obs), *(np.asarray(x).tolist() for x in row[1:5]), episodes)

    for t in range(0, 150, 10):
        if (t // 10) % 3 == 2:  # two compiled stretches, then ten steps from Python
            for action in actions[t : t + 10]:
                row = mixed.step_rows(action)
                got.append(entry(row, row.infos))
            handle = None
        else:
            handle = mixed.xla_functions().handle() if handle is None else handle
            handle, rows = run(handle, jnp.asarray(actions[t : t + 10]))
            infos = mixed.record(rows._replace(obs=None))
            got += [entry(jax.tree.map(lambda x, k=k: x[k], rows), infos[k]) for k in range(10)]
    for action in actions:
        row = plain.step_rows(action)
        want.append(entry(row, row.infos))
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]
    assert sum(len(row[-1]) for row in want) >= 4
    # SB3's step and an evaluation afterwards begin from a sound state.
    obs, _, done, _ = mixed.step(actions[0])
    other, _, other_done, _ = plain.step(actions[0])
    np.testing.assert_array_equal(obs, other)
    np.testing.assert_array_equal(done, other_done)


def test_a_compiled_stretch_may_end_with_an_episode():
    env = make("Pendulum-v1", 2, max_episode_steps=5)
    env.reset()
    actions = jnp.zeros((5, 2, 1))
    handle, rows = scan(env, actions)(env.xla_functions().handle(), actions)
    infos = env.record(rows)
    assert [info["episode"]["l"] for info in infos[-1]] == [5, 5]
    assert env.ended.all()
    np.testing.assert_array_equal(handle.ended, env.ended)
    _, reward, done, _ = env.step(np.ones((2, 1)))
    assert reward.tolist() == [0.0, 0.0]
    assert not done.any()
    assert not env.ended.any()


def test_rows_from_a_stale_handle_are_refused():
    env = make("CartPole-v1", 2)
    env.reset()
    actions = jnp.zeros((40, 2), jnp.int32)
    run = scan(env, actions)
    stale = env.xla_functions().handle()
    while not env.ended.any():
        env.step_rows(np.zeros(2, int))
    _, rows = run(stale, actions)
    with pytest.raises(RuntimeError, match=r"Take a new handle\(\)"):
        env.record(rows)


def test_python_steps_after_unrecorded_compiled_ones_are_refused_at_the_first_reset():
    env = make("CartPole-v1", 2)
    env.reset()
    step, handle = jax.jit(env.xla_functions().step), env.xla_functions().handle()
    for _ in range(20):
        handle, rows = step(handle, jnp.zeros(2, jnp.int32))
        if np.any(rows.terminated):
            break
    with pytest.raises(RuntimeError, match="record"):
        env.step_rows(np.zeros(2, int))


def test_compiled_functions_keep_the_pool_alive():
    import gc
    import weakref

    env = make("CartPole-v1", 2)
    alive = weakref.ref(env.pool)
    env.reset()
    functions = env.xla_functions()
    assert functions is env.xla_functions()
    del env
    gc.collect()
    assert alive() is not None
    _, rows = functions.step(functions.handle(), jnp.zeros(2, jnp.int32))
    assert rows.obs.shape == (2, 4)
    functions.reset()


def test_64_bit_environments_are_32_bit_here_and_have_no_compiled_steps():
    env = make("HalfCheetah-v5", 2)
    assert env.observation_space.dtype == env.action_space.dtype == np.float32
    assert env.reset().dtype == np.float32
    obs, reward, _, infos = env.step(np.full((2, 6), 0.5, np.float32))
    assert (obs.dtype, obs.shape, reward.dtype) == (np.float32, (2, 17), np.float32)
    assert type(infos[0]["x_velocity"]) is float
    assert not env.xla_supported
    with pytest.raises(EnvironmentNotSupportedError, match="has 64-bit arrays"):
        env.xla_functions()


def test_missing_bounds_are_infinite():
    # EnvPool gives the smallest positive number as the lower bound of an unbounded box.
    assert np.isneginf(make("LunarLander-v3", 1).observation_space.low).all()
    space = make("CheetahRun-v1", 1).observation_space
    assert np.isneginf(space["position"].low).all()
    assert np.isposinf(space["velocity"].high).all()


def test_dict_observations_keep_their_keys_and_dtypes():
    env = make("MiniGrid-Empty-5x5-v0", 2, max_episode_steps=4)
    obs = env.reset()
    for t in range(4):
        obs, _, done, infos = env.step(np.full(2, t % 3))
    assert done.all()
    assert set(infos[0]["terminal_observation"]) == {"direction", "image", "mission"}
    for key, space in env.observation_space.spaces.items():
        assert obs[key].dtype == space.dtype
        assert infos[0]["terminal_observation"][key].shape == space.shape
        assert space.contains(obs[key][0])


def test_the_adapter_does_a_monitors_job():
    env = make("CartPole-v1", 2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(64)
    assert model.ep_info_buffer is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == lengths


def test_evaluation_counts_games_not_lives():
    class Random:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def predict(self, obs, state=None, episode_start=None, deterministic=False):
            return self.rng.integers(0, 4, len(obs)), None

    env = breakout(2, max_episode_steps=2000)
    _, lengths = evaluate_policy(Random(), env, n_eval_episodes=2, return_episode_rewards=True)
    # A game of five lives takes over 100 random steps, one life about 25.
    assert len(lengths) == 2
    assert min(lengths) > 80


def test_sb3_wrappers_work_on_it(tmp_path):
    env = make("CartPole-v1", 2, render_mode="rgb_array")
    normalized = VecNormalize(env)
    PPO("MlpPolicy", normalized, n_steps=16, batch_size=16, n_epochs=1, device="cpu").learn(32)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        VecMonitor(env)
    assert env.render().shape == (800, 600, 3)
    video = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=3)
    video.reset()
    for _ in range(5):
        video.step(np.zeros(2, int))
    video.close()
    assert len(list(tmp_path.glob("*.mp4"))) == 1


def test_frames_are_stacked_with_the_true_last_frame():
    env = VecFrameStack(breakout(2, stack_num=1, max_episode_steps=6), 4)
    obs = env.reset()
    assert obs.shape == (2, 4, 42, 42)
    for _ in range(6):
        before = obs
        obs, _, done, infos = env.step(np.array([2, 3]))
    assert done.all()
    terminal = infos[0]["terminal_observation"]
    np.testing.assert_array_equal(terminal[:3], before[0, 1:])
    np.testing.assert_array_equal(obs[0, :3], 0)


def test_another_seed_than_the_pools_is_warned_about():
    env = make("CartPole-v1", 2, seed=7)
    assert env.seed(7) == [7, 8]
    assert env.seed() == [7, 8]
    with pytest.warns(UserWarning, match="keeps seed=7, and 3 is not used"):
        env.seed(3)


def test_attributes_come_from_the_pool():
    env = make("CartPole-v1", 3)
    assert env.get_attr("render_mode", indices=[0, 1]) == [None, None]
    assert env.get_images() == [None] * 3
    assert not env.has_attr("action_masks")
    with pytest.raises(AttributeError, match="cannot be changed"):
        env.set_attr("gravity", 1.0)
    with pytest.raises(AttributeError, match="only 'render'"):
        env.env_method("action_masks")


def test_pools_that_cannot_be_a_vec_env_are_refused():
    with pytest.raises(EnvironmentNotSupportedError, match="batch_size=2 of num_envs=4"):
        EnvPoolVecEnv(raw("CartPole-v1", 4, batch_size=2))
    with pytest.raises(TypeError, match="env_type='gymnasium'"):
        EnvPoolVecEnv(envpool.make("CartPole-v1", env_type="dm", num_envs=2))
    with pytest.raises(TypeError, match="got str"):
        EnvPoolVecEnv("CartPole-v1")
    assert EnvPoolVecEnv(envpool.make("CartPole-v1", env_type="gym", num_envs=2)).num_envs == 2


def test_bad_calls_say_what_is_wrong():
    env = breakout(2)
    with pytest.raises(RuntimeError, match="Call reset"):
        env.step_rows(np.zeros(2, int))
    env.set_options({"level": 1})
    with pytest.raises(ValueError, match="no options"):
        env.reset()
    env.set_options()
    env.reset()
    with pytest.raises(ValueError, match=r"in 0\.\.3"):
        env.step(np.array([0, 4]))
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(np.zeros(2, int))


def test_a_vector_wrapper_around_a_pool_is_an_ordinary_vector_env():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EnvPool's space has float64 bounds
        wrapped = gym.wrappers.vector.RecordEpisodeStatistics(raw("CartPole-v1", 3))
        env, plain = GymVectorEnvAdapter(wrapped), make("CartPole-v1", 3)
    np.testing.assert_array_equal(env.reset(), plain.reset())
    ends = 0
    for action in actions_for(plain, 80):
        got, want = env.step(action), plain.step(action)
        np.testing.assert_array_equal(got[0], want[0])
        for mine, theirs in zip(got[3], want[3], strict=True):
            assert ("terminal_observation" in mine) == ("terminal_observation" in theirs)
            if "terminal_observation" in mine:
                ends += 1
                np.testing.assert_array_equal(mine["terminal_observation"], theirs["terminal_observation"])
                assert mine["episode"]["l"] == theirs["episode"]["l"]
    assert ends > 5
    lives = GymVectorEnvAdapter(gym.wrappers.vector.RecordEpisodeStatistics(raw("Breakout-v5", 2, **ATARI)))
    lives.reset()
    assert lives.step_rows(np.zeros(2, int)).obs.shape == (2, 4, 42, 42)
    with pytest.raises(EnvironmentNotSupportedError, match="step_rows"):
        lives.step(np.zeros(2, int))
