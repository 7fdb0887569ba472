import json
import pathlib
import signal

import gymnasium
import pytest

from spi_plugins.cli.progress_rows import read_progress

RUN = pathlib.Path("runs/sb3_ppo/CartPole-v1_1")
SHORT = ("-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")
TRAIN = ("train", "sb3_ppo", "--env", "CartPole-v1", "--n-envs", 2, "--eval-episodes", 2, *SHORT)

# Stable-Baselines3's models are pickles, so files of them are loaded only if the user says so.
RESUME = ("train", "--trust-imports", "--resume")
EVAL = ("eval", "--trust-imports")


def steps_of(run):
    return [int(row["time/total_timesteps"]) for row in read_progress(run / "progress.csv")]


def test_a_run_leaves_everything_in_one_folder(train):
    done = train(*TRAIN, "-n", 640)
    assert done.code == 0, done.err
    assert sorted(path.name for path in RUN.iterdir()) == [
        "checkpoints",
        "command.txt",
        "config.json",
        "evaluation.json",
        "learning_curve.png",
        "model.zip",
        "progress.csv",
        "system_info.txt",
    ]
    config = json.loads((RUN / "config.json").read_text())
    assert config["algorithm"] == "sb3_ppo"
    assert config["policy"] == "MlpPolicy"
    assert config["n_envs"] == 2
    assert config["hyperparameters"] == {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "device": "cpu"}
    assert len(list((RUN / "checkpoints").iterdir())) == 10
    assert steps_of(RUN) == list(range(64, 641, 64))
    assert (RUN / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "Stable-Baselines3" in (RUN / "system_info.txt").read_text()
    assert (RUN / "command.txt").read_text().startswith("spi train sb3_ppo --env CartPole-v1")


def test_a_run_ends_by_evaluating_and_with_the_command_that_goes_on(train):
    out = train(*TRAIN, "-n", 64).out
    evaluation = json.loads((RUN / "evaluation.json").read_text())
    assert evaluation["n_episodes"] == 2
    assert "The final model in 2 deterministic episodes:" in out
    assert f"  return          {evaluation['mean_return']:.2f} +/- {evaluation['std_return']:.2f}\n" in out
    assert "cost" not in out
    assert out.splitlines()[-1].split() == f"Go on: spi train --resume {RUN} -n 64 --trust-imports".split()
    assert f"model           {RUN}/model.zip" in out


def test_the_printed_command_goes_on_in_the_same_folder(train):
    words = train(*TRAIN, "-n", 128).out.splitlines()[-1].split("spi ")[1].split()
    done = train(*words)
    assert done.code == 0, done.err
    assert steps_of(RUN) == [64, 128, 192, 256]
    assert len((RUN / "command.txt").read_text().splitlines()) == 2
    assert json.loads((RUN / "config.json").read_text())["n_timesteps"] == 256
    assert json.loads((RUN / "evaluation.json").read_text())["num_timesteps"] == 256


def test_a_run_that_was_killed_in_its_evaluation_is_evaluated_when_it_is_resumed(train):
    train(*TRAIN, "-n", 64)
    (RUN / "evaluation.json").unlink()
    done = train(*RESUME, RUN)
    assert done.code == 0, done.err
    assert "its evaluation is missing" in done.out
    assert json.loads((RUN / "evaluation.json").read_text())["num_timesteps"] == 64
    assert steps_of(RUN) == [64]
    again = train(*RESUME, RUN)
    assert again.code == 2
    assert "has taken all of its 64 steps" in again.err


def test_going_on_from_a_checkpoint_drops_the_rows_that_came_after_it(train):
    train(*TRAIN, "-n", 256, "--save-freq", 128)
    done = train(*RESUME, RUN / "checkpoints" / "sb3_ppo_128_steps.zip", "-n", 64)
    assert done.code == 0, done.err
    assert [row["time/total_timesteps"] for row in read_progress(RUN / "progress.csv")] == [
        "64",
        "128",
        "192",
    ]


def test_the_same_command_gives_the_same_numbers_in_a_new_folder(train):
    for _ in range(2):
        train(*TRAIN, "-n", 128, "--seed", 5)
    first, second = (
        json.loads((RUN.with_name(f"CartPole-v1_{k}") / "evaluation.json").read_text()) for k in (1, 2)
    )
    assert first == second


def test_ctrl_c_saves_after_the_update_and_prints_the_command_for_the_rest(train):
    done = train(*TRAIN, "-n", 640, "--callback", "ctrl_c", "at=40")
    assert done.code == 130
    assert "Stopped after 128 steps" in done.out  # call 40 is in the second rollout of 2 * 32 steps
    assert (
        done.out.splitlines()[-1].split() == f"Go on: spi train --resume {RUN} -n 512 --trust-imports".split()
    )
    assert not (RUN / "evaluation.json").exists()
    resumed = train(*RESUME, RUN, "--callback", "ctrl_c", "at=100000")
    assert resumed.code == 0, resumed.err
    assert "Trained 512 steps" in resumed.out


def test_ctrl_c_twice_stops_at_once(train):
    done = train(*TRAIN, "-n", 640, "--callback", "ctrl_c", "at=40", "times=2")
    assert done.code == 130
    assert done.err.endswith("spi: interrupted\n")
    assert not (RUN / "model.zip").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("disk", "No space left on device"),
        ("worker", "EOFError"),
        ("exit", "SystemExit: no host"),
        ("own", "BaseException: mine"),
        ("folder", "FileNotFoundError"),
    ],
)
def test_a_run_that_fails_saves_says_so_in_one_line_and_can_be_continued(train, how, message):
    done = train(*TRAIN, "-n", 640, "--save-freq", 0, "--callback", "fail", "at=40", f"how={how}")
    assert done.code == 3
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("spi: error: Training failed: ")
    assert message in done.err
    assert str(RUN / "error.txt") in done.err
    assert "Traceback" in (RUN / "error.txt").read_text()
    assert "Stopped after" in done.out
    resumed = train(*RESUME, RUN, "-n", 64, "--callback", "ctrl_c", "at=100000")
    assert resumed.code == 0, resumed.err


def test_an_evaluation_that_fails_leaves_the_model(train, plugin):
    made = []

    def make():
        made.append(gymnasium.make("CartPole-v1"))
        if len(made) > 2:  # two to train on
            made[-1].unwrapped.step = lambda action: 1 / 0
        return made[-1]

    mine = plugin("envs_plugin", register_envs=lambda register: register("mine/Late-v0", make))
    words = ["train", "sb3_ppo", "--env", "mine/Late-v0", "--n-envs", 2, "-n", 64, *SHORT]
    done = train(*words, "--eval-episodes", 1, plugins=[mine])
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "The evaluation failed" in done.err
    assert (RUN.with_name("mine-Late-v0_1") / "model.zip").is_file()


def test_a_run_folder_imports_no_module_without_being_asked(train, tmp_path, monkeypatch):
    train(*TRAIN, "-n", 64, "--eval-episodes", 0)
    (tmp_path / "strange_module.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = json.loads((RUN / "config.json").read_text())
    (RUN / "config.json").write_text(json.dumps({**config, "env": "strange_module:CartPole-v1"}))
    for words in (("train", "--resume", RUN, "-n", 64), ("eval", RUN), ("video", RUN)):
        done = train(*words)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "--trust-imports" in done.err
        assert "RuntimeError: imported" in train(*words, "--trust-imports").err


def test_a_run_folder_runs_no_pickle_without_being_asked(train):
    train(*TRAIN, "-n", 64, "--eval-episodes", 0)
    (RUN / "model.zip").rename("alone.zip")
    for words in (
        ("train", "--resume", RUN, "-n", 64),
        ("eval", RUN),
        ("video", RUN),
        ("eval", "alone.zip", "--algo", "sb3_ppo", "--env", "CartPole-v1"),
        ("dream", "fit", "world.zip", "--env", "CartPole-v1", "--policy", RUN),
    ):
        done = train(*words)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "sb3_ppo unpickles its model files" in done.err
        assert "--trust-imports" in done.err


def test_ctrl_c_works_again_as_before_after_a_run(train):
    before = signal.getsignal(signal.SIGINT)
    train(*TRAIN, "-n", 64)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_model_of_no_run_starts_a_new_run(train, tmp_path):
    train(*TRAIN, "-n", 128)
    (RUN / "model.zip").rename(tmp_path / "alone.zip")
    done = train(*(*RESUME, "alone.zip", "sb3_ppo", "--env", "CartPole-v1", "-n", 64, "--eval-episodes", 0))
    assert done.code == 0, done.err
    second = RUN.with_name("CartPole-v1_2")
    config = json.loads((second / "config.json").read_text())
    assert (config["resumed_from"], config["n_envs"], config["n_timesteps"]) == ("alone.zip", 2, 192)
    assert steps_of(second) == [192]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("train", "sb3_pp", "--env", "CartPole-v1", "-n", 10),
            "No algorithm named 'sb3_pp'. Did you mean 'sb3_ppo'",
        ),
        (("train", "sb3_ppo", "--env", "no_module:X-v0", "-n", 10), "'no_module:X-v0' cannot be made"),
        ((*TRAIN, "-n", 10, "-p", "gama=1"), "unexpected keyword argument 'gama' Did you mean 'gamma'"),
        (
            ("train", "ppo", "--env", "no-such-env-v0", "-n", 10, "-p", "gamma=2"),
            "PPO refuses its arguments: gamma must be a number at least 0 and at most 1, got 2.",
        ),
        ((*TRAIN, "-n", 10, "--policy", "MlpPolice"), "MlpPolice"),
        ((*TRAIN, "-n", 10, "--env-kwargs", "gravity=1"), "'CartPole-v1' cannot be made"),
        ((*TRAIN, "-n", 10, "--callback", "ctrlc"), "No callback named 'ctrlc'. Did you mean 'ctrl_c'"),
        (
            (*TRAIN, "-n", 10, "--callback", "ctrl_c", "when=3"),
            "The callback 'ctrl_c' of plugin 'test_plugin' refuses",
        ),
        (
            (*TRAIN, "-n", 10, "--callback", "odd"),
            "'odd' of plugin 'test_plugin' must be a BaseCallback, got 3",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(train, words, message):
    done = train(*words)
    assert done.code == 2
    assert done.err.count("\n") == 1, done.err
    assert message in done.err
    assert not pathlib.Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ppo",), "ALGO is 'sb3_ppo' in the run"),
        (("--env", "Acrobot-v1"), "--env is 'CartPole-v1' in the run"),
        (("--seed", 1), "--seed cannot be changed"),
        (("--policy", "CnnPolicy"), "--policy cannot be changed"),
        (("-p", "gamma=0.5"), "-p cannot be changed"),
        (("--n-envs", 3), "--n-envs cannot be changed"),
        (("--env-kwargs", "a=1"), "--env-kwargs cannot be changed"),
        (("-f", "elsewhere"), "-f cannot be changed"),
        ((), "say how many more with -n"),
    ],
)
def test_what_a_resumed_run_fixed_cannot_be_changed(train, words, message):
    train(*TRAIN, "-n", 64, "--eval-episodes", 0)
    done = train(*RESUME, RUN, *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_a_damaged_model_is_the_users_mistake(train):
    train(*TRAIN, "-n", 64, "--eval-episodes", 0)
    (RUN / "model.zip").write_bytes(b"PK garbage")
    done = train(*RESUME, RUN, "-n", 64)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "sb3_ppo cannot load" in done.err


def test_a_run_in_which_no_episode_ends_says_so_instead_of_a_curve(train):
    short = ["-p", "n_steps=2", "batch_size=4", "device='cpu'", "n_epochs=1"]
    done = train(
        "train", "sb3_ppo", "--env", "CartPole-v1", "--n-envs", 2, "-n", 4, *short, "--eval-episodes", 0
    )
    assert done.code == 0, done.err
    assert "learning curve  none: no episode ended during training" in done.out


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
def test_the_progress_bar_and_tensorboard_work(train):
    done = train(*TRAIN, "-n", 64, "--progress", "-tb", "tb", "-v", "--eval-episodes", 0)
    assert done.code == 0, done.err
    assert "total_timesteps" in done.out
    assert list(pathlib.Path("tb/sb3_ppo/CartPole-v1_1").glob("events.out.tfevents*"))


@pytest.mark.parametrize(("option", "package"), [("--progress", "rich"), ("-tb", "tensorboard")])
def test_a_missing_package_comes_with_the_command_that_installs_it(train, monkeypatch, option, package):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == package else found(name, *args)
    )
    done = train(*TRAIN, "-n", 64, option, *(["tb"] if option == "-tb" else []))
    assert done.code == 2
    assert f"'{package}', which is not installed: pip install 'spi-plugins[cli]'" in done.err
    assert not pathlib.Path("runs").exists()


def test_without_matplotlib_the_run_ends_well_and_says_what_to_install(train, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = train(*TRAIN, "-n", 64, "--eval-episodes", 0)
    assert done.code == 0
    assert "learning curve  none: " in done.out
    assert "pip install 'spi-plugins[plot]'" in done.out


def test_an_evaluation_can_be_repeated_from_the_run(train):
    train(*TRAIN, "-n", 64)
    expected = json.loads((RUN / "evaluation.json").read_text())
    done = train(*EVAL, RUN, "--n-episodes", 2, "--json")
    result = json.loads(done.out)
    assert {key: result[key] for key in expected} == expected
    assert result["env"] == "CartPole-v1"


def test_an_evaluation_may_sample_and_name_another_environment_and_seed(train):
    train(*TRAIN, "-n", 64)
    done = train(
        *EVAL, RUN / "model.zip", "--env", "spi/CartPole-v0", "--stochastic", "--seed", 3, "--n-episodes", 3
    )
    assert done.code == 0, done.err
    assert "in 3 stochastic episodes" in done.out
    assert "on spi/CartPole-v0" in done.out


def test_a_file_of_no_run_is_evaluated_with_its_algorithm_and_environment(train, tmp_path):
    train(*TRAIN, "-n", 64)
    (RUN / "model.zip").rename(tmp_path / "alone.zip")
    assert "--algo and --env" in train("eval", "alone.zip").err
    done = train(*EVAL, "alone.zip", "--algo", "sb3_ppo", "--env", "CartPole-v1", "--n-episodes", 1)
    assert done.code == 0, done.err


def test_an_environment_with_other_spaces_is_refused(train):
    train(*TRAIN, "-n", 64)
    for env in ("Pendulum-v1", "Acrobot-v1"):
        done = train(*EVAL, RUN, "--env", env)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"but '{env}' has" in done.err


def test_the_file_of_a_run_repeats_it(train):
    train(*TRAIN, "-n", 128, "--seed", 3, "--save-freq", 0)
    done = train("train", "-c", RUN)
    assert done.code == 0, done.err
    first, second = (read_progress(path / "progress.csv") for path in (RUN, RUN.with_name("CartPole-v1_2")))
    measured = [key for key in first[0] if not key.startswith("time/") or key == "time/total_timesteps"]
    assert [[row[key] for key in measured] for row in first] == [
        [row[key] for key in measured] for row in second
    ]
    one, two = (
        json.loads((path / "config.json").read_text()) for path in (RUN, RUN.with_name("CartPole-v1_2"))
    )
    assert one == two
