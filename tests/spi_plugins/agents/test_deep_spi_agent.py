import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import flatten_rollout, take_minibatch
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.types import ActionSpec, ArraySpec, Rollout
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

OBS = ArraySpec(kind="box", shape=(3,), dtype="float32")
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
POLICY = ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,))
T, B = 4, 4


@functools.cache  # tests that share an agent share its programs
def make_agent(**kwargs):
    defaults = {"n_epochs": 1, "batch_size": T * B}
    return make_deep_spi(OBS, ACTIONS, POLICY, DeepSPIConfig(**{**defaults, **kwargs}), DeepMDPConfig())


def make_rollout(seed=0, *, same_step=False, n_steps=T):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Rollout(
        obs=normal(n_steps + 1, B, 3),
        action=jnp.asarray(rng.integers(0, 2, (n_steps, B)), jnp.int32),
        log_prob=jnp.asarray(np.log(rng.uniform(0.3, 0.7, (n_steps, B))), jnp.float32),
        value=normal(n_steps + 1, B),
        reward=normal(n_steps, B),
        terminated=jnp.zeros((n_steps, B), bool).at[1, 0].set(True),
        truncated=jnp.zeros((n_steps, B), bool).at[2, 1].set(True),
        valid=jnp.ones((n_steps, B), bool),
        final_obs=normal(n_steps, B, 3) if same_step else None,
        final_value=normal(n_steps, B) if same_step else None,
    )


def run_update(agent, rollout, seed=0, learning_rate=1e-3, clip_range=0.1):
    state = jax.jit(agent.init)(jax.random.key(seed))
    return jax.jit(agent.update)(
        state, rollout, jnp.float32(learning_rate), ClipRanges(jnp.float32(clip_range))
    )


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_deep_spi_without_coefficients_is_ppo_bit_for_bit():
    ppo, spi = make_agent(auxiliary="none"), make_agent(reward_loss_coef=0.0, transition_loss_coef=0.0)
    for seed in range(3):
        one, _ = run_update(ppo, make_rollout(seed), seed)
        other, _ = run_update(spi, make_rollout(seed), seed)
        for a, b in zip(leaves(one.params), leaves(other.params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_world_model_changes_the_update_and_where_it_enters_matters():
    agents = [make_agent(auxiliary=name, reward_loss_coef=1.0) for name in ("none", "utility", "additive")]
    updates = [run_update(agent, make_rollout())[0] for agent in agents]
    kernels = [np.asarray(state.params["policy"]["latent"]["dense0"]["kernel"]) for state in updates]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-6
    assert np.abs(kernels[1] - kernels[2]).max() > 1e-6


def numpy_forward(params, obs):
    def dense(layer, x):
        return x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])

    hidden = np.tanh(dense(params["latent"]["dense0"], obs))
    logits = dense(params["actor"]["dense"], hidden)
    value = dense(params["critic"], np.tanh(dense(params["vf"]["dense0"], obs)))[:, 0]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), value


def numpy_gae(rollout, gamma=0.99, lam=0.95):
    r, v = np.asarray(rollout.reward, np.float64), np.asarray(rollout.value, np.float64)
    terminated, done = np.asarray(rollout.terminated), np.asarray(rollout.terminated | rollout.truncated)
    advantage = np.zeros_like(r)
    for b in range(r.shape[1]):
        running = 0.0
        for t in reversed(range(r.shape[0])):
            delta = r[t, b] + gamma * v[t + 1, b] * (not terminated[t, b]) - v[t, b]
            advantage[t, b] = running = delta + gamma * lam * (not done[t, b]) * running
    return advantage


def test_the_objective_equals_an_independent_numpy_version():
    agent, rollout = make_agent(auxiliary="none"), make_rollout()
    params = jax.jit(agent.init)(jax.random.key(0)).params["policy"]
    _, metrics = run_update(agent, rollout)
    log_p, value = numpy_forward(params, np.asarray(rollout.obs[:-1]).reshape(-1, 3))
    action = np.asarray(rollout.action).reshape(-1)
    log_ratio = log_p[np.arange(T * B), action] - np.asarray(rollout.log_prob).reshape(-1)
    ratio = np.exp(log_ratio)
    advantage = numpy_gae(rollout).reshape(-1)
    target = advantage + np.asarray(rollout.value[:-1]).reshape(-1)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    policy_loss = np.maximum(-ratio * scaled, -np.clip(ratio, 0.9, 1.1) * scaled).mean()
    value_loss = 0.5 * ((value - target) ** 2).mean()
    entropy = -(np.exp(log_p) * log_p).sum(-1).mean()
    expected = {
        "policy_gradient_loss": policy_loss,
        "value_loss": value_loss,
        "entropy_loss": -entropy,
        "loss": policy_loss + 0.5 * value_loss - 0.01 * entropy,
        "approx_kl": (ratio - 1 - log_ratio).mean(),
        "clip_fraction": (np.abs(ratio - 1) > 0.1).mean(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "ratio_outside": ((ratio < 0.9) | (ratio > 1.1)).mean(),
        "explained_variance": 1 - (target - np.asarray(rollout.value[:-1]).reshape(-1)).var() / target.var(),
    }
    for name, number in expected.items():
        np.testing.assert_allclose(getattr(metrics, name), number, rtol=2e-5, atol=1e-6, err_msg=name)


def test_the_utility_enters_as_advantage_minus_weighted_model_losses():
    """With ratio 1 everywhere the surrogate is minus the mean utility: minus mean advantage (0) plus the losses."""
    agent = make_agent(reward_loss_coef=0.3, transition_loss_coef=0.02)
    rollout = make_rollout()
    params = jax.jit(agent.init)(jax.random.key(0)).params["policy"]
    log_p, _ = numpy_forward(params, np.asarray(rollout.obs[:-1]).reshape(-1, 3))
    chosen = log_p[np.arange(T * B), np.asarray(rollout.action).reshape(-1)].reshape(T, B)
    _, metrics = run_update(agent, rollout._replace(log_prob=jnp.asarray(chosen)))
    expected = 0.3 * metrics.reward_loss + 0.02 * metrics.transition_loss
    assert metrics.transition_loss > 0
    np.testing.assert_allclose(metrics.policy_gradient_loss, expected, rtol=1e-5)


@pytest.mark.parametrize("auxiliary", ["none", "utility"])
def test_what_a_reset_row_holds_changes_nothing(auxiliary):
    rollout = make_rollout()
    valid = rollout.valid.at[2, 0].set(False)  # the row after the terminal one of environment 0
    rollout = rollout._replace(valid=valid, reward=rollout.reward.at[2, 0].set(0.0))
    garbage = rollout._replace(
        reward=rollout.reward.at[2, 0].set(100.0),
        action=rollout.action.at[2, 0].set(1 - rollout.action[2, 0]),
        log_prob=rollout.log_prob.at[2, 0].set(-9.0),
    )
    agent = make_agent(auxiliary=auxiliary, n_epochs=2, batch_size=T * B // 2)
    one, _ = run_update(agent, rollout)
    other, _ = run_update(agent, garbage)
    for a, b in zip(leaves(one.params), leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_time_limits_bootstrap_from_the_state_before_the_reset():
    rollout = make_rollout(same_step=True)
    rows = flatten_rollout(rollout, gamma=0.5, gae_lambda=0.0).rows
    advantage = np.asarray(rows.advantage).reshape(T, B)
    # one-step errors: at the limit the value of the final observation counts, after a terminal state nothing does.
    limit = rollout.reward[2, 1] + 0.5 * rollout.final_value[2, 1] - rollout.value[2, 1]
    terminal = rollout.reward[1, 0] - rollout.value[1, 0]
    inner = rollout.reward[0, 2] + 0.5 * rollout.value[1, 2] - rollout.value[0, 2]
    np.testing.assert_allclose(
        [advantage[2, 1], advantage[1, 0], advantage[0, 2]], [limit, terminal, inner], rtol=1e-5
    )


@pytest.mark.parametrize("same_step", [False, True])
def test_successors_come_from_the_next_row_or_from_the_final_observation(same_step):
    rollout = make_rollout(same_step=same_step)
    index = jnp.asarray([0, 5, 15])
    batch = take_minibatch(flatten_rollout(rollout, 0.9, 0.9), index, with_next=True)
    source = rollout.final_obs if same_step else rollout.obs[1:]
    np.testing.assert_array_equal(batch.next_obs, np.asarray(source).reshape(-1, 3)[np.asarray(index)])
    np.testing.assert_array_equal(batch.obs, np.asarray(rollout.obs).reshape(-1, 3)[np.asarray(index)])


def test_the_drift_form_with_coefficient_one_gives_the_same_update():
    one, _ = run_update(make_agent(), make_rollout())
    other, _ = run_update(make_agent(drift_coef=1.0), make_rollout())
    for a, b in zip(leaves(one.params), leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_target_kl_stops_the_update():
    rollout = make_rollout()
    start = jax.jit(make_agent(auxiliary="none", target_kl=1e-6).init)(jax.random.key(0))
    state, metrics = run_update(make_agent(auxiliary="none", target_kl=1e-6, n_epochs=3), rollout)
    assert metrics.n_updates == 0
    for a, b in zip(leaves(start.params), leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)
    _, metrics = run_update(make_agent(auxiliary="none", target_kl=1e6, n_epochs=3), rollout)
    assert metrics.n_updates == 3


def test_every_row_is_visited_once_an_epoch():
    """With a learning rate of zero the mean of the minibatch losses is the loss of the whole batch."""
    rollout = make_rollout()
    _, whole = run_update(make_agent(auxiliary="none"), rollout, learning_rate=0.0)
    _, parts = run_update(make_agent(auxiliary="none", batch_size=4, n_epochs=2), rollout, learning_rate=0.0)
    np.testing.assert_allclose(parts.value_loss, whole.value_loss, rtol=1e-5)
    np.testing.assert_allclose(parts.ratio_max, whole.ratio_max, rtol=1e-6)


def test_the_gradient_norm_is_bounded_over_policy_and_world_model_together():
    agent = make_agent(max_grad_norm=0.5)
    state = jax.jit(agent.init)(jax.random.key(0))
    _, metrics = run_update(agent, make_rollout()._replace(reward=100.0 * make_rollout().reward))
    assert metrics.grad_norm > 0.5  # as computed, before the bound
    assert "world_model" in state.params


def test_update_is_traced_once():
    agent = make_agent()
    update = jax.jit(agent.update, donate_argnums=0)
    state = jax.jit(agent.init)(jax.random.key(0))
    for seed in range(3):
        state, _ = update(state, make_rollout(seed), jnp.float32(1e-3), ClipRanges(jnp.float32(0.1)))
    assert update._cache_size() == 1


MULTI = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))
BOX = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))


@pytest.mark.parametrize(
    ("spec", "density"),
    [(MULTI, "mixture"), (BOX, "normal"), (BOX, "deterministic")],
    ids=["multi", "box-normal", "box"],
)
def test_every_action_kind_and_density_updates(spec, density):
    agent = make_deep_spi(
        OBS,
        spec,
        POLICY,
        DeepSPIConfig(n_epochs=1, batch_size=T * B),
        DeepMDPConfig(transition_density=density),
    )
    state = jax.jit(agent.init)(jax.random.key(0))
    act = jax.vmap(functools.partial(agent.act, state.params))(
        make_rollout().obs[:-1], jax.random.split(jax.random.key(1), T)
    )
    rollout = make_rollout()._replace(action=act.action, log_prob=act.log_prob)
    state, metrics = jax.jit(agent.update)(state, rollout, jnp.float32(1e-3), ClipRanges(jnp.float32(0.1)))
    assert np.isfinite(metrics.loss)
    assert metrics.transition_loss > 0
    assert all(np.isfinite(leaf).all() for leaf in leaves(state.params))


def test_a_categorical_latent_updates():
    policy = ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,), categorical_latent=(4, 4))
    model = DeepMDPConfig(transition_density="categorical", lipschitz=False)
    agent = make_deep_spi(OBS, ACTIONS, policy, DeepSPIConfig(n_epochs=1, batch_size=T * B), model)
    _, metrics = run_update(agent, make_rollout())
    assert np.isfinite(metrics.loss)
    assert metrics.transition_loss > 0


def test_a_value_beyond_its_clip_range_has_no_gradient():
    agent, rollout = make_agent(auxiliary="none", ent_coef=0.0), make_rollout()
    state, update = jax.jit(agent.init)(jax.random.key(0)), jax.jit(agent.update)

    def critic_moves(bound):
        # The values of the rollout are not the critic's, so that a narrow bound is left from the start.
        ranges = ClipRanges(jnp.float32(0.1), bound)
        after = update(state, rollout, jnp.float32(1e-3), ranges)[0].params["policy"]["critic"]
        return any(
            (a != b).any()
            for a, b in zip(leaves(state.params["policy"]["critic"]), leaves(after), strict=True)
        )

    assert critic_moves(None)
    assert critic_moves(jnp.float32(100.0))
    assert not critic_moves(jnp.float32(1e-6))
