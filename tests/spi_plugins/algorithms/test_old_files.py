"""Files that earlier code saved load, and training goes on from them to the numbers that it reached."""

import json
import pathlib
import runpy

import numpy as np
import pytest
from tiny_models import CARTPOLE, POINT_GOAL

from spi_plugins import PPO, SPOWL, TDMPC2, DeepMDP, DeepSPI, DreamSPI

FILES = pathlib.Path(__file__).parents[2] / "data" / "format_1"
EXPECTED = json.loads((FILES / "expected.json").read_text())
summary = runpy.run_path(str(FILES.parent / "record_format_1.py"))["summary"]
CLASSES = {
    "ppo": PPO,
    "deep_spi": DeepSPI,
    "deep_mdp": DeepMDP,
    "dream_spi": DreamSPI,
    "tdmpc2": TDMPC2,
    "spowl": SPOWL,
}


def assert_summary(model, expected):
    got = summary(model)
    assert got["parameters"] == pytest.approx(expected["parameters"], rel=1e-5)
    np.testing.assert_allclose(got["actions"], expected["actions"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_goes_on_from_an_old_file_as_it_did(name):
    plans = name in ("tdmpc2", "spowl")
    model = CLASSES[name].load(FILES / f"{name}.zip", env=POINT_GOAL if plans else CARTPOLE)
    assert_summary(model, EXPECTED[name]["saved"])
    if plans:
        model.load_replay_buffer(FILES / f"{name}_replay.npz")
    model.learn(24, reset_num_timesteps=False)
    assert_summary(model, EXPECTED[name]["after_24_more"])
