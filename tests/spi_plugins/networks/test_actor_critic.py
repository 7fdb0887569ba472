"""Where the latent lies, and what actor and critic read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ArraySpec

NUMBERS = ArraySpec(kind="box", shape=(3,), dtype="float32")
IMAGE = ArraySpec(kind="image", shape=(8, 8, 1), dtype="uint8", low=0.0, high=255.0)
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
SMALL_CNN = {"encoder": "cnn", "conv_layers": ((4, 3, 2),)}
CONFIGS = {
    "the actor's last layer": (NUMBERS, {"encoder": "mlp", "pi": (5,), "vf": (7,)}, (5,), False),
    "the same, shared with the critic": (NUMBERS, {"encoder": "mlp", "pi": (5,), "vf": None}, (5,), True),
    "layers of its own": (NUMBERS, {"encoder": "mlp", "pi": (5,), "vf": (7,), "latent": (6, 4)}, (4,), True),
    "the observation": (NUMBERS, {"encoder": "mlp", "pi": (5,), "vf": (7,), "latent": ()}, (3,), True),
    "categories on those layers": (
        NUMBERS,
        {"encoder": "mlp", "pi": (5,), "vf": (7,), "latent": (6,), "categorical_latent": (2, 3)},
        (2, 3),
        True,
    ),
    "a feature map": (IMAGE, {**SMALL_CNN, "pi": (5,), "vf": None}, (3, 3, 4), True),
    "a feature map, not the critic's": (IMAGE, {**SMALL_CNN, "pi": (5,), "vf": (7,)}, (3, 3, 4), False),
    "a feature map, also the critic's": (
        IMAGE,
        {**SMALL_CNN, "pi": (5,), "vf": (7,), "latent": ()},
        (3, 3, 4),
        True,
    ),
    "a layer on the feature map": (IMAGE, {**SMALL_CNN, "pi": (5,), "vf": (7,), "latent": (6,)}, (6,), True),
}


@pytest.mark.parametrize("where", CONFIGS)
def test_the_latent_lies_where_the_configuration_says_and_is_all_that_a_judge_of_latents_reads(where):
    spec, fields, latent_shape, judges = CONFIGS[where]
    policy = make_actor_critic(spec, ACTIONS, ActorCriticConfig(**fields))
    assert policy.latent_shape == latent_shape
    assert (policy.judge is not None) is judges
    params = policy.init(jax.random.key(0))
    obs = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (4, *spec.shape)), spec.dtype)
    features = policy.features(params, obs)
    z = policy.latent(params, features)
    assert z.shape == (4, *latent_shape)
    out = policy.evaluate(params, obs, features, z)
    np.testing.assert_array_equal(policy.value(params, obs), out.value)
    if policy.judge is not None:
        judged = policy.judge(params, z)
        np.testing.assert_array_equal(judged.parameters, out.parameters)
        np.testing.assert_array_equal(judged.value, out.value)


def test_the_observation_as_latent_is_the_observation_itself():
    config = ActorCriticConfig(encoder="mlp", pi=(5,), vf=(7,), latent=())
    policy = make_actor_critic(NUMBERS, ACTIONS, config)
    params = policy.init(jax.random.key(0))
    obs = jnp.asarray([[1.0, -2.0, 3.0]])
    np.testing.assert_array_equal(policy.latent(params, policy.features(params, obs)), obs)


def test_the_critics_output_on_a_latent_is_its_layers_applied_to_it():
    config = ActorCriticConfig(encoder="mlp", pi=(5,), vf=(7,), latent=(4,), activation="relu")
    policy = make_actor_critic(NUMBERS, ACTIONS, config)
    params = policy.init(jax.random.key(0))
    z = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vf, head = (jax.tree.map(np.asarray, params[name]) for name in ("vf", "critic"))
    hidden = np.maximum(z @ vf["dense0"]["kernel"] + vf["dense0"]["bias"], 0.0)
    expected = (hidden @ head["kernel"] + head["bias"])[:, 0]
    np.testing.assert_allclose(policy.judge(params, jnp.asarray(z)).value, expected, rtol=1e-5)


def test_a_critic_on_the_latent_has_no_extractor_of_its_own():
    config = ActorCriticConfig(
        **{**SMALL_CNN, "pi": (5,), "vf": (7,), "latent": (6,)}, share_features_extractor=False
    )
    with pytest.raises(ValueError, match=r"share_features_extractor=False .* latent_arch=\[6\]"):
        make_actor_critic(IMAGE, ACTIONS, config)


def test_widths_of_the_latent_are_positive_integers():
    with pytest.raises(ValueError, match=r"latent_arch needs positive integers, got latent=\(8, 0\)"):
        ActorCriticConfig(encoder="mlp", pi=(5,), vf=(7,), latent=(8, 0))


@pytest.mark.parametrize("layers", [(), (6,)])
def test_a_lipschitz_actor_keeps_its_bound_whatever_its_weights(layers):
    config = ActorCriticConfig(encoder="mlp", pi=layers, vf=(7,), latent=(), actor_lipschitz=0.5)
    policy = make_actor_critic(NUMBERS, ActionSpec(kind="discrete", nvec=(4,)), config)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(200, 3)), jnp.float32)
    params = policy.init(jax.random.key(0))
    steep = {**params, **{name: jax.tree.map(lambda x: 1e3 * x, params[name]) for name in ("pi", "actor")}}
    logits = np.asarray(policy.actor(steep, z), np.float64)
    apart = np.sqrt(((z[:, None] - z[None]) ** 2).sum(-1)) + np.eye(len(z))
    slopes = np.sqrt(((logits[:, None] - logits[None]) ** 2).sum(-1)) / apart
    assert 0.3 < slopes.max() <= 0.5 + 1e-5
    assert policy.lipschitz == 0.5
    if not layers:  # weights inside the bound stay as they are
        np.testing.assert_allclose(
            policy.actor(params, z), z @ params["actor"]["dense"]["kernel"], rtol=1e-5, atol=1e-7
        )


def test_a_lipschitz_actor_needs_discrete_actions():
    box = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
    with pytest.raises(ValueError, match="actor_lipschitz=1 needs discrete actions, got a Box"):
        make_actor_critic(
            NUMBERS, box, ActorCriticConfig(encoder="mlp", pi=(5,), vf=(7,), actor_lipschitz=1.0)
        )
