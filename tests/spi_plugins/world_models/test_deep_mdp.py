from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spi_plugins.types import ActionSpec
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp

DISCRETE = ActionSpec(kind="discrete", nvec=(3,))
MULTI = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))
BOX = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
MAP, FLAT, HOT = (3, 2, 6), (5,), (3, 4)


def random_actions(spec, batch, key):
    if spec.kind == "box":
        return jax.random.uniform(key, (batch, *spec.shape), minval=-1.0)
    return jax.random.randint(
        key, (batch, *spec.shape), 0, jnp.array(spec.nvec) if spec.shape else spec.nvec[0]
    )


def random_latents(shape, batch, key, categorical=False):
    if categorical:
        return jax.nn.one_hot(jax.random.randint(key, (batch, shape[0]), 0, shape[1]), shape[1])
    return jax.random.normal(key, (batch, *shape))


def small(**changes):
    return DeepMDPConfig(transition_hidden=(8,), reward_hidden=(6, 4), embedding=7, n_components=3, **changes)


CASES = [
    (shape, spec, density, lipschitz)
    for shape, spec in ((MAP, DISCRETE), (FLAT, DISCRETE), (MAP, BOX), (FLAT, MULTI))
    for density in ("mixture", "normal", "deterministic")
    for lipschitz in (True, False)
] + [(HOT, DISCRETE, "categorical", False), (HOT, BOX, "categorical", False)]
# Each is a compilation of many seconds: every value of every column in the fast tests, every combination in the slow.
FAST = (
    (MAP, DISCRETE, "mixture", True),
    (FLAT, DISCRETE, "normal", False),
    (MAP, BOX, "deterministic", False),
    (FLAT, MULTI, "mixture", True),
    (HOT, DISCRETE, "categorical", False),
)


@pytest.mark.parametrize(
    ("shape", "spec", "density", "lipschitz"),
    [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_every_combination_predicts_and_has_finite_losses_and_gradients_also_at_zeros(
    shape, spec, density, lipschitz
):
    model = make_deep_mdp(
        shape, spec, small(transition_density=density, lipschitz=lipschitz, termination=True)
    )
    params, keys = jax.jit(model.init)(jax.random.key(0)), jax.random.split(jax.random.key(1), 4)
    z, next_z = (random_latents(shape, 5, k, density == "categorical") for k in keys[:2])
    action = random_actions(spec, 5, keys[2])

    def total(params, z, next_z):
        losses = model.losses(params, z, action, jnp.arange(5.0), next_z, jnp.arange(5) == 0, keys[3])
        return sum(jnp.sum(loss) for loss in losses) + model.penalty(params, z, action, keys[3]), losses

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    (_, losses), gradients = step(params, z, next_z)
    assert all(loss.shape == (5,) and loss.dtype == jnp.float32 for loss in losses)
    assert all(np.all(np.asarray(loss) >= 0) for loss in losses)
    assert all(np.any(g) for g in gradients[1:]), "the encoder must be reached through both latents"
    zeros = step(jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(z), jnp.zeros_like(z))[1]
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((gradients, zeros)))
    next_sample = jax.jit(model.predict)(params, z, action, keys[3])
    assert next_sample.shape == z.shape
    assert next_sample.dtype == jnp.float32
    assert model.termination(params, z).shape == (5,)


def largest_ratio(function, shape, pairs, key):
    """Largest ratio of distances after and before ``function``, over pairs near and far."""
    first, direction = jax.random.normal(key, (2, pairs, *shape))
    second = first + direction * jnp.logspace(-2, 1, pairs).reshape(-1, *[1] * len(shape))
    moved, before = (
        np.linalg.norm(np.asarray(a - b, np.float64).reshape(pairs, -1), axis=1)
        for a, b in ((function(first), function(second)), (first, second))
    )
    return np.max(moved / before)


def jacobian_norm(function, shape, key):
    """Largest singular value of the Jacobian at a random point."""
    jacobian = jax.jacobian(lambda z: function(z[None])[0])(jax.random.normal(key, shape))
    return np.linalg.svd(np.asarray(jacobian, np.float64).reshape(-1, np.prod(shape)), compute_uv=False)[0]


def check_lipschitz(model, params, spec, shape, constant):
    for a in range(3):
        key = jax.random.key(a)
        action = random_actions(spec, 1, key)
        predict = jax.jit(lambda z, k=key, a=action: model.predict(params, z, jnp.repeat(a, len(z), 0), k))
        reward = jax.jit(lambda z, a=action: model.reward(params, z, jnp.repeat(a, len(z), 0)))
        # One noise for a pair: the batch is part of the noise's shape, so points go through one by one.
        one_by_one = jax.jit(lambda zs, predict=predict: jax.lax.map(lambda z: predict(z[None])[0], zs))
        assert largest_ratio(one_by_one, shape, 300, key) <= constant
        assert largest_ratio(reward, shape, 300, key) <= constant
        assert jacobian_norm(predict, shape, key) <= constant
        assert jacobian_norm(reward, shape, key) <= constant


@pytest.mark.parametrize(
    ("shape", "spec", "density"),
    [
        (MAP, DISCRETE, "mixture"),
        (FLAT, DISCRETE, "mixture"),
        (FLAT, BOX, "normal"),
        (MAP, MULTI, "deterministic"),
    ],
)
def test_lipschitz_models_are_bounded_at_first_and_after_a_thousand_updates_that_stretch_them(
    shape, spec, density
):
    constant = 2.0 if spec is BOX else 1.0
    model = make_deep_mdp(shape, spec, small(transition_density=density, lipschitz_constant=constant))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    check_lipschitz(model, params, spec, shape, constant)
    first, second = jax.random.normal(key, (2, 8, *shape))
    action = random_actions(spec, 8, key)

    def stretch(params):
        apart = model.predict(params, first, action, key) - model.predict(params, second, action, key)
        rewards = model.reward(params, first, action) - model.reward(params, second, action)
        return -jnp.sum(jnp.square(apart)) - jnp.sum(jnp.square(rewards))

    optimizer = optax.adam(1e-2)

    @partial(jax.jit, static_argnums=1)
    def run(params, n):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(stretch)(params)
            changes, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, changes), state), value

        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), None, length=n)
        return params, values

    params, values = run(params, 1000)
    assert values[-1] < 1.5 * values[0], "the updates must have stretched it"
    check_lipschitz(model, params, spec, shape, constant)


def test_transition_and_reward_losses_are_those_of_the_predictions():
    model = make_deep_mdp(MAP, DISCRETE, small())
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    z, next_z = 3.0 * jax.random.normal(key, (2, 4, *MAP))
    action, reward = jnp.array([0, 2, 1, 2]), jnp.array([1.0, -1.0, 5.0, 0.0])
    losses = model.losses(params, z, action, reward, next_z, jnp.zeros(4, bool), key)
    error = np.abs(model.predict(params, z, action, key) - next_z)
    expected = np.where(error < 1, error**2 / 2, error - 0.5).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.transition, expected, rtol=1e-5)
    error = np.abs(model.reward(params, z, action) - reward)
    np.testing.assert_allclose(losses.reward, np.where(error < 1, error**2 / 2, error - 0.5), rtol=1e-5)
    assert losses.termination.tolist() == [0.0] * 4


def test_normal_loss_without_a_bound_is_the_closed_form_and_needs_no_key():
    model = make_deep_mdp(FLAT, DISCRETE, small(transition_density="normal", lipschitz=False))
    params = jax.jit(model.init)(jax.random.key(0))
    z, next_z = jax.random.normal(jax.random.key(1), (2, 2, 5))
    action = jnp.array([0, 2])

    def losses(seed):
        return model.losses(
            params, z, action, jnp.zeros(2), next_z, jnp.zeros(2, bool), jax.random.key(seed)
        ).transition

    samples = jax.vmap(lambda k: model.predict(params, z, action, k))(
        jax.random.split(jax.random.key(5), 40_000)
    )
    deviation = jnp.mean(jnp.abs(samples - next_z[None]), axis=0)
    expected = np.where(deviation < 1, deviation**2 / 2, deviation - 0.5).sum(axis=1)
    np.testing.assert_allclose(losses(0), expected, rtol=0.03)
    assert losses(0).tolist() == losses(1).tolist()


def test_termination_is_trained_on_the_next_latent():
    model = make_deep_mdp(FLAT, DISCRETE, small(termination=True))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    z, next_z = jax.random.normal(key, (2, 2, 5))
    terminated = jnp.array([True, False])
    losses = model.losses(params, z, jnp.zeros(2, int), jnp.zeros(2), next_z, terminated, key)
    expected = np.square(model.termination(params, next_z) - np.array([1.0, 0.0])) / 2
    np.testing.assert_allclose(losses.termination, expected, rtol=1e-5)
    assert make_deep_mdp(FLAT, DISCRETE, small()).termination is None


def test_adding_the_termination_predictor_keeps_the_other_weights():
    plain, more = (
        make_deep_mdp(FLAT, DISCRETE, small(termination=t)).init(jax.random.key(3)) for t in (False, True)
    )
    assert set(more) - set(plain) == {"termination"}
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves({k: more[k] for k in plain}), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [MAP, FLAT])
@pytest.mark.parametrize("density", ["mixture", "deterministic"])
def test_balancing_splits_the_gradient_between_prediction_and_target(shape, density):
    lipschitz = density == "deterministic"

    def target_gradient(w_balancing):
        config = small(transition_density=density, lipschitz=lipschitz, w_balancing=w_balancing)
        model = make_deep_mdp(shape, DISCRETE, config)
        params = jax.jit(model.init)(jax.random.key(0))
        z, next_z = jax.random.normal(jax.random.key(1), (2, 3, *shape))

        def loss(params, next_z):
            arguments = (z, jnp.array([0, 1, 2]), jnp.zeros(3), next_z, jnp.zeros(3, bool), jax.random.key(2))
            return jnp.sum(model.losses(params, *arguments).transition)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, next_z)

    whole, split = target_gradient(None), target_gradient(0.8)
    for part, share in ((0, 0.8), (1, 0.2)):
        for a, b in zip(jax.tree.leaves(whole[part]), jax.tree.leaves(split[part]), strict=True):
            np.testing.assert_allclose(share * a, b, rtol=1e-4, atol=1e-6)


def test_penalty_is_the_squared_gradient_of_prediction_and_reward_and_zero_with_a_bound():
    model = make_deep_mdp(FLAT, DISCRETE, small(transition_density="deterministic", lipschitz=False))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    z, action = jax.random.normal(key, (4, 5)), jnp.array([0, 2, 1, 1])
    total = 0.0
    for function in (
        lambda z, a: jnp.sum(model.predict(params, z, a, key)),
        lambda z, a: jnp.sum(model.reward(params, z, a)),
    ):
        total += np.sum(np.square(jax.grad(function)(z, action)))
        # Of a one-hot action, the gradient is the summed output of every action.
        every = [jax.vmap(lambda z, a=a, f=function: f(z[None], jnp.array([a])))(z) for a in range(3)]
        total += np.sum(np.square(every))
    assert float(model.penalty(params, z, action, key)) == pytest.approx(total / 4, rel=1e-4)
    bounded = make_deep_mdp(FLAT, DISCRETE, small())
    assert float(bounded.penalty(bounded.init(key), z, action, key)) == 0.0


def test_parameters_are_few_and_work_at_the_published_size_is_as_the_docstrings_count_it():
    model = make_deep_mdp((7, 7, 64), ActionSpec(kind="discrete", nvec=(4,)), DeepMDPConfig())
    params = jax.eval_shape(model.init, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in params.items()}
    assert len(jax.tree.leaves(params)) == 11
    # Published: 242,836 with logits of the latent, of which we keep 20 for the actions.
    assert sizes == {"transition": 32_896 + 4 * 16 * (32 * 40 + 40) + 20, "reward": 869_892}


@pytest.mark.parametrize(
    ("shape", "changes", "name"),
    [
        ((2, 2), {}, "latent_shape"),
        ((4,), {"transition_density": "categorical", "lipschitz": False}, "latent_shape"),
        ((0,), {}, "latent_shape"),
        ((4,), {"transition_density": "gamma"}, "transition_density"),
        ((4, 4), {"transition_density": "categorical"}, "lipschitz"),
        ((4,), {"lipschitz_constant": 0.0}, "lipschitz_constant"),
        ((4,), {"n_components": 0}, "n_components"),
        ((4,), {"feature_group_size": 0}, "feature_group_size"),
        ((4,), {"reward_hidden": ()}, "reward_hidden"),
        ((4,), {"w_balancing": 1.5}, "w_balancing"),
        ((4,), {"gradient_penalty_coef": -1.0}, "gradient_penalty_coef"),
    ],
)
def test_bad_values_are_named(shape, changes, name):
    with pytest.raises(ValueError, match=name):
        make_deep_mdp(shape, DISCRETE, DeepMDPConfig(**changes))
