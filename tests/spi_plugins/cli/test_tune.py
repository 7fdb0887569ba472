"""``spi tune``: spaces, what is pruned and what is best, and searches that go on."""

import pathlib

import optuna
import pytest
import yaml
from run_folders import write_run

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.tune import search, spaces
from spi_plugins.cli.tune.spaces import Choices, Interval, draw, merge, read_space
from spi_plugins.cli.tune.trial import COST, Search, _Judge

FIXED = (
    *("n_steps=16", "batch_size=16", "n_epochs=1", "gamma=0.9", "gae_lambda=0.9", "clip_range=0.2"),
    *("ent_coef=0.0", "vf_coef=0.5", "max_grad_norm=0.5", "policy_kwargs={'net_arch': [8]}"),
)
TUNE = (
    *("tune", "ppo", "--env", "spi/CostCartPole-v0", "--n-envs", 2, "-n", 128, "--no-preset"),
    *("--eval-episodes", 2, "--n-evaluations", 2, "-p", *FIXED),
)


class Lowest:
    """Draws the first choice, and the low end of ranges."""

    def suggest_categorical(self, name, choices):
        assert all(each is None or isinstance(each, bool | int | float | str) for each in choices)
        return choices[0]

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return low

    def suggest_int(self, name, low, high, *, step=1, log=False):
        assert (type(low), type(high)) == (int, int)
        return low


@pytest.mark.parametrize("algorithm", sorted(spaces._stored()))
def test_every_space_fits_the_declarations_of_its_algorithm(algorithm):
    assert algorithm in plugins.registry("algorithms").names()
    drawn = draw(Lowest(), read_space(algorithm, {}, {}))
    assert drawn["learning_rate"] in (1e-5, 1e-4)


def test_a_declaration_says_what_is_an_integer_and_which_choices_there_are():
    space = read_space("spowl", {}, {})
    assert space["horizon"] == Interval(2, 5, whole=True)
    assert space["decision"] == Choices((None, "mean", "bootstrap"))
    assert read_space("ppo", {"use_sde": None}, {})["use_sde"] == Choices((True, False))


def test_users_add_change_and_fix():
    changes = {"gamma": [0.5], "policy_kwargs.net_arch": [[8], [8, 8]]}
    space = read_space("ppo", changes, fixed={"learning_rate": 1e-3})
    assert space["gamma"] == Choices([0.5])
    assert "learning_rate" not in space
    drawn = draw(Lowest(), space)
    merged = merge({"policy_kwargs": {"activation_fn": "ReLU"}}, drawn)
    assert merged["policy_kwargs"] == {"activation_fn": "ReLU", "net_arch": [8]}
    assert merged["gamma"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gama": [0.9]}, "--space gama: ppo has no argument 'gama'. Did you mean 'gamma'?"),
        ({"gamma": [0.9, 2]}, "--space gamma: gamma must be"),
        ({"gamma": 0.9}, "--space gamma must be a list of values, or low and high"),
        ({"gamma": {"low": 0.9}}, "--space gamma must be a list of values"),
        ({"gamma": {"low": 0.9, "high": 0.8}}, "--space gamma must be a list of values"),
        ({"ent_coef": {"low": 0, "high": 1, "log": True}}, "--space ent_coef must be a list of values"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(CommandError, match=message.replace("?", r"\?")):
        read_space("ppo", changes, {})


def test_without_a_space_there_is_nothing_to_search():
    with pytest.raises(CommandError, match="dream_spi has no search space of its own"):
        read_space("dream_spi", {}, {})


def trained(study, curve, *, limit=5.0):
    """Tell a study the returns and costs of a trial's evaluations; return whether and when it was pruned."""
    trial = study.ask()
    judge = _Judge(trial, Search((), {}, {}, 100 * (len(curve) + 1), 100))
    for at, (mean_return, mean_cost) in enumerate(curve, 1):
        if not judge(mean_return, mean_cost, limit, 100 * at):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return at
    judge.constrain(curve[-1][1], limit)
    study.tell(trial, curve[-1][0])
    return None


def test_trials_above_the_limit_of_the_cost_are_pruned_whatever_they_return():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(2))
    assert trained(study, [(50, 9.0), (60, 4.0)]) is None
    assert trained(study, [(10, 8.0), (20, 4.0)]) is None
    assert (
        trained(study, [(99, 9.0), (15, 4.0)]) == 2
    )  # below the median of 60 and 20, but not for its cost before
    assert trained(study, [(99, 9.0), (99, 9.0)]) == 2
    assert trained(study, [(0, 1.0), (90, 1.0)]) is None
    assert [trial.constraints for trial in study.trials[3:]] == [{COST: 4.0}, {COST: -4.0}]


def concluded(tmp_path, trials):
    """The best settings of a study of finished trials, by their returns and what they are above the limit."""
    study = optuna.create_study(direction="maximize", study_name="mine")
    for number, (value, excess) in enumerate(trials):
        trial = study.ask()
        run = write_run(tmp_path / "runs", hyperparameters={"gamma": 0.9 + number / 100})
        trial.set_user_attr("run", str(run))
        if excess is not None:
            trial.set_constraint(COST, excess)
        study.tell(trial, value)
    search._conclude(study, tmp_path)
    return (tmp_path / "best.yml").read_text()


@pytest.mark.parametrize(
    ("trials", "first_line", "gamma"),
    [
        ([(-2.0, None), (0.0, None), (-1.0, None)], "# Trial 1 of mine: return 0.00", 0.91),
        (
            [(3.0, 1.0), (1.0, 0.0), (2.0, -0.5)],
            "# Trial 2 of mine: return 2.00, cost 0.50 below its limit",
            0.92,
        ),
    ],
)
def test_the_best_trial_has_the_highest_return_within_the_limit(tmp_path, trials, first_line, gamma):
    text = concluded(tmp_path, trials)
    assert text.splitlines()[0] == first_line
    assert yaml.safe_load(text) == {
        "algo": "ppo",
        "policy": "MlpPolicy",
        "env": "CartPole-v1",
        "n_envs": 4,
        "n_timesteps": 1000,
        "eval_episodes": 10,
        "gamma": gamma,
    }


def test_without_a_trial_within_the_limit_there_are_no_best_settings(tmp_path):
    with pytest.raises(
        search.RunError, match=r"None of 2 trials has kept the limit.* trial 1 is 0\.50 above it"
    ):
        concluded(tmp_path, [(1.0, 2.0), (9.0, 0.5)])
    assert not (tmp_path / "best.yml").exists()


def test_a_search_stops_at_ctrl_c_goes_on_and_writes_settings_that_train_takes(train):
    words = (*TUNE, "--cost-limit", 9, "--space", "learning_rate=dict(low=1e-4,high=1e-2,log=True)")
    one = (*words, "--n-trials", 1, "--callback", "ctrl_c", "at=40")
    stopped = train(*one)
    assert stopped.code == 130, stopped.err
    assert "The same command goes on." in stopped.out
    done = train(*one)
    assert done.code == 0, done.err
    runs = pathlib.Path("tune-ppo-spi-CostCartPole-v0/ppo")
    assert [path.name for path in runs.iterdir()] == ["spi-CostCartPole-v0_1"]
    commands = (runs / "spi-CostCartPole-v0_1/command.txt").read_text().splitlines()
    assert [command.split()[2] for command in commands] == ["ppo", "--resume"]
    assert not (runs / "spi-CostCartPole-v0_1/checkpoints").exists()
    assert "1 trials finished, 0 pruned." in done.out
    best = yaml.safe_load(pathlib.Path("tune-ppo-spi-CostCartPole-v0/best.yml").read_text())
    assert 1e-4 <= best["learning_rate"] <= 1e-2
    assert best["eval_cost_limit"] == 9
    assert best.pop("callbacks") == [["ctrl_c", {"at": 40}]]
    pathlib.Path("best.yml").write_text(yaml.safe_dump(best))
    assert train("train", "-c", "best.yml").code == 0

    changed = train(*words, "--n-trials", 2, "--callback", "ctrl_c", "at=40", "--n-envs", 4)
    assert changed.code == 2
    assert "The study 'ppo-spi-CostCartPole-v0' was begun with n_envs=2, now it is 4" in changed.err


def test_a_search_whose_trials_fail_ends(train):
    done = train(*TUNE, "--callback", "fail", "at=1", "how=disk", "-f", "mine")
    assert done.code == 3
    assert "3 trials in a row failed, the last one: Training failed: OSError" in done.err


def test_a_database_that_cannot_be_opened_is_one_line(spi):
    done = spi("tune", "ppo", "--env", "CartPole-v1", "--storage", "sqlit://")
    assert done.code == 3
    assert "--storage sqlit:// cannot be opened" in done.err
    assert done.err.count("\n") == 1
