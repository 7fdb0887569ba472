import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.returns import generalized_advantages, one_step_errors, v_trace

T, B = 6, 3
GAMMA, LAMBDA = 0.9, 0.7


@pytest.fixture(params=["eager", "jit"])
def trace_of(request):
    trace = functools.partial(v_trace, discount=GAMMA, gae_lambda=LAMBDA)
    return trace if request.param == "eager" else jax.jit(trace)


def steps(seed):
    """Rewards, values, next values, log ratios, and ends of which every second is a time limit."""
    rng = np.random.default_rng(seed)
    reward, value, next_value, log_ratio = rng.normal(size=(4, T, B)).astype(np.float32)
    done = rng.random((T, B)) < 0.3
    terminated = done & (rng.random((T, B)) < 0.5)
    return reward, value, next_value, log_ratio, terminated, done


def errors(reward, value, next_value, terminated):
    return one_step_errors(*map(jnp.asarray, (reward, value, next_value, terminated)), discount=GAMMA)


def sums_of_the_paper(reward, value, next_value, log_ratio, terminated, done):
    """Eq. 1 of IMPALA term by term: discounts times products of c from the row on, until the episode ends."""
    correction = np.zeros((T, B))
    for b in range(B):
        for s in range(T):
            factor = 1.0
            for t in range(s, T):
                delta = reward[t, b] + GAMMA * next_value[t, b] * (not terminated[t, b]) - value[t, b]
                correction[s, b] += factor * min(1.0, np.exp(log_ratio[t, b])) * delta
                if done[t, b]:
                    break
                factor *= GAMMA * LAMBDA * min(1.0, np.exp(log_ratio[t, b]))
    return correction


@pytest.mark.parametrize("seed", range(3))
def test_v_trace_equals_the_sums_of_the_paper(trace_of, seed):
    reward, value, next_value, log_ratio, terminated, done = steps(seed)
    trace = trace_of(
        errors(reward, value, next_value, terminated),
        jnp.asarray(log_ratio),
        jnp.asarray(1.0 - done, jnp.float32),
    )
    expected = sums_of_the_paper(reward, value, next_value, log_ratio, terminated, done)
    np.testing.assert_allclose(trace.correction, expected, rtol=1e-4, atol=1e-5)
    # The advantage looks one step ahead to the corrected value: r + discount * v_trace(next) - v.
    for t in range(T - 1):
        ahead = next_value[t] * ~terminated[t] + expected[t + 1] * ~done[t]
        np.testing.assert_allclose(
            trace.advantage[t], reward[t] + GAMMA * ahead - value[t], rtol=1e-4, atol=1e-5
        )


def test_on_the_policys_own_rows_the_target_is_that_of_generalized_advantages(trace_of):
    reward, value, next_value, _, terminated, done = steps(3)
    trace = trace_of(
        errors(reward, value, next_value, terminated), jnp.zeros((T, B)), jnp.asarray(1.0 - done, jnp.float32)
    )
    advantage = generalized_advantages(
        *map(jnp.asarray, (reward, value, next_value, terminated, done)), discount=GAMMA, gae_lambda=LAMBDA
    )
    np.testing.assert_allclose(trace.correction, advantage, rtol=1e-5)


def test_an_action_that_the_policy_would_not_take_leaves_the_value_as_it_is(trace_of):
    reward, value, next_value, _, terminated, done = steps(4)
    never = jnp.full((T, B), -80.0)
    trace = trace_of(
        errors(reward, value, next_value, terminated), never, jnp.asarray(1.0 - done, jnp.float32)
    )
    np.testing.assert_allclose(trace.correction, 0.0, atol=1e-20)
