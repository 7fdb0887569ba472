"""Wrong uses of ``spi``: each is one line on stderr and exit code 2, before JAX, torch, SB3, Ray or Optuna is
imported."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import time
import zipfile

import pytest

from spi_plugins.cli import main
from spi_plugins.cli.run_folder import RunConfig, RunFolder

NEW = ("train", "ppo", "--env", "CartPole-v1", "-n", "100")
FIT = ("dream", "fit", "out.zip", "--env", "CartPole-v1")
CHECK = ("dream", "eval", "world.zip", "--env", "CartPole-v1")
TUNE = ("tune", "ppo", "--env", "CartPole-v1")
MISTAKES = [
    # Commands and options
    ((), "required: COMMAND"),
    (("trian",), "Did you mean 'train'?"),
    (("list",), "required: KIND"),
    (("list", "algoritms"), "Did you mean 'algorithms'?"),
    (("list", "planners", "more"), "unrecognized arguments: more"),
    (("list", "envs", "safty"), "FAMILY 'safty' is unknown. Did you mean 'safety'"),
    (("plugins", "--jso"), "unrecognized arguments: --jso"),
    ((*NEW, "--sed", "1"), "unrecognized arguments: --sed"),
    (("eval",), "required: MODEL_ZIP_OR_RUN"),
    (("dream",), "required: ACTION"),
    (("dream", "dance"), "dance"),
    (("zoo", "trian"), "Did you mean 'train'"),
    (("zoo", "train", "--algo", "deepspi"), "Did you mean 'deep_spi'"),
    (("zoo", "train", "--algo", "tdmpc2"), "rl_zoo3 has no hyperparameters for --algo tdmpc2"),
    (("new-plugin", "My Planner"), "NAME must be lower-case words"),
    (("new-plugin", "cem"), "there is a planner 'cem'"),
    (("new-plugin", "json"), "'json'"),
    (("new-plugin", "mine", "--path", "nowhere"), "--path nowhere is not a folder"),
    # On which devices and by which processes
    ((*NEW, "--devices", "0"), "--devices"),
    ((*NEW, "--devices", "cuda"), "--devices"),
    ((*NEW, "--n-envs", "6", "--devices", "4"), "--n-envs 6 cannot be divided evenly among 4 devices"),
    ((*NEW, "--coordinator", "host:1"), "--coordinator host:1 needs --processes; or use --coordinator auto"),
    ((*NEW, "--coordinator", "host", "--processes", "2", "--process-id", "0"), "must be HOST:PORT or auto"),
    ((*NEW, "--coordinator", "h:1", "--processes", "2", "--process-id", "2"), "within 0 and 1, got 2"),
    ((*NEW, "--coordinator", "auto", "--process-id", "0"), "--process-id needs --coordinator HOST:PORT"),
    ((*NEW, "--coordinator", "auto", "--seeds", "2"), "--seeds cannot be combined with --coordinator"),
    # What is trained, and on what
    (("train", "dream_spi", *NEW[2:4]), "-n is required"),
    ((*NEW[:4], "--no-preset"), "-n is required"),
    ((*NEW, "--preset", "CartPol-v1"), "--preset 'CartPol-v1' is unknown to ppo. Did you mean 'CartPole-v1'"),
    (("train", "dream_spi", *NEW[2:], "--preset", "CartPole-v1"), "unknown to dream_spi. It has none."),
    ((*NEW[:2], "-n", "10"), "--env is required"),
    (("train", *NEW[2:]), "ALGO is required"),
    (("train", "deepspi", *NEW[2:]), "Did you mean 'deep_spi'"),
    (("train", "", *NEW[2:]), "No algorithm named ''"),
    (("train", "ppo", "--env", "CartPol-v1", "-n", "10"), "Did you mean 'CartPole-v1'"),
    (("train", "ppo", "--env", "CartPole-v9", "-n", "10"), "No environment named 'CartPole-v9'"),
    (("train", "ppo", "--env", "spi/PointGaol-v0", "-n", "10"), "Did you mean 'spi/PointGoal-v0'"),
    (("train", "ppo", "--env", "", "-n", "10"), "No environment named ''"),
    (("train", "ppo", "--env", "Breakout-v5", "-n", "10"), "Did you mean 'envpool:Breakout-v5'"),
    (("train", "ppo", "--env", "ALE/Breakout-v5", "-n", "10"), "Did you mean 'envpool:Breakout-v5'"),
    (("train", "ppo", "--env", "PongNoFrameskip-v4", "-n", "10"), "Did you mean 'envpool:Pong-v5'"),
    (("train", "ppo", "--env", "SafetyPointGoal1-v0", "-n", "10"), "Did you mean 'spi/SafetyPointGoal1-v0'"),
    (("train", "ppo", "--env", "Envpool:Pong-v5", "-n", "10"), "Did you mean 'envpool'"),
    (("train", "ppo", "--env", "envpool", "-n", "10"), "write 'envpool:<id>'"),
    (("train", "ppo", "--env", "no_module:X-v0", "-n", "10"), "there is no module 'no_module'"),
    ((*NEW, "--policy", "MlpPolice"), "Did you mean 'MlpPolicy'"),
    ((*NEW, "--callback", "cost_lgo"), "Did you mean 'cost_log'"),
    ((*NEW, "--callback", "cost_log", "limit"), "--callback takes key=value pairs"),
    # Numbers
    ((*NEW, "-n", "ten"), "invalid positive integer value: 'ten'"),
    ((*NEW, "-n", "0"), "invalid positive integer value: '0'"),
    ((*NEW, "-n", "1.5"), "invalid positive integer value: '1.5'"),
    ((*NEW, "-n", "inf"), "invalid positive integer value: 'inf'"),
    ((*NEW, "-n", "nan"), "invalid positive integer value: 'nan'"),
    ((*NEW, "-n", "1e99"), "invalid positive integer value: '1e99'"),
    ((*NEW, "-n", ""), "invalid positive integer value: ''"),
    ((*NEW, "-n"), "-n/--n-timesteps: expected one argument"),
    ((*NEW, "--n-envs", "0"), "invalid integer from 1 to 1000000 value: '0'"),
    ((*NEW, "--n-envs", "1000000000"), "invalid integer from 1 to 1000000"),
    ((*NEW, "--seed", "-1"), "invalid integer from 0 to 4294967295 value: '-1'"),
    ((*NEW, "--seed", "4294967296"), "invalid integer from 0 to 4294967295"),
    ((*NEW, "--seed", "None"), "invalid integer from 0 to 4294967295 value: 'None'"),
    ((*NEW, "--save-freq", "-5"), "--save-freq"),
    ((*NEW, "--eval-episodes", "few"), "invalid integer of at least 0 value: 'few'"),
    # Hyperparameters
    ((*NEW, "-p", "gama=0.9"), "there is no argument 'gama'. Did you mean 'gamma'?"),
    ((*NEW, "-p", "transition_loss_coef=1"), "there is no argument 'transition_loss_coef'"),
    ((*NEW, "-p", "gamma=2"), "gamma must be a number at least 0 and at most 1, got 2."),
    ((*NEW, "-p", "gamma=high"), "gamma must be a number at least 0 and at most 1, got 'high'."),
    ((*NEW, "-p", "gamma="), "gamma must be a number"),
    ((*NEW, "-p", "n_steps=2.5"), "n_steps must be an integer"),
    ((*NEW, "-p", "n_epochs=0"), "n_epochs must be an integer of at least 1, got 0."),
    ((*NEW, "-p", "learning_rate=-1"), "learning_rate must be a number"),
    ((*NEW, "-p", "normalize_advantage=1"), "normalize_advantage must be one of True, False, got 1."),
    ((*NEW, "-p", "policy_kwargs=64"), "policy_kwargs must be a dict, got 64."),
    ((*NEW, "-p", "gamma"), "-p takes key=value pairs"),
    ((*NEW, "-p", "gamma=0.9", "gamma=0.8"), "-p has 'gamma' twice"),
    ((*NEW, "-p", "seed=1"), "-p seed=... is set with --seed"),
    ((*NEW, "-p", "n_envs=4"), "-p n_envs=... is set with --n-envs"),
    ((*NEW, "--env-kwargs", "gravity"), "--env-kwargs takes key=value pairs"),
    (
        ("train", "tdmpc2", *NEW[2:], "-p", "model_size=huge"),
        "model_size must be one of '5m', 'small', got 'huge'.",
    ),
    (("train", "ppo_lag", *NEW[2:], "-p", "cost_limi=1"), "Did you mean 'cost_limit'"),
    ((*NEW, "--gamma", "2"), "gamma must be a number at least 0 and at most 1, got 2."),
    ((*NEW, "--gama", "0.9"), "unrecognized arguments: --gama 0.9. Did you mean '--gamma'"),
    ((*NEW, "--transition-loss-coef", "1"), "PPO refuses its arguments: there is no argument"),
    ((*NEW, "--learning-rate", "line_3e-4"), "learning_rate must be a number"),
    ((*NEW, "--policy-kwargs", "dict(64)"), "policy_kwargs must be a dict, got 'dict(64)'"),
    ((*NEW, "--gamma", "0.9", "-p", "gamma=0.8"), "-p gamma=... and --gamma are the same"),
    ((*NEW, "--use-sde", "1"), "unrecognized arguments: 1"),
    ((*NEW, "--algo", "spowl"), "ALGO is 'ppo', and --algo is 'spowl'"),
    (("train", "tdmpc2", *NEW[2:], "--model-size", "huge"), "model_size must be one of"),
    # Files of options
    ((*NEW, "-c", "nothing.yml"), "-c nothing.yml cannot be read"),
    ((*NEW, "-c", "file"), "-c file must hold keys and values"),
    ((*NEW, "-c", "not.yml"), "-c not.yml cannot be read"),
    ((*NEW, "-c", "typo.yml"), "-c typo.yml: there is no key 'n_step' for ppo. Did you mean 'n_steps'"),
    ((*NEW, "-c", "range.yml"), "-c range.yml: gamma: PPO refuses its arguments: gamma must be"),
    ((*NEW, "-c", "option.yml"), "-c option.yml: n_envs: argument --n-envs: invalid integer"),
    (
        ("train", "ppo", "--env", "Acrobot-v2", "-c", "zoo.yml"),
        "it has no 'Acrobot-v2'. Did you mean 'Acrobot-v1'",
    ),
    (("train", "ppo", "-c", "zoo.yml"), "it has several environments; choose one with --env"),
    # Folders and files
    ((*NEW, "-f", "file"), "-f file cannot be written"),
    ((*NEW, "-f", "file/below"), "-f file/below cannot be written"),
    ((*NEW, "-tb", "file"), "-tb file cannot be written"),
    (("train", "--resume", "nothing"), "neither a run nor a model at nothing"),
    (("train", "--resume", "empty"), "empty is not a run"),
    (("train", "--resume", "no_model"), "no_model holds no model"),
    (("train", "--resume", "garbled"), "garbled/config.json is not the configuration of a run"),
    (("train", "--resume", "damaged", "-n", "64"), "ppo cannot load damaged/model.zip"),
    (("train", "--resume", "alone.zip"), "ALGO is required, because alone.zip does not belong to a run"),
    (("train", "ppo", "--resume", "alone.zip", "-n", "9"), "--env is required, because alone.zip"),
    (("train", "spowl", "--resume", "run"), "ALGO is 'ppo' in the run run"),
    (("train", "--env", "Acrobot-v1", "--resume", "run"), "--env is 'CartPole-v1' in the run run"),
    (("train", "--resume", "run", "--seed", "1"), "--seed cannot be changed"),
    (("train", "--resume", "run", "-p", "gamma=0.5"), "-p cannot be changed"),
    (("train", "--resume", "run", "-f", "elsewhere"), "-f cannot be changed"),
    (("train", "--resume", "strange", "-n", "64"), "--trust-imports"),
    (("eval", "nothing"), "neither a run nor a model at nothing"),
    (("eval", "alone.zip"), "name its algorithm and environment with --algo and --env"),
    (("eval", "alone.zip", "--algo", "pppo", "--env", "CartPole-v1"), "Did you mean 'ppo'"),
    (("eval", "run", "--algo", "spowl"), "--algo spowl contradicts the run"),
    (("eval", "run", "--env", "CartPol-v1"), "Did you mean 'CartPole-v1'"),
    (("eval", "run", "--n-episodes", "0"), "invalid positive integer value: '0'"),
    (("eval", "run", "--deterministic", "--stochastic"), "not allowed with"),
    (("eval", "damaged"), "ppo cannot load damaged/model.zip"),
    # Dreams
    ((*FIT[:3], "--env", "CartPol-v1"), "Did you mean 'CartPole-v1'"),
    ((*FIT, "--kind", "dreamer"), "No world model named 'dreamer'"),
    ((*FIT, "-n", "0"), "invalid positive integer value: '0'"),
    ((*FIT, "--policy", "alone.zip"), "name its algorithm with --algo"),
    ((*FIT, "-p", "hidden"), "--params takes key=value pairs"),
    (("dream", "fit", "empty", "--env", "CartPole-v1"), "PATH empty is a folder"),
    ((*CHECK[:2], "nowhere.zip", *CHECK[3:]), "neither a world-model file nor a registered dream"),
    ((*CHECK, "--png", "file/x.png"), "--png file cannot be written"),
    (("dream", "register", "CartPole-v1", "world.zip"), "The id 'CartPole-v1' is taken"),
    (("dream", "register", "two words", "world.zip"), "not a Gymnasium id"),
    (("dream", "register", "mine/Cart-v0", "nowhere.zip"), "neither a world-model file"),
    (("dream", "register", "mine/Cart-v0", "world.zip", "--options", "9"), "--options takes key=value pairs"),
    (("dream", "forget", "mine/Nothing-v0"), "No dream is remembered under the name"),
    # Many runs
    (("sweep", "none.yml"), "FILE none.yml cannot be read"),
    (("sweep", "sweep.yml", "--on", "rya"), "--on 'rya' is unknown. Did you mean 'ray'? Allowed: ray."),
    (("sweep", "sweep.yml", "--gpus-per-run", "1"), "--gpus-per-run go with --on ray."),
    (
        ("sweep", "sweep.yml", "--on", "ray", "--cpus-per-run", "-1"),
        "argument --cpus-per-run: invalid number",
    ),
    (("sweep", "sweep.yml", "--part", "3/2"), "argument --part: invalid part such as 2/8 value: '3/2'"),
    (("sweep", "sweep.yml", "--json"), "--json goes with --dry-run."),
    ((*TUNE, "--pruner", "medain"), "--pruner 'medain' is unknown. Did you mean 'median'?"),
    ((*TUNE, "--sampler", "tpee"), "--sampler 'tpee' is unknown. Did you mean 'tpe'?"),
    ((*TUNE, "--n-trails", "3"), "unrecognized arguments: --n-trails 3. Did you mean '--n-trials'"),
    ((*TUNE, "--on", "rya"), "--on 'rya' is unknown. Did you mean 'ray'?"),
    ((*TUNE, "--n-jobs", "2"), "--n-jobs goes with --on ray."),
    ((*TUNE, "--space", "gama=[0.9]"), "--space gama: ppo has no argument 'gama'. Did you mean 'gamma'?"),
    ((*TUNE, "--space", "gamma"), "--space takes key=value pairs such as gamma=0.99, got 'gamma'."),
    ((*TUNE, "--space-file", "none.yml"), "--space-file none.yml cannot be read"),
    ((*TUNE, "--eval-episodes", "0"), "--eval-episodes is 0, but a search needs evaluations."),
    ((*TUNE, "--seeds", "2"), "--seeds is not for 'spi tune'."),
    ((*TUNE, "-p", "gama=0.9"), "there is no argument 'gama'. Did you mean 'gamma'?"),
    ((*TUNE[:3], "CartPol-v1"), "Did you mean 'CartPole-v1'"),
]


FILES = {
    "sweep.yml": "{algo: ppo, env: CartPole-v1}",
    "not.yml": "a: [",
    "typo.yml": "n_step: 5",
    "range.yml": "gamma: 2",
    "option.yml": "n_envs: none",
    "zoo.yml": "Acrobot-v1: {n_timesteps: !!float 1e5}\nCartPole-v1: {n_timesteps: 100}",
}


def prepare(folder: pathlib.Path) -> None:
    """The files that the mistakes are about."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "file").touch()
    (folder / "world.zip").touch()
    (folder / "empty").mkdir()
    config = RunConfig(
        algorithm="ppo",
        policy="MlpPolicy",
        env="CartPole-v1",
        env_kwargs={},
        n_envs=2,
        seed=0,
        n_timesteps=64,
        hyperparameters={},
    )
    for name in ("run", "no_model", "garbled", "damaged", "strange"):
        run = RunFolder(folder / name)
        run.path.mkdir()
        run.write_config(config)
        if name != "no_model":
            _write_model(run.model)
    (folder / "garbled/config.json").write_text("[" * 100_000)
    (folder / "damaged/model.zip").write_bytes(b"PK garbage")
    strange = {**json.loads((folder / "run/config.json").read_text()), "env": "strange_module:CartPole-v1"}
    (folder / "strange/config.json").write_text(json.dumps(strange))
    _write_model(folder / "alone.zip")


def _write_model(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")


def make_all(folder: pathlib.Path) -> None:
    """Make every mistake in this process, which must stay without what takes long to import."""
    prepare(folder)
    os.chdir(folder)
    before = sorted(folder.rglob("*"))
    for words, message in MISTAKES:
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            code = main(list(words))
        text = error.getvalue()
        assert code == 2, (words, code, text)
        assert text.startswith("spi: error: "), (words, text)
        assert text.count("\n") == 1, (words, text)
        assert message in text, (words, text)
        heavy = [
            name for name in ("jax", "torch", "stable_baselines3", "ray", "optuna") if name in sys.modules
        ]
        assert not heavy, (words, heavy)
    assert sorted(folder.rglob("*")) == before


def test_every_mistake_is_one_line_and_costs_no_heavy_import(tmp_path, monkeypatch):
    assert len(MISTAKES) >= 60
    code = f"import pathlib, test_mistakes; test_mistakes.make_all(pathlib.Path({str(tmp_path)!r}))"
    here = str(pathlib.Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SPI_DREAMS", str(tmp_path / "dreams.json"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("train", "nothing"), (*NEW, "-p", "gamma=2"), ("eval", "nothing")])
def test_a_mistake_shows_at_once(words):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "spi_plugins.cli", *words], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert time.monotonic() - start < 10  # a fraction of a second on an idle machine


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m spi_plugins.cli list envs --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[\n", "")
