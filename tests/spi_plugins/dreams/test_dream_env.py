import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_worlds import KNOWN_MODEL, known_world

from spi_plugins.dreams.env import DreamConfig, make_dream
from spi_plugins.envs import autoreset
from spi_plugins.testing import check_functional_env

BOUNDS = {"latent_low": -50.0, "latent_high": 50.0}


def dream(world=None, starts=((1.0,),), **options):
    return make_dream(world or known_world(), np.asarray(starts), DreamConfig(**{**BOUNDS, **options}))


def play(env, action, n_steps, *, n_envs=1, seed=0):
    """The steps of copies that take the same action over and over, without resets."""
    state, _ = autoreset.reset(env, env.params, jax.random.split(jax.random.key(seed), n_envs))
    actions = jnp.full((n_envs, 1), action, jnp.float32)
    steps = []
    for _ in range(n_steps):
        state, out = autoreset.step_without_reset(env, env.params, state, actions)
        steps.append(out)
    return jax.tree.map(lambda *x: np.stack(x), *steps)


@pytest.mark.parametrize(
    "options",
    [{}, {"observation": "decoded"}, {"stochastic": False, "history": True}, {"uncertainty_penalty": 0.5}],
)
def test_a_dream_is_a_functional_environment(options):
    check_functional_env(dream(**options))


def test_returns_and_costs_are_those_of_the_known_world():
    # x is 1, 1.5, 2, 2.5 when the rewards are paid; each action costs 0.5 squared.
    steps = play(dream(horizon=4), 0.5, 4)
    np.testing.assert_allclose(steps.reward[:, 0], [1.0, 1.5, 2.0, 2.5])
    np.testing.assert_allclose(steps.cost[:, 0], 0.25)
    np.testing.assert_allclose(steps.obs[:, 0, 0], [1.5, 2.0, 2.5, 3.0])
    assert steps.episode_return[-1, 0] == pytest.approx(7.0)
    assert steps.episode_cost[-1, 0] == pytest.approx(1.0)


def test_the_end_of_the_horizon_is_truncation():
    steps = play(dream(horizon=3), 0.0, 3)
    assert steps.truncated[:, 0].tolist() == [False, False, True]
    assert not steps.terminated.any()


def test_the_models_end_is_termination_and_goes_before_truncation():
    steps = play(dream(known_world(end=1.0), horizon=1), 0.0, 1)
    assert steps.terminated.all()
    assert not steps.truncated.any()


def test_ends_are_drawn_by_their_probability():
    steps = play(dream(known_world(end=0.3)), 0.0, 1, n_envs=4000)
    # Four standard deviations of the mean of 4000 draws: 0.029.
    assert steps.terminated.mean() == pytest.approx(0.3, abs=0.029)


@pytest.mark.parametrize(("probability", "ends"), [(0.4, False), (0.6, True)])
def test_without_chance_a_dream_ends_where_the_probability_is_above_one_half(probability, ends):
    steps = play(dream(known_world(end=probability), stochastic=False), 0.0, 1, n_envs=8)
    assert (steps.terminated == ends).all()


def test_without_the_models_ends_nothing_terminates():
    assert not play(dream(known_world(end=1.0), termination="none"), 0.0, 3).terminated.any()


def test_the_penalty_is_taken_off_the_reward_by_the_uncertainty():
    steps = play(dream(uncertainty_penalty=2.0), -0.5, 2)
    # Rewards 1 and 0.5, the uncertainty is 0.5 at each step.
    np.testing.assert_allclose(steps.reward[:, 0], [0.0, -0.5])
    np.testing.assert_allclose(steps.info["model_uncertainty"][:, 0], 0.5)


def test_costs_can_be_left_out():
    assert not play(dream(cost=False), 1.0, 2).cost.any()


def test_chance_is_in_the_model_only_if_the_dream_is_stochastic():
    world = known_world(noise=1.0)
    spread = play(dream(world), 0.0, 1, n_envs=500).obs[0, :, 0]
    assert spread.std() == pytest.approx(1.0, abs=0.13)
    assert (play(dream(world, stochastic=False), 0.0, 1, n_envs=5).obs[0] == 1.0).all()


def test_steps_are_counted():
    assert play(dream(), 0.0, 3).info["dream_step"][:, 0].tolist() == [1.0, 2.0, 3.0]


def test_episodes_begin_in_the_start_states_and_in_all_of_them():
    env = dream(starts=[[1.0], [2.0], [3.0]])
    _, obs = autoreset.reset(env, env.params, jax.random.split(jax.random.key(0), 300))
    values, counts = np.unique(obs, return_counts=True)
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert counts.min() > 60  # 100 each; five standard deviations are 41


def test_latents_stay_within_their_bounds():
    steps = play(dream(latent_low=-2.0, latent_high=2.0), 1.0, 4)
    assert steps.obs.max() == 2.0


def test_decoded_observations_are_the_models_within_the_bounds_of_the_real_ones():
    config = DreamConfig(**BOUNDS, observation="decoded")
    env = make_dream(known_world(), np.ones((1, 1)), config, obs_low=-100.0, obs_high=12.0)
    steps = play(env, 0.1, 3)
    np.testing.assert_allclose(steps.obs[:, 0, 0], [11.0, 12.0, 12.0], rtol=1e-6)


def test_equal_dreams_share_their_programs():
    first, second = dream(horizon=7), dream(horizon=7)
    assert first._replace(params=()) == second._replace(params=())
    assert hash(first._replace(params=())) == hash(second._replace(params=()))
    assert first._replace(params=()) != dream(horizon=8)._replace(params=())


def test_parameters_may_be_swapped_without_a_retrace():
    env, traces = dream(), 0

    @jax.jit
    def reward(params):
        nonlocal traces
        traces += 1
        state, _ = autoreset.reset(env, params, jax.random.split(jax.random.key(0), 2))
        return autoreset.step_without_reset(env, params, state, jnp.zeros((2, 1)))[1].reward

    assert (reward(env.params) == 1.0).all()
    assert (reward(env.params._replace(starts=jnp.asarray(np.full((1, 1), 5.0, np.float32)))) == 5.0).all()
    assert traces == 1


def test_frames_show_latent_reward_and_cost():
    env = dream(starts=[[0.0], [4.0]], history=True)
    state = env.initial(jax.random.key(0), env.params)
    before = env.render(state, env.params)
    after = env.render(env.transition(state, jnp.ones(1), jax.random.key(1), env.params), env.params)
    assert before.shape == after.shape
    assert after.dtype == np.uint8
    assert (before != after).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ({"horizon": 2.5}, "horizon must be an integer"),
        ({"observation": "pixels"}, "observation must be one of 'latent', 'decoded', got 'pixels'"),
        ({"termination": "always"}, "termination must be one of 'model', 'none'"),
        ({"stochastic": 1}, "stochastic must be one of True, False, got 1"),
        ({"uncertainty_penalty": -1.0}, "uncertainty_penalty must be a number at least 0, got -1.0"),
        ({"latent_low": 3.0, "latent_high": 1.0}, "latent_low=3.0 must be below latent_high=1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dream(**options)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("decode", {"observation": "decoded"}, "needs a model with a decoder"),
        ("uncertainty", {"uncertainty_penalty": 1.0}, "needs a model with uncertainty"),
    ],
)
def test_what_a_model_lacks_is_refused(part, options, message):
    world = known_world()._replace(model=KNOWN_MODEL._replace(**{part: None}))
    with pytest.raises(ValueError, match=message):
        dream(world, **options)


def test_starts_that_are_no_latents_are_refused():
    with pytest.raises(ValueError, match=r"starts must be at least one latent, \[S, 1\], got \[2, 3\]"):
        dream(starts=np.ones((2, 3)))
    with pytest.raises(ValueError, match="at least one latent"):
        dream(starts=np.ones((0, 1)))
