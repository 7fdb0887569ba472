"""An agent with a constraint: costs of episodes, advantages and objective against independent NumPy versions."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.constraint import Constraint, CostConfig, add_steps
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import flatten_rollout
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.constraints.focops import make_focops
from spi_plugins.constraints.lagrangian import make_lagrangian
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.types import ActionSpec, ArraySpec, CostRows, Rollout
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

OBS = ArraySpec(kind="box", shape=(3,), dtype="float32")
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
POLICY = ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,))
T, B, K = 4, 3, 2
COSTS = CostConfig(cost_gamma=0.9, cost_gae_lambda=0.8, cost_vf_coef=0.25)


@functools.cache
def make_agent(*, constrained=True, auxiliary="none", **settings):
    constraint = None
    if constrained:
        method = make_lagrangian(optimizer="sgd", lr=0.5, init=0.1, **settings)
        constraint = Constraint(method, ("cost", "speed"), (1.0, 2.0), B, COSTS)
    config = DeepSPIConfig(n_epochs=1, batch_size=T * B, auxiliary=auxiliary)
    return make_deep_spi(OBS, ACTIONS, POLICY, config, DeepMDPConfig(), constraint)


def make_rollout(seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Rollout(
        obs=normal(T + 1, B, 3),
        action=jnp.asarray(rng.integers(0, 2, (T, B)), jnp.int32),
        log_prob=jnp.asarray(np.log(rng.uniform(0.3, 0.7, (T, B))), jnp.float32),
        value=normal(T + 1, B),
        reward=normal(T, B),
        terminated=jnp.zeros((T, B), bool).at[1, 0].set(True),
        truncated=jnp.zeros((T, B), bool).at[2, 1].set(True),
        valid=jnp.ones((T, B), bool),
        final_obs=normal(T, B, 3),
        final_value=normal(T, B),
        costs=CostRows(
            cost=jnp.asarray(rng.integers(0, 3, (T, B, K)), jnp.float32),
            value=normal(T + 1, B, K),
            final_value=normal(T, B, K),
        ),
    )


@functools.cache
def updated(agent, *, seed=0):
    state = jax.jit(agent.init)(jax.random.key(0))
    rollout = make_rollout(seed)
    if agent.constraint is None:
        rollout = rollout._replace(costs=None)
    return state, *jax.jit(agent.update)(state, rollout, jnp.float32(1e-3), ClipRanges(jnp.float32(0.1)))


def numpy_advantages(rollout, k):
    costs = rollout.costs
    cost, value, final = (
        np.asarray(x[..., k], np.float64) for x in (costs.cost, costs.value, costs.final_value)
    )
    advantage = np.zeros((T, B))
    for b in range(B):
        running = 0.0
        for t in reversed(range(T)):
            terminated, truncated = rollout.terminated[t, b], rollout.truncated[t, b]
            after = 0.0 if terminated else final[t, b] if truncated else value[t + 1, b]
            delta = cost[t, b] + 0.9 * after - value[t, b]
            running = delta + 0.9 * 0.8 * (not (terminated or truncated)) * running
            advantage[t, b] = running
    return advantage


def test_costs_have_advantages_of_their_own_and_bootstrap_at_time_limits():
    rollout = make_rollout()
    rows = flatten_rollout(rollout, 0.99, 0.95, COSTS).rows
    for k in range(K):
        expected = numpy_advantages(rollout, k)
        found = np.asarray(rows.cost_advantage)[:, k].reshape(T, B)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        target = expected + np.asarray(rollout.costs.value[:-1, :, k])
        np.testing.assert_allclose(
            np.asarray(rows.cost_target)[:, k].reshape(T, B), target, rtol=1e-5, atol=1e-6
        )


def test_the_costs_of_episodes_are_summed_across_rollouts_and_without_reset_rows():
    running = jnp.asarray([[7.0, 3.0], [0.0, 0.0]])
    cost = jnp.asarray([[[1.0], [2.0]], [[4.0], [3.0]], [[5.0], [9.0]]])  # T=3, B=2, K=1
    done = jnp.asarray([[True, False], [False, True], [False, False]])
    valid = jnp.asarray([[True, True], [True, True], [True, False]])
    running, sums, n = jax.jit(add_steps)(running, cost, done, valid)
    np.testing.assert_array_equal(running, [[9.0, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(sums, [7 + 1 + 2 + 3, 4 + 2])  # two episodes: their costs, and their steps
    assert n == 2


def test_the_multiplier_moves_before_the_policy_by_the_episodes_that_ended():
    rollout = make_rollout()
    _, state, metrics = updated(make_agent())
    cost = np.asarray(rollout.costs.cost)
    means = (cost[:2, 0].sum(axis=0) + cost[:3, 1].sum(axis=0)) / 2
    expected = np.maximum(0.1 + 0.5 * (means - [1.0, 2.0]), 0.0)
    np.testing.assert_allclose(np.asarray(metrics.multipliers), expected, rtol=1e-5)
    np.testing.assert_allclose(state.constraint.method.price, expected, rtol=1e-5)
    np.testing.assert_allclose(state.constraint.running[0], [*cost[2:, 0].sum(axis=0), 2.0])


def numpy_layer(layer, x):
    return x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def numpy_log_probs(policy, obs):
    logits = numpy_layer(policy["actor"]["dense"], np.tanh(numpy_layer(policy["latent"]["dense0"], obs)))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def numpy_utility(rollout, price, *, normalize=True):
    reward = np.asarray(flatten_rollout(rollout, 0.99, 0.95).rows.advantage)
    reward = (reward - reward.mean()) / (reward.std() + 1e-8)
    advantages = np.stack([numpy_advantages(rollout, k).reshape(-1) for k in range(K)], axis=-1)
    centered = advantages - advantages.mean(axis=0)
    return (reward - centered @ price) / ((1 + price.sum()) if normalize else 1)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_objective_equals_an_independent_numpy_version(normalize):
    rollout = make_rollout()
    start, _, metrics = updated(make_agent(normalize=normalize))
    policy, critic = start.params["policy"], start.params["cost_critic"]
    obs = np.asarray(rollout.obs[:-1]).reshape(-1, 3)
    log_p = numpy_log_probs(policy, obs)
    action = np.asarray(rollout.action).reshape(-1)
    ratio = np.exp(log_p[np.arange(T * B), action] - np.asarray(rollout.log_prob).reshape(-1))
    price = np.asarray(metrics.multipliers)
    utility = numpy_utility(rollout, price, normalize=normalize)
    advantages = np.stack([numpy_advantages(rollout, k).reshape(-1) for k in range(K)], axis=-1)
    policy_loss = np.maximum(-ratio * utility, -np.clip(ratio, 0.9, 1.1) * utility).mean()
    values = numpy_layer(critic["head"], np.tanh(numpy_layer(critic["layers"]["dense0"], obs)))
    target = advantages + np.asarray(rollout.costs.value[:-1]).reshape(-1, K)
    cost_loss = (0.5 * (values - target) ** 2).sum(axis=-1).mean()
    np.testing.assert_allclose(metrics.policy_gradient_loss, policy_loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics.cost_value_loss, cost_loss, rtol=1e-4)
    expected = policy_loss + 0.5 * metrics.value_loss + 0.01 * metrics.entropy_loss + 0.25 * cost_loss
    np.testing.assert_allclose(metrics.loss, expected, rtol=1e-4)


def test_a_constraint_leaves_the_initial_policy_and_adds_a_critic_that_learns():
    plain, _, _ = updated(make_agent(constrained=False))
    start, end, _ = updated(make_agent())
    assert set(start.params) - set(plain.params) == {"cost_critic"}
    assert plain.constraint is None
    for one, other in zip(
        jax.tree.leaves(plain.params["policy"]), jax.tree.leaves(start.params["policy"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    before, after = (np.asarray(state.params["cost_critic"]["head"]["kernel"]) for state in (start, end))
    assert np.abs(before - after).max() > 1e-4


def test_focops_sees_the_kl_divergence_from_the_policy_before_the_update():
    """After one gradient step, by hand from the logits of both policies, in the order KL(new || old)."""
    constraint = Constraint(
        make_focops(delta=100.0, temperature=2.0), ("cost", "speed"), (1.0, 2.0), B, COSTS
    )
    config = DeepSPIConfig(n_epochs=2, batch_size=T * B, auxiliary="none")
    agent = make_deep_spi(OBS, ACTIONS, POLICY, config, DeepMDPConfig(), constraint)
    rollout, one = (
        make_rollout(),
        make_deep_spi(
            OBS, ACTIONS, POLICY, dataclasses.replace(config, n_epochs=1), DeepMDPConfig(), constraint
        ),
    )
    start = jax.jit(agent.init)(jax.random.key(0))
    rates = jnp.float32(0.05), ClipRanges(jnp.float32(0.1))
    first, before = jax.jit(one.update)(start, rollout, *rates)
    _, both = jax.jit(agent.update)(start, rollout, *rates)
    obs, action = np.asarray(rollout.obs[:-1]).reshape(-1, 3), np.asarray(rollout.action).reshape(-1)
    old, new = (numpy_log_probs(state.params["policy"], obs) for state in (start, first))
    kl = (np.exp(new) * (new - old)).sum(axis=-1)
    ratio = np.exp(new[np.arange(T * B), action] - np.asarray(rollout.log_prob).reshape(-1))
    price = np.asarray(both.multipliers)
    loss = (kl - ratio * numpy_utility(rollout, price) / 2.0).mean()
    assert kl.max() > 1e-3
    second = (
        2 * both.policy_gradient_loss - before.policy_gradient_loss
    )  # the metric is the mean of both steps
    np.testing.assert_allclose(second, loss, rtol=1e-3)


def test_what_is_not_finite_moves_nothing():
    agent, rollout = make_agent(), make_rollout()
    state = jax.jit(agent.init)(jax.random.key(0))
    spoiled = rollout.costs._replace(cost=rollout.costs.cost.at[3, 2, 0].set(jnp.nan))
    rates = jnp.float32(1e-3), ClipRanges(jnp.float32(0.1))
    end, metrics = jax.jit(agent.update)(state, rollout._replace(costs=spoiled), *rates)
    assert jnp.isnan(metrics.loss)
    for before, after in zip(
        jax.tree.leaves((state.params, state.constraint)),
        jax.tree.leaves((end.params, end.constraint)),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)


def test_in_the_utility_prices_and_model_losses_are_subtracted_together():
    """With ratio 1 the surrogate is minus the mean utility: normalized advantages have mean 0, model losses stay."""
    agent, rollout = make_agent(auxiliary="utility"), make_rollout()
    state = jax.jit(agent.init)(jax.random.key(0))
    obs = jax.tree.map(lambda x: x[:-1].reshape(-1, 3), rollout.obs)
    _, log_prob, _ = agent.evaluate(state.params, obs, rollout.action.reshape(-1))
    rollout = rollout._replace(log_prob=log_prob.reshape(T, B))
    _, metrics = jax.jit(agent.update)(state, rollout, jnp.float32(1e-3), ClipRanges(jnp.float32(0.1)))
    expected = 0.01 * metrics.reward_loss + 5e-4 * metrics.transition_loss
    assert metrics.transition_loss > 0
    np.testing.assert_allclose(metrics.policy_gradient_loss, expected, rtol=1e-4, atol=1e-6)


def test_the_world_model_of_a_constrained_agent_predicts_the_cost():
    """Its loss enters the utility with the reward's weight, and is the smooth L1 of the costs' sum."""
    constraint = make_agent().constraint
    config = DeepSPIConfig(n_epochs=1, batch_size=T * B, reward_loss_coef=0.3, transition_loss_coef=0.0)
    model = DeepMDPConfig(cost=True, lipschitz=False, transition_density="deterministic", reward_hidden=(8,))
    agent, rollout = make_deep_spi(OBS, ACTIONS, POLICY, config, model, constraint), make_rollout()
    state = jax.jit(agent.init)(jax.random.key(0))
    obs, action = rollout.obs[:-1].reshape(-1, 3), rollout.action.reshape(-1)
    _, log_prob, _ = agent.evaluate(state.params, obs, action)
    rollout = rollout._replace(log_prob=log_prob.reshape(T, B))
    _, metrics = jax.jit(agent.update)(state, rollout, jnp.float32(1e-3), ClipRanges(jnp.float32(0.1)))
    z = np.tanh(numpy_layer(state.params["policy"]["latent"]["dense0"], np.asarray(obs)))
    told = np.asarray(agent.world_model.cost(state.params["world_model"], jnp.asarray(z), action))
    error = np.abs(told - np.asarray(rollout.costs.cost).sum(axis=-1).reshape(-1))
    loss = np.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    np.testing.assert_allclose(metrics.cost_loss, loss, rtol=1e-4)
    expected = 0.3 * (metrics.reward_loss + metrics.cost_loss)
    np.testing.assert_allclose(metrics.policy_gradient_loss, expected, rtol=1e-4, atol=1e-6)
