"""rl_zoo3's scripts with our algorithms: train, continue, enjoy."""

import pathlib
import re

import gymnasium
import pytest

CONFIGURATION = """
CartPole-v1:
  normalize: true
  n_envs: 2
  n_timesteps: 1000
  policy: MlpPolicy
  n_steps: 4
  batch_size: 4
  n_epochs: 2
  learning_rate: lin_0.001
  clip_range: lin_0.2
  policy_kwargs: dict(net_arch=[8])
"""


@pytest.fixture
def zoo(spi, tmp_path, monkeypatch):
    # rl_zoo3 replaces these when it is imported; other tests get Gymnasium's own back.
    for module in (gymnasium.wrappers, gymnasium.wrappers.common):
        monkeypatch.setattr(module, "TimeLimit", module.TimeLimit)
    (tmp_path / "tiny.yml").write_text(CONFIGURATION)
    return lambda script, *words: spi("zoo", script, "--env", "CartPole-v1", "-f", "logs", *words)


@pytest.mark.parametrize(
    ("algorithm", "more"), [("ppo", ()), ("deep_spi", ("-params", "transition_density:'deterministic'"))]
)
def test_train_continue_enjoy(zoo, algorithm, more):
    words = f"--algo {algorithm} -conf tiny.yml -n 64 --seed 1 --eval-freq -1".split()
    first = zoo("train", *words, *more)
    assert first.code == 0, first.err
    assert re.search(r"total_timesteps +\| 64 ", first.out)
    folder = pathlib.Path("logs", algorithm)
    model = folder / "CartPole-v1_1" / "CartPole-v1.zip"
    assert model.is_file()
    assert (model.with_suffix("") / "vecnormalize.pkl").is_file()
    second = zoo("train", *words, *more, "-i", model)
    assert second.code == 0, second.err
    assert "Loading saved VecNormalize stats" in second.out
    assert (folder / "CartPole-v1_2" / "CartPole-v1.zip").is_file()
    enjoyed = zoo("enjoy", "--algo", algorithm, "-n", "50", "--no-render")
    assert enjoyed.code == 0, enjoyed.err
    assert "Mean reward" in enjoyed.out


def test_errors_of_rl_zoo3_are_one_line(zoo):
    result = zoo("enjoy", "--algo", "ppo", "--exp-id", "7")
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert result.err.startswith("spi: error: rl_zoo3: ")
