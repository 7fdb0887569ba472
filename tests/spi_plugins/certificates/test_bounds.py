"""Formulas against exact numbers, and what must be void."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.certificates import bounds, constants, finite, off_policy, tabular
from spi_plugins.certificates.bounds import Measured
from spi_plugins.certificates.model_errors import StepErrors, model_errors, value_aware
from spi_plugins.certificates.random_problems import random_problems
from spi_plugins.certificates.values import LatentOutcome, latent_returns

N, GAMMA, C = 200, 0.9, 1.05


@pytest.fixture(scope="module")
def exact():
    """Problems, and the exact numbers that formulas need."""
    found = random_problems(np.random.default_rng(0), N, gamma=GAMMA, constant=C, noise=0.02)
    mdp, abstraction, pair = found
    new = finite.composed(pair.new, abstraction.encoder)
    v = tabular.model_values(mdp, abstraction, pair.new)
    errors = tabular.model_errors(mdp, abstraction, v)
    visits = finite.visits(mdp, pair.old, 1.0)
    length = visits.sum(axis=(1, 2))
    means = [(visits * each).sum(axis=(1, 2)) / length for each in errors]
    return mdp, abstraction, pair, new, v, length, means, visits


def test_the_improvement_formula_is_below_the_truth(exact):
    mdp, abstraction, pair, new, v, length, (reward, transition, _), _ = exact
    constant = tabular.lipschitz_constants(abstraction, pair.new, v).value
    start = (finite.push(mdp.start, abstraction.encoder, v.shape[-1]) * v).sum(axis=-1)
    old, truth = finite.value(mdp, pair.old), finite.value(mdp, new)
    for i in range(N):
        measured = Measured(C, length[i], reward[i], transition[i], 0.0, constant[i], 0.0, start[i], old[i])
        found = bounds.improvement(measured, GAMMA, 1.0, ())
        assert found.void is None
        assert found.value <= truth[i] - old[i] + 1e-9


def test_values_differ_by_more_than_latents_as_rarely_as_promised(exact):
    mdp, abstraction, pair, new, v, length, (reward, transition, _), visits = exact
    constant = tabular.lipschitz_constants(abstraction, pair.new, v).value
    true, said = finite.values(mdp, new), 0
    for i in range(N):
        step_error = reward[i] + GAMMA * constant[i] * transition[i]
        weight = visits[i].sum(axis=1) / length[i]
        apart = constant[i] * (abstraction.encoder[i][:, None] != abstraction.encoder[i][None])
        gap = np.abs(true[i][:, None] - true[i][None]) - apart
        for epsilon in (0.5, 2.0):
            found = bounds.representation(step_error, C, GAMMA, epsilon)
            assert (weight[:, None] * weight[None] * (gap > epsilon + 1e-9)).sum() <= found.value
            said += not found.vacuous
    assert said > 0
    assert "not below" in bounds.representation(0.1, 1 / GAMMA, GAMMA, 1.0).void


def test_the_bound_without_a_model_is_below_the_truth(exact):
    mdp, _, pair, new, *_ = exact
    gain = (finite.advantages(mdp, pair.old) * new).sum(axis=-1)
    states = (1 - GAMMA) * finite.visits(mdp, pair.old, GAMMA).sum(axis=-1)
    truth = finite.value(mdp, new) - finite.value(mdp, pair.old)
    total_variation = 0.5 * np.abs(new - pair.old).sum(axis=-1)
    assert total_variation.max() <= (C - 1) / 2 + 1e-9
    for i in range(N):
        found = bounds.model_free((states[i] * gain[i]).sum(), np.abs(gain[i]).max(), C, GAMMA)
        assert found.value <= truth[i] + 1e-9


def test_sampled_numbers_are_diagnostics_and_void_ones_say_why():
    measured = Measured(1.2, 10.0, 0.1, 0.1, 0.0, math.inf, 0.0, 1.0, 0.5)
    assert "above 1/γ" in bounds.improvement(measured, 0.99, 1.0, ()).void
    assert "γ K_P" in bounds.improvement(measured, 0.5, 1.0, ()).void
    told = bounds.sampled_improvement(measured._replace(value_constant=2.0), 0.5)
    assert "cannot be known" in told.caveat
    assert not hasattr(told, "confidence")
    assert constants.value_constant(1.0, 1.0, 0.9) == pytest.approx(10.0)
    assert constants.value_constant(1.0, 1.2, 0.9) == math.inf
    assert constants.policy_averaged(1.0, 2.0, 0.25) == 1.5


def test_a_policys_head_changes_no_faster_than_its_constant():
    rng = np.random.default_rng(0)
    policy = {
        "pi": {"dense0": {"kernel": jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)}},
        "actor": {"dense": {"kernel": jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)}},
    }
    bound = constants.head_constant(policy, "tanh")
    z = rng.normal(size=(300, 3)).astype(np.float32)
    hidden = jnp.tanh(z @ policy["pi"]["dense0"]["kernel"])
    p = np.asarray(jax.nn.softmax(hidden @ policy["actor"]["dense"]["kernel"]))
    apart = np.sqrt(((z[:, None] - z[None]) ** 2).sum(-1))
    moved = 0.5 * np.abs(p[:, None] - p[None]).sum(-1)
    steepest = (moved[apart > 0.01] / apart[apart > 0.01]).max()
    assert steepest <= bound <= 20 * steepest
    assert constants.head_constant(policy, "gelu") == math.inf
    assert constants.head_constant(policy, "gelu", certified=2.0) == pytest.approx(math.sqrt(2) / 2)
    # The same bound holds for an action of two independent entries.
    first, second = (
        np.asarray(jax.nn.softmax(x)) for x in np.split(hidden @ policy["actor"]["dense"]["kernel"], 2, 1)
    )
    joint = (first[:, :, None] * second[:, None, :]).reshape(len(z), -1)
    moved = 0.5 * np.abs(joint[:, None] - joint[None]).sum(-1)
    assert (moved[apart > 0.01] / apart[apart > 0.01]).max() <= bound
    estimate = constants.empirical_constant("policy", z, p)
    assert "estimate" in estimate.caveat


def test_the_value_aware_error_vanishes_for_a_right_model_of_noise_and_finds_a_wrong_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    episode = np.repeat(np.arange(400), 10)
    noise = rng.normal(size=4000)
    assert value_aware(noise, x, episode) < 0.08
    assert value_aware(noise + x[:, 0], x, episode) == pytest.approx(1.0, abs=0.1)
    errors = StepErrors(*(np.abs(noise) * scale for scale in (1.0, 2.0, 0.0)), noise, 3 * noise)
    found = model_errors(errors, episode, x)
    assert found.reward.mean <= found.reward.upper
    assert found.transition.mean == pytest.approx(2 * found.reward.mean)
    assert found.episode_length == 10


def test_latent_rollouts_discount_and_end():
    def step(z, key):
        return LatentOutcome(z, jnp.ones(len(z)), jnp.full(len(z), 0.5))

    returns = latent_returns(step, jnp.zeros((4, 2)), jax.random.key(0), 60, 0.8)
    np.testing.assert_allclose(returns, 1 / (1 - 0.4), rtol=1e-5)


def test_returns_are_bounded_at_the_stated_rate_on_and_off_policy():
    """A bandit of 5 steps; action 1 pays 1, and the new policy takes it more often."""
    rng, missed, runs = np.random.default_rng(0), np.zeros(2), 400
    old, new = 0.5, 0.55
    for _ in range(runs):
        taken = rng.random((300, 5)) < old
        log_ratio = np.where(taken, np.log(new / old), np.log((1 - new) / (1 - old))).sum(axis=1)
        returns = taken.sum(axis=1).astype(float)
        missed[0] += off_policy.evaluate(returns, 0, 5, 0.2).value > 5 * old
        missed[1] += off_policy.evaluate_from(returns, log_ratio, 0, 5, 0.2, clip=2.0).value > 5 * new
    assert (missed <= 0.2 * runs).all()
    assert off_policy.evaluate_from(np.ones(3), np.array([0.0, np.inf, 0.0]), 0, 5).void is not None
    assert off_policy.old_value(np.ones(1000), 0, 5) >= 1.0
