"""Schedules in every form that users write, through training, files and logs."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from tiny_models import CARTPOLE, POINT_GOAL, ROLLOUT, SMALL, TINY_PLANNER, tiny_ppo

from spi_plugins import PPO, SPOWL, TDMPC2, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.algorithms.model_file import read_model_file
from spi_plugins.algorithms.saved_model import parse
from spi_plugins.algorithms.schedules import as_schedule, decode_schedule, encode_schedule


class SimpleLinearSchedule:
    """As rl_zoo3 has it."""

    def __init__(self, initial_value):
        self.initial_value = initial_value

    def __call__(self, remaining):
        return remaining * self.initial_value


# Each as a user gives it, and its values at the start, a quarter from the end, and the end.
SCHEDULES = {
    "number": (0.5, (0.5, 0.5, 0.5)),
    "constant": (ConstantSchedule(0.5), (0.5, 0.5, 0.5)),
    "constant zero": (ConstantSchedule(0), (0, 0, 0)),
    "wrapped": (FloatSchedule(LinearSchedule(0.4, 0.2, 0.5)), (0.4, 0.2, 0.2)),
    "linear": (LinearSchedule(0.4, 0.0, 1.0), (0.4, 0.1, 0.0)),
    "linear at once": (LinearSchedule(0.4, 0.1, 0.0), (0.1, 0.1, 0.1)),
    "string": ("lin_0.4", (0.4, 0.1, 0.0)),
    "rl_zoo3": (SimpleLinearSchedule(0.4), (0.4, 0.1, 0.0)),
    "function": (lambda remaining: 0.4 * remaining, (0.4, 0.1, 0.0)),
}


@pytest.mark.parametrize(("given", "values"), SCHEDULES.values(), ids=SCHEDULES)
def test_values_of_a_schedule_and_of_what_a_file_keeps_of_it(given, values):
    places = (1.0, 0.25, 0.0)
    schedule = as_schedule("rate", given)
    assert tuple(map(schedule, places)) == pytest.approx(values)
    stored = encode_schedule("rate", schedule, 0.25)
    if isinstance(stored, dict) and stored["schedule"] == "custom":
        with pytest.warns(UserWarning, match=f"it stays at {values[1]:g}"):
            again = decode_schedule("rate", stored)
        values = (values[1],) * 3
    else:
        again = decode_schedule("rate", stored)
    assert tuple(map(again, places)) == pytest.approx(values)
    for copied in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert (type(copied), tuple(map(copied, places))) == (type(again), pytest.approx(values))


def tiny(cls, **kwargs):
    plans = issubclass(cls, TDMPC2 | SPOWL)
    env, sizes = (POINT_GOAL, TINY_PLANNER) if plans else (CARTPOLE, SMALL)
    sizes = {**sizes, "policy_kwargs": {}} if cls is SPOWL else sizes
    return cls("MlpPolicy", env, n_envs=2, **{**sizes, **kwargs})


@pytest.mark.parametrize("cls", [PPO, DeepSPI, DeepMDP, DreamSPI, TDMPC2, SPOWL])
def test_every_file_that_save_writes_load_reads(tmp_path, cls):
    model = tiny(cls)
    for number, (given, values) in enumerate(SCHEDULES.values()):
        for name in cls.schedules:
            setattr(model, name, given)
        for end, value in ((0.25, values[1]), (-0.1, values[2])):  # also of a file written past the end
            path = tmp_path / f"{number}{end}.zip"
            model._current_progress_remaining = end
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model.save(path)
                arguments = parse(read_model_file(path), cls, {}).arguments
                again = cls("MlpPolicy", None, **arguments, _init_setup_model=False)
            loaded = [getattr(again, name)(max(end, 0.0)) for name in cls.schedules]
            assert loaded == pytest.approx([value] * len(loaded))
    with pytest.warns(UserWarning, match="custom function"):
        assert cls.load(path).lr_schedule(0.0) == 0.0


@pytest.mark.parametrize("cls", [PPO, DreamSPI, TDMPC2])
@pytest.mark.parametrize(
    "rate", ["lin_0.001", pytest.param(lambda remaining: 0.001 * remaining, marks=pytest.mark.slow)]
)
def test_a_rollout_past_the_total_leaves_progress_at_zero(cls, rate):
    model = tiny(cls, **dict.fromkeys(cls.schedules, rate))
    model.learn(3 * ROLLOUT - 3)
    assert model.num_timesteps > 3 * ROLLOUT - 3 or cls is TDMPC2
    assert model._current_progress_remaining == 0.0


@pytest.mark.parametrize(
    "given", [0.2, "lin_0.2", LinearSchedule(0.2, 0.0, 1.0), lambda remaining: np.float64(0.2)]
)
def test_schedules_are_float_schedules_of_sb3(given):
    schedule = as_schedule("clip_range", given)
    assert isinstance(schedule, FloatSchedule)
    assert type(schedule(1.0)) is float
    assert schedule.value_schedule(1.0) == 0.2


def test_schedules_are_functions_and_numbers_after_construction():
    model = tiny_ppo(learning_rate=1e-3, clip_range=0.2)
    assert (model.learning_rate, model.clip_range) == (1e-3, 0.2)
    assert model.clip_range(model._current_progress_remaining) == 0.2
    # SB3's ways to change them afterwards.
    model.learning_rate = 0.5
    model._setup_lr_schedule()
    model.clip_range = lambda remaining: 0.3
    assert model.rates(0, 100) == (pytest.approx(0.5), (pytest.approx(0.3), None))
    model.clip_range_vf = 0.2
    assert model.rates(0, 100)[1].value == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("given", "at_half"), [(None, None), (0.2, 0.2), ("lin_0.2", 0.1), (lambda p: p, 0.5)]
)
def test_the_clip_range_of_values_is_a_schedule_that_files_keep(tmp_path, given, at_half):
    model = tiny_ppo(clip_range_vf=given)
    if not callable(given):
        model.save(tmp_path / "model")
        model = PPO.load(tmp_path / "model")
    assert model.rates(50, 100)[1].value == (None if at_half is None else pytest.approx(at_half))


@pytest.mark.parametrize("rate", [None, LinearSchedule(1e-3, 0.0, 1.0), "lin_0.001", 1e-3])
def test_the_callback_of_sb3s_docs_logs_the_learning_rate(tmp_path, rate):
    class HParamCallback(BaseCallback):
        def _on_training_start(self):
            values = {"learning rate": self.model.learning_rate, "gamma": self.model.gamma}
            metrics = {"train/value_loss": 0.0}
            self.logger.record("hparams", HParam(values, metrics), exclude=("stdout", "log", "json", "csv"))

        def _on_step(self):
            return True

    model = tiny_ppo(tensorboard_log=str(tmp_path), **({} if rate is None else {"learning_rate": rate}))
    model.learn(ROLLOUT, callback=HParamCallback())
    assert model.learning_rate == (3e-4 if rate is None else 1e-3)


@pytest.mark.parametrize("text", ["lin_", "lin_x", "lin_-1", "lin_inf", "log_0.1", "0.1", ""])
def test_strings_of_other_forms_are_refused(text):
    with pytest.raises(ValueError, match=f"clip_range must be a number.*got {text!r}.*'lin_0.001'"):
        tiny_ppo(clip_range=text)
