"""Evaluations of ``spi train`` and ``spi eval``: costs, the best model, and training that does not notice them."""

import json
import pathlib
import random
import types

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from tiny_runs import COSTS

from spi_plugins import PPO, SPOWL
from spi_plugins.cli import training_evaluation
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask
from spi_plugins.cli.evaluation import cost_limit_of, open_env, play
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.cli.evaluations_file import EvaluationsFile
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.cli.train_options.evaluation import frequency
from spi_plugins.cli.training_evaluation import EvaluateInTraining, Plan

SB3 = ("train", "sb3_ppo", "--env", "CartPole-v1", "--n-envs", 2, "--save-freq", 0)
SB3 = (*SB3, "-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")
RUN = pathlib.Path("runs/ppo/spi-CostCartPole-v0_1")


def folder(number=1):
    return RunFolder(RUN.with_name(f"spi-CostCartPole-v0_{number}"))


def parameters(path):
    groups = PPO.load(path).get_parameters()
    return {f"{group}/{key}": value for group, arrays in groups.items() for key, value in arrays.items()}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def stored(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_costs_are_in_the_terminal_the_files_and_the_curve_and_leave_training_alone(spi):
    done = spi(*COSTS, "-n", 64, "--eval-freq", 32, "--eval-episodes", 2, "--cost-limit", 500)
    assert done.code == 0, done.err
    final = json.loads(folder().evaluation.read_text())
    assert len(final["costs"]) == len(final["returns"]) == len(final["lengths"]) == final["n_episodes"] == 2
    assert final["mean_cost"] == np.mean(final["costs"])
    assert final["cost_limit"] == 500
    assert final["violation_rate"] == np.mean(np.array(final["costs"]) > 500)
    assert f"  cost            {final['mean_cost']:.2f} +/- {final['std_cost']:.2f}   limit 500: " in done.out
    rows = read_progress(folder().progress)
    assert any("rollout/ep_cost_mean" in row and "rollout/violation_rate" in row for row in rows)
    evaluations = stored(folder().evaluations)
    assert [row["time/total_timesteps"] for row in rows if "eval/mean_cost" in row] == ["32", "64"]
    assert evaluations["timesteps"].tolist() == [32, 64]
    assert {key: values.shape for key, values in evaluations.items() if key != "timesteps"} == dict.fromkeys(
        ("results", "ep_lengths", "costs"), (2, 2)
    )
    assert json.loads(spi("eval", RUN, "--cost-limit", 7, "--n-episodes", 2, "--json").out)["cost_limit"] == 7
    best = folder().read_best()
    done = spi("eval", RUN, "--load-best", "--n-episodes", 2)
    assert done.out.startswith(f"{folder().best_model}, {best['num_timesteps']} steps of training")
    assert "limit 500: kept on average, exceeded by 0% of the episodes" in done.out
    # Training is the same without evaluations.
    assert spi(*COSTS, "-n", 64, "--eval-episodes", 0).code == 0
    assert_equal(parameters(folder(1).model), parameters(folder(2).model))


def test_an_algorithms_own_limit_is_the_limit_of_the_evaluation(spi):
    words = ("train", "ppo_lag", *COSTS[2:], "-n", 16, "--eval-episodes", 2)
    done = spi(*words, "--cost-limit", 3)
    assert done.code == 0, done.err
    run = RunFolder(pathlib.Path("runs/ppo_lag/spi-CostCartPole-v0_1"))
    assert run.read_config().hyperparameters["cost_limit"] == 3
    assert json.loads(run.evaluation.read_text())["cost_limit"] == 3
    assert "limit 3" in done.out


def test_a_discounted_limit_is_not_taken_for_that_of_an_episode():
    model = types.SimpleNamespace(cost_limit=0.3, episode_cost_limit=SPOWL.episode_cost_limit)
    assert cost_limit_of(model, None) is None
    assert cost_limit_of(model, 25.0) == 25.0


def test_training_of_stable_baselines3_is_the_same_with_and_without_evaluations(train):
    for extra in ((), ("--eval-freq", 64, "--eval-episodes", 1)):
        done = train(*SB3, "-n", 128, "--eval-episodes", 0, *extra)
        assert done.code == 0, done.err
    runs = [RunFolder(pathlib.Path(f"runs/sb3_ppo/CartPole-v1_{k}")) for k in (1, 2)]
    models = [stable_baselines3.PPO.load(run.model, device="cpu") for run in runs]
    for left, right in zip(*(model.policy.parameters() for model in models), strict=True):
        assert torch.equal(left, right)
    assert stored(runs[1].evaluations)["timesteps"].tolist() == [64, 128]
    assert "costs" not in stored(runs[1].evaluations)


def test_going_on_from_a_checkpoint_repeats_training_and_evaluations_exactly(spi):
    done = spi(*COSTS[:-2], "-n", 48, "--save-freq", 24, "--eval-freq", 16, "--eval-episodes", 2)
    assert done.code == 0, done.err
    trained, best = parameters(folder().model), folder().best.read_text()
    best_model, evaluations = parameters(folder().best_model), stored(folder().evaluations)
    assert evaluations["timesteps"].tolist() == [16, 32, 48]
    done = spi("train", "--resume", RUN / "checkpoints" / "ppo_24_steps.zip")
    assert done.code == 0, done.err
    assert_equal(parameters(folder().model), trained)
    assert_equal(parameters(folder().best_model), best_model)
    assert_equal(stored(folder().evaluations), evaluations)
    assert folder().best.read_text() == best


def result(value, cost, steps, limit=3.0):
    how = {"deterministic": True, "seed": 0, "num_timesteps": steps}
    return Evaluation(value, 0.0, 1.0, cost, 0.0, limit, 0.0, None, [value], [1], [cost], None, 1, **how)


class Model:
    """What the callback asks of a model."""

    def __init__(self, num_timesteps):
        self.num_timesteps = num_timesteps
        self.logger = Logger(None, [])

    def get_vec_normalize_env(self):
        return None

    def save(self, path):
        path.write_text(str(self.num_timesteps))


@pytest.mark.parametrize(("limit", "best"), [(3.0, [8, 24]), (None, [8, 16]), (0.5, [])])
def test_the_best_model_has_the_highest_return_within_the_limit(tmp_path, monkeypatch, capsys, limit, best):
    returns_and_costs = {8: (5.0, 1.0), 16: (9.0, 30.0), 24: (7.0, 2.0), 32: (6.0, 1.0)}
    monkeypatch.setattr(
        training_evaluation,
        "play",
        lambda model, env, task: result(
            *returns_and_costs[model.num_timesteps], model.num_timesteps, task.cost_limit
        ),
    )
    run = RunFolder(tmp_path)
    task = EvaluationTask(EnvRecipe("CartPole-v1", {}), 1, None, seed=0, cost_limit=limit)
    callback = EvaluateInTraining(Plan(8, task, run, lambda: False), None, 0)
    for steps in returns_and_costs:
        callback.model = Model(steps)
        callback.on_rollout_start()
        callback.on_rollout_start()  # is not due again
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    assert [int(line.split()[2]) for line in out if line.endswith("the best so far")] == best
    assert run.best_model.exists() == bool(best)
    if best:
        assert run.best_model.read_text() == str(best[-1])
        assert run.read_best()["num_timesteps"] == best[-1]


def test_a_run_without_a_best_model_says_why(spi, monkeypatch):
    monkeypatch.setattr(training_evaluation, "play", lambda model, env, task: result(1.0, 9.0, 8))
    done = spi(*COSTS, "-n", 8, "--eval-freq", 8, "--eval-episodes", 2, "--eval-cost-limit", 3)
    assert done.code == 0, done.err
    assert "best model      none: no evaluation was within the cost limit of 3" in done.out
    done = spi("eval", RUN, "--best")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "has no best model" in done.err


def test_ctrl_c_does_not_wait_for_an_evaluation(train):
    done = train(*COSTS, "-n", 64, "--eval-freq", 8, "--eval-episodes", 2, "--callback", "ctrl_c", "at=6")
    assert done.code == 130
    assert stored(folder().evaluations)["timesteps"].tolist() == [8]
    done = train("train", "--resume", RUN, "-n", 8, "--callback", "ctrl_c", "at=1000")
    assert done.code == 0, done.err
    assert stored(folder().evaluations)["timesteps"].tolist() == [8, 16, 24]


@pytest.mark.parametrize("cls", [PPO, stable_baselines3.PPO])
def test_sampled_evaluations_depend_on_their_seed_and_leave_all_generators_alone(cls):
    make = {"n_steps": 4, "batch_size": 4, "policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
    model = cls("MlpPolicy", gymnasium.make("CartPole-v1"), **make)
    task = EvaluationTask(EnvRecipe("CartPole-v1", {}), 2, deterministic=False, seed=3)
    env = open_env(model, task)
    first = play(model, env, task)
    model.predict(env.reset(), deterministic=False)
    before = generators()
    assert play(model, env, task) == first
    assert generators() == before
    assert play(model, env, task._replace(seed=5)).returns != first.returns
    env.close()


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def test_a_damaged_file_of_evaluations_is_named(tmp_path):
    path = tmp_path / "evaluations.npz"
    path.write_bytes(b"PK")
    with pytest.raises(CommandError, match=r"evaluations\.npz cannot be read"):
        EvaluationsFile(path, keep_until=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--eval-freq", 8, "--eval-episodes", 0), "--eval-freq needs episodes to evaluate"),
        (("--eval-freq", -2), "invalid integer of at least 0 value: '-2'"),
        (("--eval-cost-limit", "nan"), "invalid number of at least 0 value: 'nan'"),
        (("--cost-limit", -1), "--cost-limit must be a number of at least 0, got -1"),
        (("--n-eval-envs", 0), "invalid integer from 1"),
    ],
)
def test_mistakes_are_one_line(spi, words, message):
    done = spi(*COSTS, "-n", 16, *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_the_number_of_stored_episodes_is_fixed(spi, monkeypatch):
    monkeypatch.setattr(PPO, "learn", lambda self, *args, **kwargs: self)
    assert spi(*COSTS, "-n", 8, "--eval-episodes", 1, "--eval-freq", 8).code == 0
    EvaluationsFile(folder().evaluations, keep_until=0).append(result(1.0, 0.0, 8))
    done = spi("train", "--resume", RUN, "-n", 8, "--eval-episodes", 3)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--eval-episodes is 1 in" in done.err


def test_the_rl_zoos_minus_one_means_never():
    assert [frequency(text) for text in ("-1", "0", "1e4")] == [0, 0, 10_000]
