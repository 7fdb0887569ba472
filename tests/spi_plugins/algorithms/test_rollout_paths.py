"""The compiled path and the path that steps in Python are the same computation.

Actions, rewards and ends of episodes are equal exactly. So are, where this was measured (Linux, x86-64), the
parameters after three updates; XLA may fuse the two programs differently elsewhere, and Adam's first steps divide
tiny gradients by their own size, so the test allows 1e-5 where the updates move parameters by more than 3e-3.
"""

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import CARTPOLE

from spi_integrations.envpool import make_vec
from spi_plugins import PPO, DeepSPI
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.step_collector import StepCollector

pytest.importorskip("envpool")

MLP = {
    "n_steps": 16,
    "batch_size": 128,
    "n_epochs": 2,
    "policy_kwargs": {"net_arch": [8]},
    "transition_density": "deterministic",
}
CNN = {
    "n_steps": 8,
    "batch_size": 8,
    "n_epochs": 2,
    "policy_kwargs": {"net_arch": [8], "conv_layers": [(4, 8, 8)]},
}
CASES = {
    "CartPole of envpool": lambda: (DeepSPI, "MlpPolicy", make_vec("CartPole-v1", 32, seed=3), MLP),
    "Breakout of envpool": lambda: (
        PPO,
        "CnnPolicy",
        make_vec("Breakout-v5", 4, seed=3, max_episode_steps=9, noop_max=1),  # the limit ends episodes within
        CNN,
    ),
    "functional CartPole": lambda: (DeepSPI, "MlpPolicy", CARTPOLE, {**MLP, "n_envs": 32}),
}


class Record(BaseCallback):
    """Keeps what was done and what came of it."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        row = {name: np.array(self.locals[name]) for name in ("actions", "rewards", "dones")}
        row["episodes"] = [
            (i, info["episode"]["r"], info["episode"]["l"])
            for i, info in enumerate(self.locals["infos"])
            if "episode" in info
        ]
        row["limits"] = [
            info["TimeLimit.truncated"] for info in self.locals["infos"] if "TimeLimit.truncated" in info
        ]
        self.rows.append(row)
        return True


def train(case, compiled):
    algorithm, policy, env, kwargs = CASES[case]()
    model = algorithm(policy, env, compiled=compiled, learning_rate=1e-3, seed=3, **kwargs)
    record = Record()
    before = model.get_parameters()
    model.learn(3 * model.n_steps * model.n_envs, callback=record)
    assert type(model._collector) is (StepCollector if compiled is False else CompiledCollector)
    return model, before, record


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:EnvPool fixes seeds")
def test_both_paths_take_the_same_actions_and_learn_the_same(case):
    (one, before, rows), (two, _, others) = train(case, None), train(case, False)
    assert len(rows.rows) == len(others.rows) == 3 * one.n_steps
    for t, (row, other) in enumerate(zip(rows.rows, others.rows, strict=True)):
        for name in ("actions", "rewards", "dones"):
            np.testing.assert_array_equal(row[name], other[name], err_msg=f"{name} at {t}")
        assert row["episodes"] == other["episodes"]
        assert row["limits"] == other["limits"]
    assert sum(row["dones"].sum() for row in rows.rows) > 0  # episodes ended within
    assert [info["r"] for info in one.ep_info_buffer] == [info["r"] for info in two.ep_info_buffer]
    first, second = one.get_parameters(), two.get_parameters()
    for group in set(first) - {"optimizer"}:
        moved = max(np.abs(first[group][name] - before[group][name]).max() for name in first[group])
        assert moved > 3e-3
        for name, value in first[group].items():
            np.testing.assert_allclose(value, second[group][name], atol=1e-5, err_msg=f"{group}/{name}")
