"""Iterations in which no callback has to see a step run several in one call, with the same numbers."""

import jax
import numpy as np
import pytest
from killed_training import train_until_killed
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.logger import KVWriter, Logger
from tiny_models import CARTPOLE, ROLLOUT, tiny_ppo

from spi_plugins import PPO
from spi_plugins.algorithms import on_policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv

ITERATIONS = 20


class Rows(KVWriter):
    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append({k: v for k, v in key_values.items() if k not in ("time/fps", "time/time_elapsed")})

    def close(self):
        pass


class EachStep(BaseCallback):
    """Asks for every step, and thereby for single iterations."""

    def _on_step(self):
        return True


def trained(callback, steps=ITERATIONS * ROLLOUT, model=None):
    model, rows = model or tiny_ppo(), Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(steps, callback=callback, reset_num_timesteps=False)
    return model, rows.rows


def assert_same(model, other):
    for a, b in zip(jax.tree.leaves(model._agent_state), jax.tree.leaves(other._agent_state), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)
    assert model.num_timesteps == other.num_timesteps
    assert model._n_updates == other._n_updates
    assert list(model.ep_info_buffer) == list(other.ep_info_buffer)
    np.testing.assert_array_equal(model._last_obs, other._last_obs)


@pytest.fixture(scope="module")
def single():
    return trained(EachStep())


def test_chunks_have_the_numbers_the_log_and_the_episodes_of_single_iterations(single):
    model, rows = trained(None)
    assert_same(model, single[0])
    assert rows == single[1]
    assert len(rows) == ITERATIONS
    chunked = model._collector.chunked
    assert chunked.n_calls < ITERATIONS  # 1 + 1 + 4 + ...
    assert model._collector._run._cache_size() == 0  # nothing else ran


def test_what_comes_back_from_a_chunk_does_not_grow_with_its_steps():
    model, _ = trained(None)
    chunked = model._collector.chunked
    before, fetched, run = chunked.n_calls, [], chunked._run

    def watched(*inputs):
        runner, done, kept, last = run(*inputs)
        fetched.append((int(done), sum(x.nbytes for x in kept.values())))
        return runner, done, kept, last

    chunked._run = watched
    chunked._size = 16
    trained(None, 16 * ROLLOUT, model)
    assert chunked.n_calls == before + 1
    ((n, size),) = fetched
    assert n == 16
    assert size <= 64 * 4 * (
        30 + 3 * model._stats_window_size
    )  # metrics and episodes, for at most 64 iterations


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(on_policy, "WORTH_COMPILING", 1)


def test_stock_callbacks_keep_their_frequencies(tmp_path, single, short_chunks):
    class Count(BaseCallback):
        def __init__(self):
            super().__init__()
            self.at = []

        def _on_step(self):
            self.at.append(self.num_timesteps)
            return True

    evaluation = EvalCallback(
        FunctionalVecEnv(CARTPOLE, 1, seed=3),
        eval_freq=70,
        n_eval_episodes=1,
        log_path=str(tmp_path),
        verbose=0,
    )
    count = Count()
    callbacks = [evaluation, CheckpointCallback(75, str(tmp_path), "model"), EveryNTimesteps(60, count)]
    model, _ = trained(callbacks)
    assert_same(model, single[0])
    np.testing.assert_array_equal(np.load(tmp_path / "evaluations.npz")["timesteps"], [140])
    assert [path.name for path in tmp_path.glob("model*")] == ["model_150_steps.zip"]
    assert count.at == [60, 120]
    assert model._collector.chunked.n_calls > 0


def test_the_number_of_episodes_is_not_exceeded(short_chunks):
    def stopped(callbacks):
        return tiny_ppo().learn(10_000, callback=callbacks)

    chunked, plain = (
        stopped(StopTrainingOnMaxEpisodes(40)),
        stopped([EachStep(), StopTrainingOnMaxEpisodes(40)]),
    )
    assert chunked.num_timesteps == plain.num_timesteps
    assert chunked._collector.chunked is not None


def test_an_interrupt_between_rollouts_leaves_a_whole_state_that_goes_on_exactly(tmp_path, single):
    class Break(BaseCallback):
        def __init__(self):
            super().__init__()
            self.rollouts = 0

        def quiet_steps(self):
            return 10**9

        def _on_rollout_start(self):
            self.rollouts += 1
            if self.rollouts == 4:  # within the third call
                raise KeyboardInterrupt

        def _on_step(self):
            return True

    model = tiny_ppo()
    with pytest.raises(KeyboardInterrupt):
        model.learn(ITERATIONS * ROLLOUT, Break())
    assert 0 < model.num_timesteps < ITERATIONS * ROLLOUT
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", CARTPOLE)
    again.learn(ITERATIONS * ROLLOUT - again.num_timesteps, reset_num_timesteps=False)
    assert_same(again, single[0])


def test_a_run_that_is_killed_between_chunks_goes_on_exactly_from_its_checkpoint(
    tmp_path, single, short_chunks
):
    train_until_killed(tmp_path, "tiny_ppo", steps=ITERATIONS * ROLLOUT, every=25, at=80)
    (file,) = tmp_path.glob("*.zip")
    model = PPO.load(file, CARTPOLE)
    assert model.num_timesteps == 56  # 50 in the middle of an iteration
    model.learn(ITERATIONS * ROLLOUT - 56, reset_num_timesteps=False)
    assert model._collector.chunked.n_calls > 0
    assert_same(model, single[0])


def test_a_loss_that_is_not_finite_stops_within_a_chunk_as_alone():
    def failed(callback):
        model = tiny_ppo(learning_rate=lambda left: 1e-3 if left > 0.5 else 1e38)
        with pytest.raises(FloatingPointError) as caught:
            model.learn(ITERATIONS * ROLLOUT, callback=callback)
        return model, str(caught.value)

    (chunked, message), (plain, expected) = failed(None), failed(EachStep())
    assert message == expected
    assert chunked.num_timesteps == plain.num_timesteps
    assert chunked._last_obs is plain._last_obs is None
    for a, b in zip(
        jax.tree.leaves(chunked.get_parameters()), jax.tree.leaves(plain.get_parameters()), strict=True
    ):
        np.testing.assert_array_equal(a, b)
