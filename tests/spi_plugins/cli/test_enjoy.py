"""``spi enjoy`` finds and plays runs as rl_zoo3's users ask for them."""

import pathlib

import gymnasium
import pytest

SHORT = ("-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")
TRAIN = ("train", "sb3_ppo", "--env", "CartPole-v1", "--n-envs", 2, "--eval-episodes", 0, "-n", 128, *SHORT)
ENJOY = ("enjoy", "--trust-imports", "--algo", "sb3_ppo", "--env", "CartPole-v1")
RUNS = pathlib.Path("runs/sb3_ppo")


@pytest.fixture
def runs(train):
    """Two runs, the second with checkpoints after 64 and 128 steps."""
    train(*TRAIN, "--save-freq", 0)
    train(*TRAIN, "--save-freq", 64)
    return train


def test_the_newest_run_plays_steps_and_every_episode_is_told(runs):
    done = runs(*ENJOY, "-n", 200, "--no-render")
    assert done.code == 0, done.err
    first, *episodes, mean = done.out.splitlines()
    assert first == f"{RUNS}/CartPole-v1_2/model.zip, 128 steps of training, on CartPole-v1"
    lengths = [int(line.split()[-2]) for line in episodes]
    assert 0 < sum(lengths) <= 200
    assert episodes[0] == f"Episode 1: return {lengths[0]:.2f}, {lengths[0]} steps"
    assert mean.startswith(f"Mean of {len(episodes)}: return {sum(lengths) / len(lengths):.2f} +- ")
    assert "No episode ended in 2 steps; return so far 2.00" in runs(*ENJOY, "-n", 2, "--no-render").out


def test_other_runs_and_models_can_be_named(runs):
    for words, played in (
        (("--exp-id", 1), "CartPole-v1_1/model.zip, 128 steps"),
        (("--load-checkpoint", 64), "CartPole-v1_2/checkpoints/sb3_ppo_64_steps.zip, 64 steps"),
        (("--load-last-checkpoint",), "CartPole-v1_2/checkpoints/sb3_ppo_128_steps.zip, 128 steps"),
    ):
        assert played in runs(*ENJOY, "-n", 1, "--no-render", *words).out


def test_a_window_is_asked_for_unless_there_is_none(runs, monkeypatch):
    modes = []
    make = gymnasium.make

    def record(name, **kwargs):
        modes.append(kwargs.pop("render_mode", None))
        return make(name, **kwargs)

    monkeypatch.setattr(gymnasium, "make", record)
    assert runs(*ENJOY, "-n", 1).code == 0
    assert modes[-1] == "human"
    assert runs(*ENJOY, "-n", 1, "--no-render").code == 0
    assert modes[-1] != "human"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "RUN is required, or --algo and --env"),
        (("--algo", "ppo", "--env", "CartPole-v1"), "Make one: spi train ppo --env CartPole-v1"),
        (("--algo", "pppo", "--env", "CartPole-v1"), "Did you mean 'ppo'"),
        (("nowhere",), "neither a run nor a model at nowhere"),
        (("--algo", "sb3_ppo", "--env", "CartPol-v1"), "Did you mean 'CartPole-v1'"),
        (("--algo", "sb3_ppo", "--env", "CartPole-v1", "--exp-id", 3), "there are 1"),
        (("--algo", "sb3_ppo", "--env", "CartPole-v1", "--load-checkpoint", 3), "has no checkpoints"),
    ],
)
def test_a_mistake_is_one_line(train, words, message):
    (RUNS / "CartPole-v1_1").mkdir(parents=True)
    done = train("enjoy", *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
