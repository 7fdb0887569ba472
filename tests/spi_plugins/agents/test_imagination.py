"""Dreams in a world of whole numbers: a state counts up by one, and its rewards and ends are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.dream_spi.imagination import describe_dream, dream_rows, imagine
from spi_plugins.agents.on_policy import Parts
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.actor_critic import ActorCritic, Evaluation
from spi_plugins.types import ActionSpec
from spi_plugins.world_models.deep_mdp import DeepMDP
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
BOX = ActionSpec(kind="box", shape=(1,), low=(0.0,), high=(4.0,))
GAMMA, LAMBDA = 0.9, 0.8
CONFIG = DeepSPIConfig(gamma=GAMMA, gae_lambda=LAMBDA)
HORIZON = 4
# Always action 1, since e^-50 is practically 0. The second is a Gaussian with mean 6 and standard deviation e^-10.
PARAMETERS = {"discrete": [-50.0, 0.0], "box": [6.0, -10.0]}


def nothing(*args):
    raise AssertionError("a dream needs no such function")


def make_parts(actions=ACTIONS, *, end_at=3.0, p_end=1.0):
    """Next state z + 1, reward z + a / 2, value 10 z; from ``end_at`` on a state ends with ``p_end``."""

    def judge(params, z):
        parameters = jnp.broadcast_to(jnp.asarray(PARAMETERS[actions.kind]), (len(z), 2))
        return Evaluation(parameters, 10.0 * params["scale"] * z[:, 0])

    model = DeepMDP(
        init=nothing,
        losses=nothing,
        predict=lambda params, z, action, key: z + params["step"],
        reward=lambda params, z, action: z[:, 0] + 0.5 * action.reshape(-1).astype(jnp.float32),
        termination=lambda params, z: jnp.where(z[:, 0] >= end_at, p_end, 0.0),
        penalty=nothing,
        config=DeepMDPConfig(termination=True),
    )
    policy = ActorCritic(*[nothing] * 6, latent_shape=(1,), judge=judge)
    return Parts(CONFIG, actions, policy, action_distribution(actions), model)


PARAMS = {"policy": {"scale": jnp.ones(())}, "world_model": {"step": jnp.ones(())}}
STARTS = jnp.asarray([[0.0], [2.0], [0.0]])
BEGUN = jnp.asarray([True, True, False])


@pytest.fixture(params=["eager", "jitted"])
def dream_of(request):
    def dream(parts, *, soft=False, key=0):
        run = functools.partial(imagine, parts, horizon=HORIZON, soft_termination=soft)
        return (jax.jit(run) if request.param == "jitted" else run)(
            PARAMS, STARTS, BEGUN, jax.random.key(key)
        )

    return dream


def test_a_dream_follows_policy_and_model_and_is_over_once_it_ends(dream_of):
    dream = dream_of(make_parts())
    np.testing.assert_array_equal(dream.z[:, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(dream.action, np.ones((HORIZON, 3)))
    np.testing.assert_allclose(dream.log_prob, 0.0, atol=1e-6)
    np.testing.assert_array_equal(dream.reward[:, 0], [0.5, 1.5, 2.5, 3.5])
    # The last one is of the state after the horizon.
    np.testing.assert_array_equal(dream.value[:, 0], [0, 10, 20, 30, 40])
    # The first dream reaches 3 with its third step, the second with its first; the third never began.
    np.testing.assert_array_equal(dream.ended[:3, 0], [0, 0, 1])
    np.testing.assert_array_equal(dream.ended[:1, 1], [1])
    expected = [[True, True, False], [True, False, False], [True, False, False], [False, False, False]]
    np.testing.assert_array_equal(dream.valid, expected)


def test_a_soft_end_is_a_probability_and_the_dream_goes_on(dream_of):
    dream = dream_of(make_parts(p_end=0.5), soft=True)
    np.testing.assert_array_equal(dream.ended[:, 0], [0, 0, 0.5, 0.5])
    np.testing.assert_array_equal(dream.valid, np.broadcast_to(BEGUN, (HORIZON, 3)))


def test_hard_ends_are_drawn_as_often_as_they_are_probable():
    starts, begun = jnp.zeros((4000, 1)), jnp.ones(4000, bool)
    dream = imagine(
        make_parts(end_at=1.0, p_end=0.3),
        PARAMS,
        starts,
        begun,
        jax.random.key(0),
        horizon=2,
        soft_termination=False,
    )
    assert set(np.unique(dream.ended)) == {0.0, 1.0}
    # Four deviations of a binomial share: 4 sqrt(0.3 * 0.7 / 4000) = 0.029.
    np.testing.assert_allclose(np.mean(dream.ended[0]), 0.3, atol=0.029)
    np.testing.assert_array_equal(dream.valid[1], dream.ended[0] == 0)


def test_no_gradient_leads_out_of_a_dream():
    def total(params, z):
        dream = imagine(
            make_parts(), params, z, BEGUN, jax.random.key(0), horizon=HORIZON, soft_termination=True
        )
        return sum(jnp.sum(x) for x in (dream.z, dream.value, dream.reward, dream.log_prob, dream.ended))

    for gradient in jax.tree.leaves(jax.grad(total, argnums=(0, 1))(PARAMS, STARTS)):
        np.testing.assert_array_equal(gradient, 0.0)


def test_the_model_reads_a_boxs_action_as_executed_and_scaled(dream_of):
    dream = dream_of(make_parts(BOX))
    np.testing.assert_allclose(dream.action, 6.0, atol=1e-3)  # as sampled: the log-probability is of this one
    np.testing.assert_allclose(
        dream.reward[:, 0], [0.5, 1.5, 2.5, 3.5]
    )  # clipped to 4, which is 1 to the model


def test_advantages_of_a_hard_end_by_hand(dream_of):
    rows = dream_rows(dream_of(make_parts()), CONFIG)
    advantage = np.asarray(rows.advantage).reshape(HORIZON, 3)
    # The second dream: one step, reward 2 + 1/2, nothing after it, value 20.
    np.testing.assert_allclose(advantage[0, 1], 2.5 - 20.0, rtol=1e-6)
    # The first: errors 0.5 + 0.9 * 10 - 0, 1.5 + 0.9 * 20 - 10, and 2.5 - 20 at its end.
    errors = [9.5, 9.5, -17.5]
    expected = [errors[0] + 0.72 * (errors[1] + 0.72 * errors[2]), errors[1] + 0.72 * errors[2], errors[2]]
    np.testing.assert_allclose(advantage[:3, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(rows.target, rows.advantage + rows.value, rtol=1e-6)


def test_a_soft_end_discounts_by_the_probability_of_going_on(dream_of):
    dream = dream_of(make_parts(p_end=0.5), soft=True)
    advantage = np.asarray(dream_rows(dream, CONFIG).advantage).reshape(HORIZON, 3)
    reward, value, p = (np.asarray(x, np.float64)[:, 0] for x in (dream.reward, dream.value, dream.ended))
    running, expected = 0.0, np.zeros(HORIZON)
    for t in reversed(range(HORIZON)):
        discount = GAMMA * (1 - p[t])
        running = reward[t] + discount * value[t + 1] - value[t] + discount * LAMBDA * running
        expected[t] = running
    np.testing.assert_allclose(advantage[:, 0], expected, rtol=1e-6)


def test_a_step_weighs_as_much_as_it_is_probable_to_be_reached(dream_of):
    dream = dream_of(make_parts(p_end=0.5), soft=True)
    weight = np.asarray(dream_rows(dream, CONFIG).weight).reshape(HORIZON, 3)
    p = np.asarray(dream.ended, np.float64)
    for t in range(HORIZON):
        np.testing.assert_allclose(weight[t], np.prod(1 - p[:t], axis=0), rtol=1e-6)
    assert 0 < weight[-1].max() < 1
    drawn = dream_of(make_parts())
    rows, begun = dream_rows(drawn, CONFIG), np.asarray(BEGUN)
    going = np.asarray(rows.weight).reshape(HORIZON, 3)[:, begun]
    np.testing.assert_array_equal(going, np.asarray(drawn.valid)[:, begun])


def test_rows_are_time_major_and_their_observations_are_latents(dream_of):
    dream = dream_of(make_parts())
    rows = dream_rows(dream, CONFIG)
    np.testing.assert_array_equal(rows.obs, np.asarray(dream.z).reshape(-1, 1))
    np.testing.assert_array_equal(rows.valid, np.asarray(dream.valid).reshape(-1))
    assert rows.next_obs is None


def test_what_is_reported_of_dreams_counts_their_steps_before_the_end(dream_of):
    hard = describe_dream(dream_of(make_parts()), GAMMA)
    # Of the two dreams that began: 3 steps and 1.
    first, second = 0.5 + 0.9 * 1.5 + 0.81 * 2.5, 2.5
    np.testing.assert_allclose(hard.mean_return, (first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose([hard.mean_length, hard.ended, hard.mean_value], [2.0, 1.0, 10.0])
    soft = describe_dream(dream_of(make_parts(p_end=0.5), soft=True), GAMMA)
    # Lengths 1 + 1 + 1 + 1/2 and 1 + 1/2 + 1/4 + 1/8; ended with 1 - 1/4 and 1 - 1/16.
    np.testing.assert_allclose(soft.mean_length, (3.5 + 1.875) / 2)
    np.testing.assert_allclose(soft.ended, (0.75 + 0.9375) / 2)
