import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, ReplayConfig
from spi_plugins.agents.dream_spi.slices import split
from spi_plugins.agents.dream_spi.update import make_dream_spi
from spi_plugins.agents.packed import pack
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.types import ActionSpec, ArraySpec, Rollout
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

OBS = ArraySpec(kind="box", shape=(3,), dtype="float32")
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
BOX = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
POLICY = ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,), latent=(6,))
MODEL = DeepMDPConfig(transition_density="deterministic", termination=True, lipschitz=False)
T, B = 4, 4
ALL = (1e-3, 1e-3, 1e-3, 1e-3)
REPLAY = ReplayConfig(replay_size=3 * T * B, n_steps=T, n_envs=B, n_replays=2)


@functools.cache  # tests that share an agent share its programs
def make_agent(actions=ACTIONS, policy=POLICY, model=MODEL, *, n_epochs=1, batch_size=T * B, **kwargs):
    real = DeepSPIConfig(n_epochs=n_epochs, batch_size=batch_size, reward_loss_coef=0.5)
    defaults = {"imagination_horizon": 3, "imagination_batch_size": T * B}
    return make_dream_spi(OBS, actions, policy, DreamSPIConfig(real=real, **{**defaults, **kwargs}), model)


@functools.cache
def acting(agent):
    return jax.jit(jax.vmap(agent.act, in_axes=(None, 0, 0)))


def make_rollout(agent, seed=0, *, same_step=False):
    """Random observations, and what the agent did on them; an end, a limit and, with next-step resets, reset rows."""
    rng = np.random.default_rng(seed)
    obs = jnp.asarray(rng.normal(size=(T + 1, B, 3)), jnp.float32)
    params = jax.jit(agent.init)(jax.random.key(seed)).params
    act = acting(agent)(params, obs[:-1], jax.random.split(jax.random.key(9), T))
    valid = jnp.ones((T, B), bool)
    return Rollout(
        obs=obs,
        action=act.action,
        log_prob=act.log_prob,
        value=jnp.asarray(rng.normal(size=(T + 1, B)), jnp.float32),
        reward=jnp.asarray(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.zeros((T, B), bool).at[1, 0].set(True),
        truncated=jnp.zeros((T, B), bool).at[1, 1].set(True),
        valid=valid if same_step else valid.at[2, :2].set(False),
        final_obs=jnp.asarray(rng.normal(size=(T, B, 3)), jnp.float32) if same_step else None,
        final_value=jnp.zeros((T, B)) if same_step else None,
    )


def run_update(agent, rollout, rates=ALL, clip_range=(0.1, 0.2), seed=0):
    state = jax.jit(agent.init)(jax.random.key(seed))
    return jax.jit(agent.update)(state, rollout, jnp.asarray(rates), ClipRanges(jnp.asarray(clip_range)))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def steps_taken(state):
    return {name: int(opt_state[1].count) for name, opt_state in state.opt_state.items()}


def test_real_steps_train_encoder_and_model_and_dreams_train_actor_and_critic():
    agent = make_agent(n_epochs=2, batch_size=8, n_imagination_rollouts=2, imagination_epochs=3)
    state, metrics = run_update(agent, make_rollout(agent))
    # Two epochs of 16 / 8 minibatches; two times three epochs of 3 * 16 / 16.
    expected = {"representation": 4, "world_model": 4, "actor": 18, "critic": 18}
    assert steps_taken(state) == expected
    assert metrics.n_updates == 4 + 18
    before = split(jax.jit(agent.init)(jax.random.key(0)).params)
    for name, after in split(state.params).items():
        moved = max(
            np.abs(np.asarray(a - b)).max()
            for a, b in zip(*map(jax.tree.leaves, (after, before[name])), strict=True)
        )
        assert 1e-4 < moved < 0.1, name


def test_with_dyna_real_steps_train_all():
    agent = make_agent(dyna=True, n_epochs=2)
    state, _ = run_update(agent, make_rollout(agent))
    assert steps_taken(state) == {"representation": 2, "world_model": 2, "actor": 5, "critic": 5}


def test_dreams_leave_encoder_and_model_alone():
    few, many = make_agent(), make_agent(imagination_epochs=2, imagination_horizon=2)
    rollout = make_rollout(few)
    one, other = (split(run_update(agent, rollout)[0].params) for agent in (few, many))
    for name in ("representation", "world_model"):
        assert_same(one[name], other[name])


def test_the_phase_on_real_steps_leaves_actor_and_critic_alone():
    """With encoder and model standing still, what it does is nothing, however long it does it."""
    few, many = make_agent(), make_agent(n_epochs=3)
    rollout = make_rollout(few)
    one, other = (run_update(agent, rollout, (0.0, 0.0, 1e-3, 1e-3))[0].params for agent in (few, many))
    assert_same(one, other)


def test_dreams_begin_in_the_latents_of_the_encoder_that_has_just_learned():
    agent = make_agent()
    rollout = make_rollout(agent)
    rates = (1e-1, 0.0, 0.0, 0.0)
    state, metrics = run_update(agent, rollout, rates)
    values = [np.asarray(agent.value(state.params, rollout.obs[t])) for t in range(T)]
    mean = np.stack(values)[np.asarray(rollout.valid)].mean()
    np.testing.assert_allclose(metrics.imagined.mean_value, mean, rtol=1e-4)
    start = jax.jit(agent.init)(jax.random.key(0)).params
    old = np.stack([np.asarray(agent.value(start, rollout.obs[t])) for t in range(T)])
    assert abs(old[np.asarray(rollout.valid)].mean() - mean) > 1e-2


def test_what_a_reset_row_holds_changes_nothing():
    # Without the gradient penalty, for which any action on any latent will do.
    model = dataclasses.replace(MODEL, gradient_penalty_coef=0.0)
    agent = make_agent(model=model, n_epochs=2, batch_size=8, dyna=True, replay=REPLAY)
    rollout = make_rollout(agent)
    garbage = rollout._replace(
        reward=rollout.reward.at[2, 0].set(100.0),
        action=rollout.action.at[2, 0].set(1 - rollout.action[2, 0]),
        log_prob=rollout.log_prob.at[2, 0].set(-9.0),
        terminated=rollout.terminated.at[2, 0].set(True),
    )
    one, metrics = run_update(agent, rollout)
    other, others = run_update(agent, garbage)
    assert_same(one.params, other.params)
    assert_same(metrics.imagined, others.imagined)


@pytest.mark.parametrize("same_step", [False, True])
def test_a_terminal_successor_is_labelled_as_an_end_and_nothing_else_is(same_step):
    """The termination loss is the mean of 1/2 (p - label)^2 over the transitions, labels 1 for the one real end."""
    agent = make_agent()
    rollout = make_rollout(agent, same_step=same_step)
    _, metrics = run_update(agent, rollout, (0.0,) * 4)
    params = jax.jit(agent.init)(jax.random.key(0)).params
    successors = (rollout.final_obs if same_step else rollout.obs[1:]).reshape(-1, 3)
    z = agent.policy.latent(params["policy"], agent.policy.features(params["policy"], successors))
    p = np.asarray(agent.world_model.termination(params["world_model"], z), np.float64)
    label = np.asarray(rollout.terminated).reshape(-1)
    valid = np.asarray(rollout.valid).reshape(-1)
    assert label.sum() == 1
    expected = (0.5 * (p - label) ** 2)[valid].mean()
    np.testing.assert_allclose(metrics.real.termination_loss, expected, rtol=1e-5)


def test_the_first_ratio_in_a_dream_is_one():
    agent = make_agent()
    _, metrics = run_update(agent, make_rollout(agent), (1e-3, 1e-3, 0.0, 0.0))
    np.testing.assert_allclose([metrics.dreams.ratio_min, metrics.dreams.ratio_max], 1.0, rtol=1e-5)


def test_each_phase_has_a_clip_range_of_its_own():
    agent = make_agent(n_epochs=4, imagination_epochs=4)
    rollout = make_rollout(agent)
    _, wide = run_update(agent, rollout, (3e-2,) * 4, clip_range=(10.0, 10.0))
    _, real = run_update(agent, rollout, (3e-2,) * 4, clip_range=(1e-3, 10.0))
    _, dream = run_update(agent, rollout, (3e-2,) * 4, clip_range=(10.0, 1e-3))
    assert wide.real.clip_fraction == wide.dreams.clip_fraction == 0
    assert real.real.clip_fraction > 0
    assert real.dreams.clip_fraction == 0
    assert dream.real.clip_fraction == 0
    assert dream.dreams.clip_fraction > 0


def test_update_is_traced_once():
    agent = make_agent()
    update = jax.jit(agent.update, donate_argnums=0)
    state = jax.jit(agent.init)(jax.random.key(0))
    for seed in range(3):
        state, _ = update(
            state, make_rollout(agent, seed), jnp.asarray(ALL), ClipRanges(jnp.asarray([0.1, 0.1]))
        )
    assert update._cache_size() == 1


def test_metrics_survive_packing():
    agent = make_agent()
    _, metrics = run_update(agent, make_rollout(agent))
    unpacked = pack(metrics).unpack()
    assert jax.tree.structure(unpacked) == jax.tree.structure(metrics)
    assert_same(unpacked, metrics)


def test_past_rollouts_are_learned_from_as_the_present_one_is():
    agent = make_agent(replay=REPLAY, n_epochs=2)
    update = jax.jit(agent.update, donate_argnums=0)
    state = jax.jit(agent.init)(jax.random.key(0))
    for seed in range(4):
        rollout = make_rollout(agent, seed)
        state, metrics = update(state, rollout, jnp.asarray(ALL), ClipRanges(jnp.asarray([0.1, 0.1])))
        assert state.replay.size == min(B * (seed + 1), 3 * B)
    assert update._cache_size() == 1
    # In each update one rollout and two replays of two epochs; of dreams 3 * 16 / 16 steps.
    assert steps_taken(state) == {"representation": 24, "world_model": 24, "actor": 12, "critic": 12}
    assert metrics.n_updates == 9
    assert metrics.replayed.n_updates == 4
    assert metrics.replayed.transition_loss > 0
    assert np.isfinite(metrics.loss)
    unpacked = pack(metrics).unpack()
    assert jax.tree.structure(unpacked) == jax.tree.structure(metrics)
    assert_same(unpacked, metrics)


VARIANTS = {
    "box, soft ends": {"actions": BOX, "soft_termination": True},
    "lipschitz mixture": {"model": DeepMDPConfig(termination=True)},
    "categorical": {
        "policy": ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,), latent=(6,), categorical_latent=(3, 3)),
        "model": DeepMDPConfig(transition_density="categorical", termination=True, lipschitz=False),
    },
    "the observation as latent": {"policy": ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,), latent=())},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_action_density_and_latent_updates(name):
    agent = make_agent(**VARIANTS[name])
    state, metrics = run_update(agent, make_rollout(agent))
    assert np.isfinite(metrics.loss)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params))
    assert 0 < metrics.imagined.mean_length <= 3


def test_what_cannot_dream_is_refused():
    with pytest.raises(ValueError, match=r"latent_arch=None leaves the critic on the observation"):
        make_agent(policy=ActorCriticConfig(encoder="mlp", pi=(8,), vf=(8,)))
    with pytest.raises(ValueError, match="termination=False leaves dreams without an end"):
        make_agent(model=DeepMDPConfig())
    with pytest.raises(ValueError, match="imagination_horizon must be an integer of at least 1, got 0"):
        DreamSPIConfig(imagination_horizon=0)
    with pytest.raises(ValueError, match="transition_loss_coef must be a number above 0, got 0"):
        DreamSPIConfig(real=DeepSPIConfig(transition_loss_coef=0.0))
    with pytest.raises(ValueError, match="replay_size=15 must be 0 or hold a rollout"):
        ReplayConfig(replay_size=15, n_steps=4, n_envs=4)
    with pytest.raises(ValueError, match="n_replays must be an integer of at least 1, got 0"):
        ReplayConfig(replay_size=16, n_steps=4, n_envs=4, n_replays=0)
    with pytest.raises(ValueError, match="auxiliary must be 'utility' or 'additive' to dream"):
        DreamSPIConfig(real=DeepSPIConfig(auxiliary="none"))
