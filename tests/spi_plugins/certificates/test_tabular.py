"""Bounds against the truth on random processes, all problems of a case at once."""

import itertools
import math

import numpy as np
import pytest

from spi_plugins.certificates import finite, tabular
from spi_plugins.certificates.finite import FiniteMDP
from spi_plugins.certificates.random_problems import Problems, random_problems
from spi_plugins.certificates.tabular import Pair

N = 250
ROUNDING = 1e-9


def problems(seed=0, n=N, **options):
    return random_problems(np.random.default_rng(seed), n, **options)


def true_improvement(found):
    mdp, abstraction, pair = found
    new = finite.composed(pair.new, abstraction.encoder)
    return finite.value(mdp, new) - finite.value(mdp, pair.old)


def one(found: Problems, i: int = 0) -> Problems:
    """A single problem of many."""

    def pick(x):
        return x[i] if isinstance(x, np.ndarray) else x

    return Problems(*(type(part)(*map(pick, part)) for part in found))


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.05])
@pytest.mark.parametrize("constant", [1.02, 1.1])
@pytest.mark.parametrize("line", [False, True])
def test_no_bound_is_above_the_true_improvement_and_each_step_is_looser(noise, constant, line):
    found = problems(gamma=0.9, noise=noise, constant=constant, line=line)
    truth, bounds = true_improvement(found), tabular.improvement(*found)
    for bound in bounds:
        assert (bound <= truth + ROUNDING).all()
    for tighter, looser in itertools.pairwise(bounds):
        assert (looser <= tighter + ROUNDING).all()
    assert np.isfinite(bounds.length).all()


def test_an_exact_model_loses_nothing():
    found = problems(noise=0.0)
    np.testing.assert_allclose(tabular.improvement(*found).theorem, true_improvement(found), atol=1e-9)
    assert (
        tabular.improvement(*problems(noise=1e-3)).visits > 0
    ).mean() > 0.2  # some are certified all the same


def test_values_are_those_of_simulated_episodes():
    mdp, _, pair = one(problems(noise=0.1))
    rng, n = np.random.default_rng(1), 20_000
    states = rng.choice(12, size=n, p=mdp.start)
    total, length, alive = np.zeros(n), np.zeros(n), np.ones(n, bool)
    for t in range(150):
        actions = _draw(rng, pair.old[states])
        total += alive * mdp.gamma**t * mdp.reward[states, actions]
        length += alive
        after = _draw(rng, finite.with_end(mdp.transition[states, actions]))
        alive &= after < 12
        states = np.minimum(after, 11)
    assert abs(total.mean() - finite.value(mdp, pair.old)) < 5 * total.std() / math.sqrt(n)
    assert abs(length.mean() - finite.visits(mdp, pair.old, 1.0).sum()) < 5 * length.std() / math.sqrt(n)


def _draw(rng, p):
    return (p.cumsum(axis=-1) < rng.random((len(p), 1))).sum(axis=-1).clip(max=p.shape[-1] - 1)


@pytest.mark.parametrize("constant", [1.01, 1.3, 1.9])
def test_updates_in_the_neighborhood_improve_monotonically(constant):
    mdp, _, pair = problems(noise=0.5, gamma=0.95)
    policy, last = pair.old, finite.value(mdp, pair.old)
    first = last
    for _ in range(30):
        new = tabular.improve(mdp, policy, constant)
        largest, smallest = tabular.ratios(policy, new)
        assert (largest <= constant + 1e-9).all()
        assert (smallest >= 2 - constant - 1e-9).all()
        np.testing.assert_allclose(new.sum(axis=-1), 1.0)
        now = finite.value(mdp, new)
        assert (now >= last - ROUNDING).all()
        policy, last = new, now
    if constant == 1.9:
        best = _optimal_values(mdp)
        assert (best - last).mean() <= 0.01 * (best - first).mean()


def _optimal_values(mdp):
    v = np.zeros(mdp.reward.shape[:-1])
    for _ in range(400):
        v = (mdp.reward + mdp.gamma * np.einsum("nsax,nx->nsa", mdp.transition, v)).max(axis=-1)
    return (mdp.start * v).sum(axis=-1)


def test_a_projected_policy_is_on_the_border_and_one_inside_stays():
    rng = np.random.default_rng(0)
    old, new = (rng.dirichlet(np.ones(4), size=(N, 6)) for _ in range(2))
    projected = tabular.project(old, new, 1.2)
    largest, smallest = tabular.ratios(old, projected)
    np.testing.assert_allclose(np.maximum(largest - 1, 1 - smallest), 0.2)
    np.testing.assert_allclose(projected.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(tabular.project(old, projected, 1.3), projected)


def test_planted_violations_are_reported():
    mdp, abstraction, pair = one(problems(noise=0.0, constant=1.05))
    honest = tabular.certify(mdp, abstraction, pair)
    assert honest.void is None
    assert honest.vacuity < 1e-9

    pushed = pair.new.copy()
    pushed[0] = [1.0, 0.0, 0.0]  # out of the band
    assert "above 1/γ" in tabular.certify(mdp, abstraction, Pair(pair.old, pushed), theorem=True).void
    never = pair.old.copy()
    never[:, 0], never[:, 1] = 0.0, never[:, 0] + never[:, 1]
    assert "unbounded" in tabular.certify(mdp, abstraction, Pair(never, pair.new)).void

    shuffled = abstraction._replace(transition=abstraction.transition[::-1])
    lying = abstraction._replace(reward=10 * abstraction.reward)
    for corrupted in (shuffled, lying):
        for theorem in (False, True):
            bound = tabular.certify(mdp, corrupted, pair, theorem=theorem)
            assert bound.vacuity > 100 * honest.vacuity + 0.05  # the loss says so, and the bound still holds
            assert bound.value <= true_improvement((mdp, abstraction, pair)) + ROUNDING


def test_the_theorem_is_void_where_the_model_expands():
    mdp, abstraction, pair = one(problems(noise=0.0, line=True))
    close = abstraction._replace(positions=abstraction.positions * np.array([1e-3, 1, 1, 1, 1, 1]))
    assert "γ K_P" in tabular.certify(mdp, close, pair, theorem=True).void
    assert tabular.certify(mdp, close, pair).void is None


def test_an_episode_that_never_ends_certifies_nothing():
    chain = np.broadcast_to(np.eye(2)[:, None], (2, 2, 2)).copy()  # every action stays
    mdp = FiniteMDP(chain, np.ones((2, 2)), np.array([1.0, 0.0]), 0.9)
    abstraction = tabular.best_abstraction(mdp, np.array([0, 0]), 1, np.full((2, 2), 0.5))
    pair = Pair(np.array([[0.4, 0.6]] * 2), np.array([[0.6, 0.4]]))
    assert tabular.certify(mdp, abstraction, pair).void is None  # without an error there is nothing to add up
    found = tabular.certify(mdp, abstraction._replace(reward=abstraction.reward + 0.1), pair)
    assert "does not converge" in found.void
    assert found.value == -math.inf


def test_terminal_states_end_episodes():
    table = np.zeros((3, 1, 3))
    table[0, 0, 1] = table[1, 0, 2] = table[2, 0, 2] = 1.0
    mdp = FiniteMDP(table, np.array([[1.0], [2.0], [5.0]]), np.array([1.0, 0, 0]), 0.5)
    ended = finite.without_terminal(mdp, np.array([False, False, True]))
    policy = np.ones((3, 1))
    assert finite.value(ended, policy) == 2.0
    assert finite.visits(ended, policy, 1.0).sum() == 2.0
