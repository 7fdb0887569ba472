"""``spi export`` finds the model and the statistics of a run."""

import jax
import numpy as np
import pytest
from tiny_models import SMALL

from spi_plugins import PPO
from spi_plugins.algorithms.model_file import read_model_file

TRAIN = ("train", "ppo", "--env", "Pendulum-v1", "--normalize", "--no-preset", "-n", 16, "--eval-episodes", 0)
TINY = ("-p", "n_steps=4", "batch_size=4", "n_epochs=2", "policy_kwargs={'net_arch': [8]}")
RUN = "runs/ppo/Pendulum-v1_1"


def test_a_run_is_exported_with_its_statistics(spi, tmp_path):
    done = spi(*TRAIN, "--n-envs", 2, *TINY)
    assert done.code == 0, done.err
    done = spi("export", RUN, "-o", "policy.jaxexport")
    assert done.code == 0, done.err
    told = "  observation float32[batch, 3] -> action float32[batch, 1]\n"
    assert done.out == f"Wrote policy.jaxexport, the deterministic policy of {RUN}/model.zip:\n{told}"
    raw = np.asarray([[1.0, 0.0, 4.0], [0.0, 1.0, -4.0]], np.float32)
    exported = jax.export.deserialize(bytearray((tmp_path / "policy.jaxexport").read_bytes()))
    moments = read_model_file(tmp_path / RUN / "model.zip").part("vec_normalize/moments//")
    mean, var = moments["mean"], moments["var"]
    seen = np.clip((raw - mean) / np.sqrt(var + 1e-8), -10, 10).astype(np.float32)
    expected = PPO.load(tmp_path / RUN / "model.zip").predict(seen, deterministic=True)[0]
    np.testing.assert_allclose(np.asarray(exported.call(raw)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.zip", "-o", "policy.pt"), "-o must end in .onnx or .jaxexport, got policy.pt"),
        (("nowhere", "-o", "policy.onnx"), "neither a run nor a model at nowhere"),
        (("model.zip", "-o", "policy.onnx"), "name its algorithm with --algo"),
        (("model.zip", "-o", "policy.onnx", "--algo", "pppo"), "Did you mean 'ppo'"),
        (("model.zip",), "-o/--output"),
    ],
)
def test_a_mistake_is_one_line(spi, tmp_path, words, message):
    (tmp_path / "model.zip").write_bytes(b"")
    done = spi("export", *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err


def test_algorithms_of_others_are_refused(spi, plugin, tmp_path):
    PPO("MlpPolicy", "CartPole-v1", **SMALL).save(tmp_path / "model.zip")
    foreign = plugin(register_algorithms=lambda register: register("sb3_ppo", "stable_baselines3:PPO"))
    done = spi("export", "model.zip", "-o", "policy.jaxexport", "--algo", "sb3_ppo", plugins=[foreign])
    assert done.code == 2
    assert "Only spi_plugins' own algorithms can be exported, and sb3_ppo is not." in done.err
