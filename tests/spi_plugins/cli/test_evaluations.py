"""Evaluations of ``spi train`` and ``spi eval``: costs, the best model, and training that does not notice them."""

import json
import pathlib
import random

import numpy as np
import pytest
import torch

from spi_plugins import PPO
from spi_plugins.cli import training_evaluation
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.evaluation import evaluate, load_model, open_env_of, play
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.cli.evaluations_file import EvaluationsFile
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.run_folder import RunFolder

TINY = ("-p", "n_steps=4", "batch_size=4", "n_epochs=1", "policy_kwargs={'net_arch': [8]}")
COSTS = ("train", "ppo", "--env", "spi/CostCartPole-v0", "--n-envs", 2, *TINY, "--save-freq", 0)
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


def test_costs_are_in_the_terminal_the_files_and_the_curve(spi):
    done = spi(*COSTS, "-n", 64, "--eval-freq", 32, "--eval-episodes", 3, "--cost-limit", 0.5)
    assert done.code == 0, done.err
    final = json.loads(folder().evaluation.read_text())
    assert len(final["costs"]) == len(final["returns"]) == len(final["lengths"]) == final["n_episodes"] == 3
    assert final["mean_cost"] == np.mean(final["costs"])
    assert final["cost_limit"] == 0.5
    assert final["violation_rate"] == np.mean(np.array(final["costs"]) > 0.5)
    assert f"  cost            {final['mean_cost']:.2f} +/- {final['std_cost']:.2f}   limit 0.5: " in done.out
    rows = read_progress(folder().progress)
    assert any("rollout/ep_cost_mean" in row and "rollout/violation_rate" in row for row in rows)
    evaluations = stored(folder().evaluations)
    assert [row["time/total_timesteps"] for row in rows if "eval/mean_cost" in row] == ["32", "64"]
    assert evaluations["timesteps"].tolist() == [32, 64]
    assert {key: values.shape for key, values in evaluations.items() if key != "timesteps"} == dict.fromkeys(
        ("results", "ep_lengths", "costs"), (2, 3)
    )
    done = spi("eval", RUN, "--n-episodes", 3)
    assert f"cost            {final['mean_cost']:.2f}" in done.out
    assert "limit 0.5" in done.out
    assert json.loads(spi("eval", RUN, "--cost-limit", 7, "--n-episodes", 1, "--json").out)["cost_limit"] == 7


def test_an_algorithms_own_limit_is_the_limit_of_the_evaluation(spi):
    words = ("train", "ppo_lag", *COSTS[2:], "-n", 16, "--eval-episodes", 1)
    done = spi(*words, "--cost-limit", 3)
    assert done.code == 0, done.err
    run = RunFolder(pathlib.Path("runs/ppo_lag/spi-CostCartPole-v0_1"))
    assert run.read_config().hyperparameters["cost_limit"] == 3
    assert json.loads(run.evaluation.read_text())["cost_limit"] == 3
    assert "limit 3" in done.out


def test_a_discounted_limit_is_not_taken_for_that_of_an_episode():
    from tiny_models import tiny_spowl

    from spi_plugins.cli.evaluation import cost_limit_of

    model = tiny_spowl(cost_limit=0.3)
    assert cost_limit_of(model, None) is None
    assert cost_limit_of(model, 25.0) == 25.0


def test_training_is_the_same_with_and_without_evaluations(spi):
    for extra in ((), ("--eval-freq", 8, "--eval-episodes", 2)):
        done = spi(*COSTS, "-n", 32, *extra)
        assert done.code == 0, done.err
    assert_equal(parameters(folder(1).model), parameters(folder(2).model))


def test_so_is_that_of_stable_baselines3(train):
    for extra in ((), ("--eval-freq", 64, "--eval-episodes", 2)):
        done = train(*SB3, "-n", 192, *extra, "--eval-episodes", 2)
        assert done.code == 0, done.err
    runs = [RunFolder(pathlib.Path(f"runs/sb3_ppo/CartPole-v1_{k}")) for k in (1, 2)]
    models = [load_model("sb3_ppo", run.model, trusted=True) for run in runs]
    for left, right in zip(*(model.policy.parameters() for model in models), strict=True):
        assert torch.equal(left, right)
    assert stored(runs[1].evaluations)["timesteps"].tolist() == [64, 128, 192]
    assert "costs" not in stored(runs[1].evaluations)


def test_a_resumed_run_has_the_evaluations_of_one_that_went_through(spi):
    every = ("--eval-freq", 16, "--eval-episodes", 2)
    assert spi(*COSTS, "-n", 48, *every).code == 0
    assert spi(*COSTS, "-n", 24, *every).code == 0
    done = spi("train", "--resume", folder(2).path, "-n", 24)
    assert done.code == 0, done.err
    assert_equal(parameters(folder(1).model), parameters(folder(2).model))
    assert_equal(stored(folder(1).evaluations), stored(folder(2).evaluations))
    assert folder(1).best.read_text() == folder(2).best.read_text()
    assert_equal(parameters(folder(1).best_model), parameters(folder(2).best_model))


def test_going_on_from_a_checkpoint_makes_later_evaluations_again(spi):
    done = spi(*COSTS[:-2], "-n", 32, "--save-freq", 16, "--eval-freq", 8, "--eval-episodes", 2)
    assert done.code == 0, done.err
    before = stored(folder().evaluations)
    done = spi("train", "--resume", RUN / "checkpoints" / "ppo_16_steps.zip", "-n", 16)
    assert done.code == 0, done.err
    assert_equal(before, stored(folder().evaluations))


def result(value, cost, steps, limit=3.0):
    how = {"deterministic": True, "seed": 0, "num_timesteps": steps}
    return Evaluation(value, 0.0, 1.0, cost, 0.0, limit, 0.0, None, [value], [1], [cost], None, 1, **how)


@pytest.mark.parametrize(
    ("limit", "best"),
    [(3.0, [8, 24]), (None, [8, 16]), (0.5, [])],
)
def test_the_best_model_has_the_highest_return_within_the_limit(spi, monkeypatch, limit, best):
    returns_and_costs = {8: (5.0, 1.0), 16: (9.0, 30.0), 24: (7.0, 2.0), 32: (6.0, 1.0)}
    monkeypatch.setattr(
        training_evaluation,
        "play",
        lambda model, env, task: result(
            *returns_and_costs[model.num_timesteps], model.num_timesteps, task.cost_limit
        ),
    )
    limited = () if limit is None else ("--eval-cost-limit", limit)
    done = spi(*COSTS, "-n", 32, "--eval-freq", 8, "--eval-episodes", 1, *limited)
    assert done.code == 0, done.err
    lines = [line.split()[2] for line in done.out.splitlines() if line.endswith("the best so far")]
    assert [int(step) for step in lines] == best
    if best:
        assert PPO.load(folder().best_model).num_timesteps == best[-1]
        assert json.loads(folder().best.read_text())["num_timesteps"] == best[-1]
        for option in ("--best", "--load-best"):
            shown = spi("eval", RUN, option, "--n-episodes", 1).out
            assert shown.startswith(f"{folder().best_model}, {best[-1]} steps of training")
    else:
        assert "best model      none: no evaluation was within the cost limit of 0.5" in done.out
        done = spi("eval", RUN, "--best")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "has no best model" in done.err


def test_ctrl_c_does_not_wait_for_an_evaluation(train):
    done = train(*COSTS, "-n", 64, "--eval-freq", 8, "--eval-episodes", 1, "--callback", "ctrl_c", "at=6")
    assert done.code == 130
    assert stored(folder().evaluations)["timesteps"].tolist() == [8]
    done = train("train", "--resume", RUN, "-n", 8, "--callback", "ctrl_c", "at=1000")
    assert done.code == 0, done.err
    assert stored(folder().evaluations)["timesteps"].tolist() == [8, 16, 24]


@pytest.mark.parametrize("name", ["ppo", "sb3_ppo"])
def test_sampled_evaluations_depend_on_their_seed_and_leave_all_generators_alone(train, name):
    train(*(COSTS if name == "ppo" else SB3), "-n", 64, "--eval-episodes", 0)
    run = RunFolder(next(pathlib.Path("runs", name).iterdir()))
    task = run.read_config().evaluation_task()._replace(n_episodes=2, deterministic=False)
    first = evaluate(name, run.model, task, trusted=True)
    model = load_model(name, run.model, trusted=True)
    env = open_env_of(model, run.model, task)
    model.predict(env.reset(), deterministic=False)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert play(model, env, task) == first
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert after == before
    assert play(model, env, task._replace(seed=5)).returns != first.returns
    env.close()


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


def test_the_number_of_stored_episodes_is_fixed(spi):
    assert spi(*COSTS, "-n", 8, "--eval-freq", 8, "--eval-episodes", 2).code == 0
    done = spi("train", "--resume", RUN, "-n", 8, "--eval-episodes", 3)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--eval-episodes is 2 in" in done.err
    assert spi("train", "--resume", RUN, "-n", 8, "--eval-freq", "-1").code == 0
    assert stored(folder().evaluations)["timesteps"].tolist() == [8]
