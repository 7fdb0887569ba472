"""An exported file decides as ``predict`` does, whatever goes in and comes out."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_models import SMALL, tiny_ppo, tiny_tdmpc2

from spi_plugins import PPO, PlannerPolicy, export_policy

IMAGE = spaces.Box(0, 255, (12, 12, 3), np.uint8)
VECTOR = spaces.Box(-1, 1, (3,))
CASES = {
    "vector": ("MlpPolicy", VECTOR, spaces.Discrete(3, start=1)),
    "image": ("CnnPolicy", IMAGE, spaces.Box(-2, 3, (2,))),
    "dict": (
        "MultiInputPolicy",
        spaces.Dict(v=VECTOR, i=IMAGE, d=spaces.Discrete(3, start=2)),
        spaces.MultiDiscrete([2, 3]),
    ),
}


class Noise(gymnasium.Env):
    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def drawn(space, n):
    space.seed(n)
    return jax.tree.map(lambda *rows: np.stack(rows), *(space.sample() for _ in range(n)))


def run_file(path, batch):
    """What the file decides, with the packages that its readers have."""
    batch = jax.tree.map(lambda x: x.astype(np.int32) if x.dtype == np.int64 else x, batch)
    if path.suffix == ".jaxexport":
        return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(batch))
    import onnxruntime

    inputs = batch if isinstance(batch, dict) else {"observation": batch}
    (action,) = onnxruntime.InferenceSession(path).run(["action"], inputs)
    return action


@pytest.mark.parametrize("case", CASES)
def test_a_file_decides_as_predict_does(case, tmp_path):
    policy, observations, actions = CASES[case]
    settings = {**SMALL, "policy_kwargs": {"net_arch": [8]}}
    model = PPO(policy, Noise(observations, actions), **settings)
    for name in ("policy.jaxexport", "policy.onnx"):
        export_policy(model, tmp_path / name)
        for n in (1, 3):
            batch = drawn(observations, n)
            decided, expected = run_file(tmp_path / name, batch), model.predict(batch, deterministic=True)[0]
            assert decided.shape == expected.shape
            np.testing.assert_allclose(decided, expected, rtol=1e-5, atol=1e-5)


def test_actions_differ_between_observations(tmp_path):
    """So that the comparisons above mean something."""
    _, observations, actions = CASES["vector"]
    model = PPO("MlpPolicy", Noise(observations, actions), **SMALL)
    export_policy(model, tmp_path / "policy.jaxexport")
    assert len(set(run_file(tmp_path / "policy.jaxexport", drawn(observations, 50)).tolist())) > 1


@pytest.mark.parametrize("suffix", [".jaxexport", ".onnx"])
def test_the_statistics_of_vec_normalize_are_in_the_file(suffix, tmp_path):
    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")] * 2))
    model = PPO("MlpPolicy", venv, **SMALL).learn(64)
    policy = export_policy(model, tmp_path / f"policy{suffix}")
    assert str(policy) == "observation float32[batch, 3] -> action float32[batch, 1]"
    raw = drawn(venv.observation_space, 5)
    decided = run_file(tmp_path / f"policy{suffix}", raw)
    expected = model.predict(venv.normalize_obs(raw), deterministic=True)[0]
    np.testing.assert_allclose(decided, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(decided, model.predict(raw, deterministic=True)[0], atol=1e-4)


def test_of_a_planning_model_only_the_policy_without_planning_is_exported(tmp_path):
    model, path = tiny_tdmpc2(), tmp_path / "policy.jaxexport"
    with pytest.raises(ValueError, match=r"TDMPC2 plans at every step.*--without-planning"):
        export_policy(model, path)
    export_policy(model, path, without_planning=True)
    batch = drawn(model.observation_space, 3)
    expected = PlannerPolicy(model.world_model, "policy").predict(batch, deterministic=True)[0]
    np.testing.assert_allclose(run_file(path, batch), expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_exported_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.jaxexport or \.onnx, got .*policy\.pt"):
        export_policy(tiny_ppo(), tmp_path / "policy.pt")
    other = SB3PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(TypeError, match="got a PPO"):
        export_policy(other, tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []
