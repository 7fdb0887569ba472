"""Updates while the environments step: what they see, and runs that stop and go on as if they had not."""

import functools
import io

import numpy as np
import pytest
from killed_training import train_until_killed
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import overlapping_tdmpc2, tiny_walkers

from spi_plugins import TDMPC2

STEPS = 40  # five updates: two environments take four steps each between two of them


class SaveAt(BaseCallback):
    """Saves model and replay buffer at numbers of steps."""

    def __init__(self, *steps):
        super().__init__()
        self.files = {step: (io.BytesIO(), io.BytesIO()) for step in steps}

    def _on_step(self):
        for file, save in zip(
            self.files.get(self.num_timesteps, ()),
            (self.model.save, self.model.save_replay_buffer),
            strict=False,
        ):
            save(file)
            file.seek(0)
        return True


@functools.cache
def whole(*, overlap):
    """An unbroken run, files saved within it, and (steps of an environment, its slots in the buffer) at each chunk."""
    model, saved, known = overlapping_tdmpc2(overlap_updates=overlap), SaveAt(16, 22), []
    update = model._update

    def noting(state, buffer, *rest):
        known.append((model.get_env().envs[0].total, int(buffer.size[0])))
        return update(state, buffer, *rest)

    model._update = noting
    return model.learn(STEPS, saved), saved.files, known


def resumed(model_file, replay_file):
    """A model that goes on in environments which stand where the file was saved: their observation is their state."""
    model = TDMPC2.load(model_file, env=tiny_walkers(), force_reset=False)
    model.load_replay_buffer(replay_file)
    for env, state in zip(model.get_env().envs, model._last_obs, strict=True):
        env.state = state.copy()
    return model.learn(STEPS - model.num_timesteps, reset_num_timesteps=False)


def assert_same(model, other):
    assert model._n_updates == other._n_updates == 5 * 60
    ours, theirs = model.get_parameters(), other.get_parameters()
    for group, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, theirs[group][name], err_msg=name)
    for name, ring in model.replay_buffer.slots._asdict().items():
        np.testing.assert_array_equal(ring, getattr(other.replay_buffer.slots, name), err_msg=name)


def test_the_first_chunk_of_an_update_does_not_know_the_step_that_it_is_overlapped_with():
    # Slots are the steps, and the first observations of the episodes of nine steps that have begun.
    complete = [(steps, steps + 1 + steps // 9) for steps in range(4, 21, 4)]
    one_less = [(steps - 1, steps + (steps - 1) // 9) for steps in range(4, 21, 4)]
    assert whole(overlap=False)[2] == [known for known in complete for _ in range(2)]
    assert whole(overlap=True)[2] == [
        known for pair in zip(one_less, complete, strict=True) for known in pair
    ]


@pytest.mark.parametrize(
    ("overlap", "at"), [(False, 16), (True, 22)], ids=["before its update", "between two"]
)
def test_a_file_saved_within_a_step_goes_on_as_the_run_did(overlap, at):
    model, files, _ = whole(overlap=overlap)
    assert_same(resumed(*files[at]), model)


def test_a_killed_run_goes_on_exactly_from_a_checkpoint_at_an_overlapped_update(tmp_path):
    train_until_killed(tmp_path, "overlapping_tdmpc2", steps=STEPS, every=4, at=24)
    again = resumed(tmp_path / "model_16_steps.zip", tmp_path / "model_replay_buffer_16_steps.pkl")
    assert_same(again, whole(overlap=True)[0])


def test_an_interrupted_step_has_its_update_once_and_another_environment_brings_none():
    def interrupt(env):
        if env.total == 7:  # in the last step before an update, which has begun
            env.total += 1
            raise KeyboardInterrupt

    model = overlapping_tdmpc2(gradient_steps=-1)
    model.get_env().envs[0].before_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        model.learn(STEPS)
    assert (model.num_timesteps, model._n_updates) == (14, 16)
    model.learn(10, reset_num_timesteps=False)
    assert (model.num_timesteps, model._n_updates) == (24, 24)
    model.set_env(tiny_walkers())
    model.learn(8, reset_num_timesteps=False)
    assert (model.num_timesteps, model._n_updates) == (32, 32)


def test_gradient_steps_that_are_not_finite_are_not_made_and_no_others_tried():
    model, tried = overlapping_tdmpc2(learning_rate=1e38), []
    update = model._update
    model._update = lambda *inputs: tried.append(inputs) or update(*inputs)
    with pytest.raises(FloatingPointError, match="infinite or NaN at 8 steps"):
        model.learn(STEPS)
    assert (len(tried), model._n_updates) == (1, 0)
    assert all(np.isfinite(x).all() for group in model.get_parameters().values() for x in group.values())
