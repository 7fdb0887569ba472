"""Callbacks that act between rollouts: on every path they see and change what the next iteration starts with."""

import numpy as np
import pytest
from tiny_models import CARTPOLE, ROLLOUT, tiny_ppo

from spi_integrations.stable_baselines3 import SafeguardCallback, SPICallback
from spi_plugins.algorithms import on_policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv

CHECK, TOTAL = 5 * ROLLOUT, 10 * ROLLOUT


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(on_policy, "WORTH_COMPILING", 1)


class TakesBack(SafeguardCallback):
    """Finds the policy worse at every check but the last."""

    def _evaluate(self, n_episodes):
        return None

    def _verdict(self):
        return ("worse" if self.num_timesteps < TOTAL else "fine"), False

    def _check(self):
        verdict, _ = self._verdict()
        self.verdicts.append((self.num_timesteps, verdict))
        if verdict == "worse":
            self._roll_back("is worse by decree")
        return verdict


class Each(TakesBack):
    """The same without chunks."""

    def quiet_steps(self):
        return 0


def arrays(model):
    return {(name, key): x for name, group in model.get_parameters().items() for key, x in group.items()}


def assert_equal(first, second):
    for name, value in arrays(first).items():
        np.testing.assert_array_equal(value, arrays(second)[name], err_msg=str(name))


def env():
    return FunctionalVecEnv(CARTPOLE, 2, seed=1)


@pytest.mark.parametrize("path", ["compiled", "stepped"])
@pytest.mark.parametrize("kind", [TakesBack, Each])
def test_the_next_iteration_starts_with_what_was_rolled_back(path, kind):
    guard = kind(env(), 1.0, check_freq=CHECK)
    model = tiny_ppo(path).learn(TOTAL, callback=guard)
    assert guard.verdicts == [(CHECK, "worse"), (TOTAL, "fine")]
    chunked = getattr(model._collector, "chunked", None)
    assert (chunked is not None and chunked.n_calls > 0) is (path == "compiled" and kind is TakesBack)

    by_hand = tiny_ppo(path)
    first = by_hand.get_parameters()
    by_hand.learn(CHECK)
    by_hand.set_parameters(first)
    by_hand.learn(TOTAL - CHECK, reset_num_timesteps=False)
    assert_equal(model, by_hand)


@pytest.mark.parametrize(("every", "measured"), [(3, [4, 7, 10]), (1, list(range(2, 11)))])
def test_the_same_updates_are_measured_in_chunks(every, measured, monkeypatch):
    def run(chunks):
        callback, found = SPICallback(env(), every=every, n_episodes=2), []

        def measure(old):
            now = callback.model.get_parameters()["policy"]["actor/dense/bias"]
            found.append((callback._updates, np.asarray(old["policy"]["actor"]["dense"]["bias"]), now))

        callback._measure = measure
        if not chunks:
            callback.quiet_steps = lambda: 0
        model = tiny_ppo().learn(TOTAL, callback=callback)
        return found, model

    (alone, single), (chunked, model) = run(False), run(True)
    assert [updates for updates, *_ in chunked] == measured
    for a, b in zip(alone, chunked, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
    assert model._collector.chunked.n_calls > 0
    assert_equal(single, model)
