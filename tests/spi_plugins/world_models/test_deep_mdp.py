import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spi_plugins.types import ActionSpec
from spi_plugins.world_models.deep_mdp import make_deep_mdp
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

DISCRETE = ActionSpec(kind="discrete", nvec=(3,))
MULTI = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))
BOX = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
MAP, FLAT, HOT = (3, 2, 6), (5,), (3, 4)


def normal(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def random_actions(spec, batch, seed):
    rng = np.random.default_rng(seed)
    if spec.kind == "box":
        return jnp.asarray(rng.uniform(-1, 1, (batch, *spec.shape)), jnp.float32)
    return jnp.asarray(
        rng.integers(0, spec.nvec if spec.shape else spec.nvec[0], (batch, *spec.shape)), jnp.int32
    )


def random_params(model, seed=0):
    """Parameters of the right shapes, biases and logits too; cheaper than to compile the initializers."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: 0.5 * normal(x.shape, x.size + seed), shapes)


def small(**changes):
    sizes = {"transition_hidden": (8,), "reward_hidden": (6, 4), "termination_hidden": (6,), "embedding": 7}
    return DeepMDPConfig(n_components=2, feature_group_size=2, **sizes, **changes)


@pytest.mark.parametrize(
    ("shape", "spec", "density", "lipschitz"),
    [
        (MAP, DISCRETE, "mixture", True),
        (MAP, BOX, "normal", True),
        (FLAT, DISCRETE, "deterministic", True),
        (FLAT, MULTI, "mixture", True),
        (MAP, DISCRETE, "mixture", False),
        (MAP, BOX, "deterministic", False),
        (FLAT, MULTI, "normal", False),
        (HOT, DISCRETE, "categorical", False),
        (HOT, BOX, "categorical", False),
    ],
)
def test_every_kind_predicts_and_has_finite_losses_and_gradients_also_at_zeros(
    shape, spec, density, lipschitz
):
    model = make_deep_mdp(
        shape, spec, small(transition_density=density, lipschitz=lipschitz, termination=True)
    )
    params, action, key = random_params(model), random_actions(spec, 5, 0), jax.random.key(1)
    z, next_z = normal((5, *shape), 1), normal((5, *shape), 2)
    if density == "categorical":
        z, next_z = (jax.nn.one_hot(jnp.argmax(x, axis=-1), shape[-1]) for x in (z, next_z))

    def total(params, z, next_z):
        losses = model.losses(params, z, action, jnp.arange(5.0), next_z, jnp.arange(5) == 0, key)
        outputs = losses, model.predict(params, z, action, key), model.termination(params, z)
        return sum(map(jnp.sum, jax.tree.leaves(losses))) + model.penalty(params, z, action, key), outputs

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    (_, (losses, prediction, probability)), gradients = step(params, z, next_z)
    for loss in jax.tree.leaves(losses):  # without costs that of the cost is None
        assert (loss.shape, loss.dtype) == ((5,), jnp.float32)
        assert np.all(np.asarray(loss) >= 0)
    assert (prediction.shape, prediction.dtype) == (z.shape, jnp.float32)
    assert probability.shape == (5,)
    assert np.all((probability > 0) & (probability < 1))
    assert all(np.any(g) for g in gradients[1:]), "the encoder must be reached through both latents"
    zeros = step(jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(z), jnp.zeros_like(z))[1]
    for path, gradient in jax.tree_util.tree_leaves_with_path((gradients, zeros)):
        assert np.isfinite(gradient).all(), path


def lipschitz_constants(model, spec, shape):
    """A compiled estimate: the largest of many ratios of distances, and of a Jacobian's norm, for both nets."""
    pairs = 200
    first, direction = normal((pairs, 1, *shape), 3), normal((pairs, 1, *shape), 4)
    second = first + direction * jnp.logspace(-2, 1, pairs).reshape(pairs, 1, *[1] * len(shape))
    actions = random_actions(spec, pairs, 5)[:, None]

    def functions(params, z, action):
        # One latent at a time: the noise belongs to the place in the batch.
        return model.predict(params, z, action, jax.random.key(0)).ravel(), model.reward(params, z, action)

    @jax.jit
    def estimate(params):
        (next_1, reward_1), (next_2, reward_2) = (
            jax.lax.map(lambda args: functions(params, *args), (z, actions)) for z in (first, second)
        )
        moved = [jnp.linalg.norm(x, axis=1) for x in (next_1 - next_2, reward_1 - reward_2)]
        jacobians = jax.jacobian(functions, argnums=1)(params, first[0], actions[0])
        before = jnp.linalg.norm((first - second).reshape(pairs, -1), axis=1)
        return [x / before for x in moved], [x.reshape(x.shape[0], -1) for x in jacobians]

    def largest(params):
        ratios, jacobians = estimate(params)
        norms = [np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)[0] for x in jacobians]
        return max(float(jnp.max(jnp.stack(ratios))), *norms)

    return largest


@pytest.mark.parametrize(
    ("shape", "spec", "density", "scale", "constant"),
    [
        (MAP, DISCRETE, "mixture", "latent", 1.0),
        (FLAT, DISCRETE, "mixture", "latent", 1.0),
        (FLAT, BOX, "normal", "latent", 2.0),
        (MAP, DISCRETE, "mixture", "action", 1.0),
    ],
)
def test_lipschitz_models_are_bounded_at_first_and_after_a_thousand_updates_that_stretch_them(
    shape, spec, density, scale, constant
):
    config = small(transition_density=density, transition_scale=scale, lipschitz_constant=constant)
    model = make_deep_mdp(shape, spec, config)
    params, key = random_params(model), jax.random.key(1)
    largest = lipschitz_constants(model, spec, shape)
    assert largest(params) <= constant
    first, second, action = normal((8, *shape), 1), normal((8, *shape), 2), random_actions(spec, 8, 3)
    optimizer = optax.adam(1e-2)

    def stretch(params):
        apart = model.predict(params, first, action, key) - model.predict(params, second, action, key)
        rewards = model.reward(params, first, action) - model.reward(params, second, action)
        return -jnp.sum(jnp.square(apart)) - jnp.sum(jnp.square(rewards))

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(stretch)(params)
            changes, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, changes), state), value

        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), None, length=1000)
        return params, values

    params, values = run(params)
    assert values[-1] < 1.5 * values[0], "the updates must have stretched it"
    assert 0.5 * constant < largest(params) <= constant


def test_only_scales_of_the_action_leave_enough_of_the_constant_for_states_that_stay():
    # Two points at a distance d. A mean that moves half as far is off by d / 4 at each, in the best case, which costs
    # (d / 4)^2 / 2 = spread^2 / 8, with the spread d / 2; noise only adds to it.
    z, action, distance = jnp.array([[0.5, 0.0], [-0.5, 0.0]]), jnp.zeros(2, int), 1.0
    optimizer, floor = optax.adam(3e-2), (distance / 2) ** 2 / 8

    def fitted(scale):
        model = make_deep_mdp((2,), DISCRETE, small(transition_density="normal", transition_scale=scale))
        params = random_params(model)

        def loss(params, key):
            arguments = z, action, jnp.zeros(2), z, jnp.zeros(2, bool), key
            return jnp.mean(model.losses(params, *arguments).transition)

        def step(carry, key):
            params, state = carry
            changes, state = optimizer.update(jax.grad(loss)(params, key), state)
            return (optax.apply_updates(params, changes), state), None

        keys = jax.random.split(jax.random.key(0), 1500)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return loss(params, jax.random.key(1))

    of_latent, of_action = (float(jax.jit(fitted, static_argnums=0)(scale)) for scale in ("latent", "action"))
    assert floor <= of_latent < 1.5 * floor
    assert of_action < 0.1 * floor


def test_transition_and_reward_losses_are_those_of_the_predictions():
    model = make_deep_mdp(MAP, DISCRETE, small())
    params, key = random_params(model), jax.random.key(1)
    z, next_z = 3.0 * normal((2, 4, *MAP), 1)
    action, reward = jnp.array([0, 2, 1, 2]), jnp.array([1.0, -1.0, 5.0, 0.0])
    losses = jax.jit(model.losses)(params, z, action, reward, next_z, jnp.zeros(4, bool), key)
    error = np.abs(jax.jit(model.predict)(params, z, action, key) - next_z)
    expected = np.where(error < 1, error**2 / 2, error - 0.5).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.transition, expected, rtol=1e-5)
    error = np.abs(jax.jit(model.reward)(params, z, action) - reward)
    np.testing.assert_allclose(losses.reward, np.where(error < 1, error**2 / 2, error - 0.5), rtol=1e-5)
    assert losses.termination.tolist() == [0.0] * 4


def test_normal_loss_without_a_bound_is_the_closed_form_and_needs_no_key():
    model = make_deep_mdp(FLAT, DISCRETE, small(transition_density="normal", lipschitz=False))
    params = random_params(model)
    z, next_z = normal((2, 2, 5), 1)
    action = jnp.array([0, 2])

    @jax.jit
    def losses(seed):
        return model.losses(
            params, z, action, jnp.zeros(2), next_z, jnp.zeros(2, bool), jax.random.key(seed)
        ).transition

    samples = jax.vmap(lambda k: model.predict(params, z, action, k))(
        jax.random.split(jax.random.key(5), 10_000)
    )
    deviation = jnp.mean(jnp.abs(samples - next_z[None]), axis=0)
    expected = np.where(deviation < 1, deviation**2 / 2, deviation - 0.5).sum(axis=1)
    np.testing.assert_allclose(losses(0), expected, rtol=0.05)
    assert losses(0).tolist() == losses(1).tolist()


def test_termination_is_trained_on_the_next_latent():
    model = make_deep_mdp(FLAT, DISCRETE, small(termination=True))
    params, key = random_params(model), jax.random.key(1)
    z, next_z = normal((2, 2, 5), 1)
    terminated = jnp.array([True, False])
    losses = jax.jit(model.losses)(params, z, jnp.zeros(2, int), jnp.zeros(2), next_z, terminated, key)
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


@pytest.mark.parametrize(("shape", "density"), [(MAP, "mixture"), (FLAT, "deterministic")])
def test_balancing_splits_the_gradient_between_prediction_and_target(shape, density):
    lipschitz = density == "deterministic"

    def target_gradient(w_balancing):
        config = small(transition_density=density, lipschitz=lipschitz, w_balancing=w_balancing)
        model = make_deep_mdp(shape, DISCRETE, config)
        params = random_params(model)
        z, next_z = normal((2, 3, *shape), 1)

        def loss(params, next_z):
            arguments = (z, jnp.array([0, 1, 2]), jnp.zeros(3), next_z, jnp.zeros(3, bool), jax.random.key(2))
            return jnp.sum(model.losses(params, *arguments).transition)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, next_z)

    whole, split = target_gradient(None), target_gradient(0.8)
    for part, share in ((0, 0.8), (1, 0.2)):
        for a, b in zip(jax.tree.leaves(whole[part]), jax.tree.leaves(split[part]), strict=True):
            np.testing.assert_allclose(share * a, b, rtol=1e-3, atol=1e-4)


def test_penalty_is_the_squared_gradient_of_prediction_and_reward_and_zero_with_a_bound():
    model = make_deep_mdp(FLAT, DISCRETE, small(transition_density="deterministic", lipschitz=False))
    params, key = random_params(model), jax.random.key(1)
    z, action = normal((4, 5), 1), jnp.array([0, 2, 1, 1])
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
    assert float(bounded.penalty(random_params(bounded), z, action, key)) == 0.0


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
        ((4, 4), {"transition_density": "categorical"}, "lipschitz"),
        ((4,), {"lipschitz_constant": 0.0}, "lipschitz_constant"),
        ((4,), {"n_components": 0}, "n_components"),
        ((4,), {"transition_scale": "action", "lipschitz": False}, "transition_scale"),
        ((4,), {"transition_scale": "action", "transition_density": "deterministic"}, "transition_scale"),
        ((4,), {"feature_group_size": 0}, "feature_group_size"),
        ((4,), {"reward_hidden": ()}, "reward_hidden"),
        ((4,), {"w_balancing": 1.5}, "w_balancing"),
        ((4,), {"gradient_penalty_coef": -1.0}, "gradient_penalty_coef"),
    ],
)
def test_bad_values_are_named(shape, changes, name):
    with pytest.raises(ValueError, match=name):
        make_deep_mdp(shape, DISCRETE, DeepMDPConfig(**changes))


def test_an_unknown_density_is_named():
    config = DeepMDPConfig()
    object.__setattr__(config, "transition_density", "gamma")
    with pytest.raises(
        ValueError, match=r"transition_density must be one of 'deterministic', .* got 'gamma'"
    ):
        config.__post_init__()
