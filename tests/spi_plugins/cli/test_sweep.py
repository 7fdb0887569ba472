"""``spi sweep``: which runs a file asks for, which of them are done, and a report on all of them."""

import json
import pathlib
import re

import pytest
import yaml
from run_folders import write_run

from spi_plugins.cli.jobs import execution

TINY = {
    "env": "spi/CostCartPole-v0",
    "n_envs": 2,
    "n_timesteps": 32,
    "save_freq": 16,
    "eval_episodes": 2,
    "n_steps": 4,
    "batch_size": 4,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "policy_kwargs": {"net_arch": [8]},
}


@pytest.fixture
def sweep(spi):
    """Runs ``spi sweep`` with what a file says."""

    def run(entries, *words):
        pathlib.Path("mine.yml").write_text(yaml.safe_dump(entries))
        return spi("sweep", "mine.yml", *words)

    return run


@pytest.fixture
def commands(sweep):
    """The commands that a sweep plans."""

    def plan(entries):
        done = sweep(entries, "--dry-run", "--json")
        assert done.code == 0, done.err
        return [" ".join(row["command"]) for row in json.loads(done.out)]

    return plan


def test_a_grid_is_combined_with_runs_and_seeds(commands):
    entries = {
        "env": "CartPole-v1",
        "n_timesteps": 1000,
        "seeds": [3, 5],
        "grid": {"gamma": [0.9, 0.99]},
        "runs": [
            {"algo": "ppo", "n_steps": 8, "preset": "Acrobot-v1"},
            {"algo": "deep_spi", "wrapper": [{"clip_cost": {"high": 2.0}}], "preset": False},
        ],
    }
    found = commands(entries)
    shared = "--env=CartPole-v1 --n-timesteps=1000"
    assert found[:3] == [
        f"spi train ppo --preset=Acrobot-v1 {shared} -p n_steps=8 gamma=0.9 --seed=3 -f mine",
        f"spi train ppo --preset=Acrobot-v1 {shared} -p n_steps=8 gamma=0.9 --seed=5 -f mine",
        f"spi train ppo --preset=Acrobot-v1 {shared} -p n_steps=8 gamma=0.99 --seed=3 -f mine",
    ]
    assert found[7] == (
        f"spi train deep_spi --no-preset {shared} --wrapper clip_cost high=2.0 -p gamma=0.99 --seed=5 -f mine"
    )
    assert len(found) == 8


def test_seeds_are_counted_from_the_first(commands):
    found = commands({"algo": "ppo", "env": "CartPole-v1", "seeds": 3, "seed": 7})
    assert [command.split("--seed=")[1] for command in found] == ["7 -f mine", "8 -f mine", "9 -f mine"]


def test_parts_have_each_run_once_and_write_no_report(sweep, monkeypatch):
    trained = []
    monkeypatch.setattr(execution, "main", lambda words: trained.append(words[-3]) or 0)
    entries = {"algo": "ppo", "env": "CartPole-v1", "seeds": 5}
    for at, seeds in ((1, [0, 2, 4]), (2, [1, 3])):
        trained.clear()
        done = sweep(entries, "--part", f"{at}/2", "-f", "mine")
        assert trained == [f"--seed={seed}" for seed in seeds], done.err
        assert "Report" not in done.out


def test_only_a_run_with_all_settings_of_a_job_is_the_job(sweep, tmp_path):
    for hyperparameters, kwargs in (({"gamma": 0.9}, {}), ({}, {"n_envs": 8}), ({}, {"vec_env": "sync"})):
        run = write_run(tmp_path / "mine", env="Acrobot-v1", hyperparameters=hyperparameters, **kwargs)
        (run / "model.zip").touch()
        (run / "evaluation.json").touch()
    common = {"env": "Acrobot-v1", "n_timesteps": 1000, "algo": "ppo", "preset": False}
    entries = {**common, "runs": [{"gamma": 0.9}, {}, {"vec_env": "async"}, {"n_envs": 4}]}
    rows = json.loads(sweep(entries, "--dry-run", "--json").out)
    assert [row["run"] and row["run"][-1] for row in rows] == ["1", "2", None, None]


def test_runs_are_trained_once_and_reported(sweep):
    entries = {**TINY, "algo": "ppo", "seeds": 2}
    done = sweep(entries)
    assert done.code == 0, done.err
    assert "[2/2] ppo on spi/CostCartPole-v0, seed 1" in done.out
    assert "Report: mine/report.html" in done.out
    again = sweep(entries)
    assert "[1/2]" not in again.out
    assert again.out.strip() == done.out[done.out.index("2 runs in") :].strip()


def test_a_run_that_is_refused_does_not_stop_the_others(sweep, monkeypatch, tmp_path):
    codes = iter([2, 0])

    def train(words):
        code = next(codes)
        if code == 0:
            write_run(tmp_path / "mine", env="CartPole-v1", hyperparameters={"gamma": 0.99})
        return code

    monkeypatch.setattr(execution, "main", train)
    entries = {"env": "CartPole-v1", "n_timesteps": 1000, "algo": "ppo", "preset": False}
    done = sweep({**entries, "grid": {"gamma": [0.9, 0.99]}})
    assert done.code == 3
    assert "spi: error: 1 of 2 runs failed: ppo on CartPole-v1, seed 0 (gamma=0.9)" in done.err
    assert "Report: mine/report.html" in done.out


COMMON = {"algo": "ppo", "env": "CartPole-v1"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"env": "CartPole-v1"}, "mine.yml: algo is required."),
        ({"gird": {"algo": ["ppo"]}, "env": "CartPole-v1"}, "Did you mean 'grid'?"),
        ({**COMMON, "n_epoch": 4}, "mine.yml: there is no key 'n_epoch' for ppo. Did you mean 'n_epochs'?"),
        ({**COMMON, "grid": {"gama": [0.9]}}, "mine.yml (gama=0.9): there is no key 'gama' for ppo."),
        ({**COMMON, "grid": {"gamma": [0.9, 2]}}, "mine.yml (gamma=2): gamma: PPO refuses its arguments"),
        ({**COMMON, "runs": [{"env": "CartPol-v1"}]}, "mine.yml: No environment named 'CartPol-v1'. Did you"),
        ({**COMMON, "grid": {"algo": ["pop"]}}, "No algorithm named 'pop'. Did you mean 'ppo'"),
        ({**COMMON, "grid": {"gamma": 0.9}}, "mine.yml: grid must hold a list of values for each key"),
        ({**COMMON, "runs": {"gamma": 0.9}}, "mine.yml: runs must be a list of keys and values"),
        ({**COMMON, "seeds": "3"}, "mine.yml: seeds must be a number of at least 1"),
        ({**COMMON, "seeds": [1], "seed": 2}, "or a list of seeds; got seeds: [1], seed: 2."),
        ({**COMMON, "grid": {"seed": [1, 2]}}, "mine.yml: 'seed' cannot be in grid or runs."),
        (
            {**COMMON, "grid": {"gamma": [0.9]}, "runs": [{"gamma": 0.8}]},
            "mine.yml: 'gamma' cannot be in grid and in runs.",
        ),
        ({**COMMON, "seeds": [1, 1]}, "mine.yml asks twice for ppo on CartPole-v1, seed 1."),
    ],
)
def test_mistakes_in_the_file_are_one_line(sweep, entries, message):
    done = sweep(entries)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_missing_is_one_line(spi):
    done = spi("sweep", "none.yml")
    assert done.code == 2
    assert "FILE none.yml cannot be read" in done.err


def test_the_file_on_the_page_about_sweeps_asks_for_twelve_runs(commands):
    page = pathlib.Path(__file__).parents[3] / "docs/comparing_runs.md"
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(commands(yaml.safe_load(text))) == 12
