"""Rows that another policy has collected, corrected by today's: against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.loss import objective
from spi_plugins.agents.deep_spi.minibatches import take_minibatch
from spi_plugins.agents.dream_spi.replay import LOG_RATIO_BOUND, Sequences, corrected_rows
from spi_plugins.agents.on_policy import Parts
from spi_plugins.distributions import action_distribution
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ArraySpec

OBS = ArraySpec(kind="box", shape=(3,), dtype="float32")
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
POLICY = make_actor_critic(OBS, ACTIONS, ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,), latent=(6,)))
CONFIG = DeepSPIConfig(auxiliary="none", gamma=0.9, gae_lambda=0.8, normalize_advantage=False)
PARTS = Parts(CONFIG, ACTIONS, POLICY, action_distribution(ACTIONS), None)
PARAMS = {"policy": POLICY.init(jax.random.key(0))}
N, T = 4, 5


def make_sequences():
    rng = np.random.default_rng(0)
    done = np.zeros((N, T), bool)
    done[0, 2] = done[1, 3] = True
    behaviour = np.log(rng.uniform(0.05, 0.95, (N, T)))
    return Sequences(
        obs=jnp.asarray(rng.normal(size=(N, T, 3)), jnp.float32),
        next_obs=jnp.asarray(rng.normal(size=(N, T, 3)), jnp.float32),
        action=jnp.asarray(rng.integers(0, 2, (N, T)), jnp.int32),
        log_prob=jnp.asarray(behaviour, jnp.float32),
        reward=jnp.asarray(rng.normal(size=(N, T)), jnp.float32),
        terminated=jnp.asarray(done & (np.arange(N) == 0)[:, None]),
        truncated=jnp.asarray(done & (np.arange(N) == 1)[:, None]),
        valid=jnp.ones((N, T), bool),
    )


def policy_log_prob(obs, action):
    features = POLICY.features(PARAMS["policy"], obs)
    z = POLICY.latent(PARAMS["policy"], features)
    logits = np.asarray(POLICY.evaluate(PARAMS["policy"], obs, features, z).parameters, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return log_p[np.arange(len(log_p)), np.asarray(action)]


def critic(obs):
    return np.asarray(POLICY.value(PARAMS["policy"], obs), np.float64)


@pytest.fixture(params=["eager", "jit"])
def correct(request):
    return corrected_rows if request.param == "eager" else jax.jit(corrected_rows, static_argnums=(0, 3))


def by_numpy(sequences, correction):
    """(log-probability, weight, advantage, target), each ``[T, N]``."""
    out = np.zeros((4, T, N))
    for n in range(N):
        log_pi = policy_log_prob(sequences.obs[n], sequences.action[n])
        log_ratio = np.clip(log_pi - np.asarray(sequences.log_prob[n], np.float64), -3, 3)
        value, following = critic(sequences.obs[n]), critic(sequences.next_obs[n])
        reward, terminated = np.asarray(sequences.reward[n]), np.asarray(sequences.terminated[n])
        done = terminated | np.asarray(sequences.truncated[n])
        rho = np.minimum(1.0, np.exp(log_ratio)) if correction == "vtrace" else np.ones(T)
        x = np.zeros(T + 1)
        for t in reversed(range(T)):
            delta = reward[t] + 0.9 * following[t] * (not terminated[t]) - value[t]
            x[t] = rho[t] * delta + 0.9 * (not done[t]) * 0.8 * rho[t] * x[t + 1]
            ahead = delta + 0.9 * (not done[t]) * x[t + 1]
            advantage = ahead if correction == "vtrace" else x[t]
            out[:, t, n] = log_pi[t], np.exp(log_ratio[t]), advantage, value[t] + x[t]
    return out.reshape(4, -1)


@pytest.mark.parametrize("correction", ["ratio", "vtrace"])
def test_rows_are_corrected_as_the_formulas_say(correct, correction):
    sequences = make_sequences()
    rows = correct(PARTS, PARAMS, sequences, correction).rows
    log_prob, weight, advantage, target = by_numpy(sequences, correction)
    np.testing.assert_allclose(rows.log_prob, log_prob, rtol=1e-4)
    np.testing.assert_allclose(rows.weight, weight, rtol=1e-4)
    np.testing.assert_allclose(rows.advantage, advantage, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows.target, target, rtol=1e-4, atol=1e-5)


def test_weights_stay_within_their_bound():
    sequences = make_sequences()._replace(log_prob=jnp.full((N, T), -50.0).at[0].set(0.0))
    rows = corrected_rows(PARTS, PARAMS, sequences, "ratio").rows
    assert np.asarray(rows.weight).max() == pytest.approx(np.exp(LOG_RATIO_BOUND))


def test_rows_keep_their_successors_and_are_time_major():
    sequences = make_sequences()
    replayed = corrected_rows(PARTS, PARAMS, sequences, "ratio")
    batch = take_minibatch(replayed, jnp.asarray([0, 5, 19]), with_next=True)
    # Row i is step i // N of sequence i % N.
    for row, (n, t) in enumerate([(0, 0), (1, 1), (3, 4)]):
        np.testing.assert_array_equal(batch.obs[row], sequences.obs[n, t])
        np.testing.assert_array_equal(batch.next_obs[row], sequences.next_obs[n, t])


def test_the_weighted_surrogate_is_the_official_one_of_ratios_to_the_policy_that_acted():
    """Mean of max(-k U, -clip(k, c (1 - e), c (1 + e)) U) with k = new/acted and c = old/acted."""
    sequences = make_sequences()
    rows = corrected_rows(PARTS, PARAMS, sequences, "ratio").rows
    rng = np.random.default_rng(1)
    new = jax.tree.map(lambda x: x + 0.3 * jnp.asarray(rng.normal(size=x.shape), jnp.float32), PARAMS)
    run = functools.partial(
        objective, parts=PARTS, batch=rows, clip_range=ClipRanges(jnp.asarray(0.1)), key=jax.random.key(0)
    )
    _, metrics = run(new)
    features = POLICY.features(new["policy"], rows.obs)
    logits = POLICY.evaluate(
        new["policy"], rows.obs, features, POLICY.latent(new["policy"], features)
    ).parameters
    log_new = np.asarray(PARTS.distribution.log_prob(logits, rows.action), np.float64)
    acted = np.swapaxes(np.asarray(sequences.log_prob, np.float64), 0, 1).reshape(-1)
    log_old = np.asarray(rows.log_prob, np.float64)
    assert np.abs(log_old - acted).max() < LOG_RATIO_BOUND
    k, c, u = np.exp(log_new - acted), np.exp(log_old - acted), np.asarray(rows.advantage, np.float64)
    expected = np.maximum(-k * u, -np.clip(k, 0.9 * c, 1.1 * c) * u).mean()
    np.testing.assert_allclose(metrics["policy_gradient_loss"], expected, rtol=1e-4)
    assert metrics["clip_fraction"] > 0.1
