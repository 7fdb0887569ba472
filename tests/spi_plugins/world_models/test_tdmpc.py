import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.loss import SPOWLParts, targets_of, world_model_objective
from spi_plugins.buffers import Windows
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.tdmpc import make_tdmpc
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

OBSERVATIONS = ArraySpec(kind="box", shape=(3,), dtype="float32")
IMAGE = ArraySpec(kind="image", shape=(16, 16, 1), dtype="uint8", low=0.0, high=255.0)
ACTIONS = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
TINY = TDMPCConfig(encoder_hidden=(8,), latent_dim=16, hidden=(8,), n_values=3, n_costs=2)
CONFIG = SPOWLConfig(model=TINY)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def world():
    return make_tdmpc(OBSERVATIONS, ACTIONS, TINY)


@pytest.fixture(scope="module")
def params(world):
    return world.init(KEY)


def test_an_untrained_model_is_as_published(world, params):
    """Heads start at exactly 0, the policy nearly at its mean, each group of the latent sums to 1."""
    model = world.model
    z = model.encode(params, jax.random.normal(KEY, (5, 3)))
    np.testing.assert_allclose(z.reshape(5, 2, 8).sum(-1), 1.0, rtol=1e-6)
    action = jnp.zeros((5, 2))
    step = model.step(params, z, action, KEY)
    for zeros in (
        step.reward,
        step.cost,
        model.value(params, z, action, None),
        model.cost_value(params, z, action, None),
    ):
        np.testing.assert_allclose(zeros, 0.0, atol=1e-5)
    assert step.cost.shape == (2, 5)
    calm = model.policy(params, z, KEY, deterministic=True)
    noisy = model.policy(params, z, KEY, deterministic=False)
    assert np.std(noisy - calm) == pytest.approx(0.018, rel=0.6)  # log deviation -4


def test_members_chooses_heads(world, params):
    z, action = jax.random.uniform(KEY, (4, 16)), jnp.zeros((4, 2))
    params = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape), params)
    everything = world.model.value(params, z, action, None)
    np.testing.assert_allclose(
        world.model.value(params, z, action, jnp.asarray([2, 0])), everything[jnp.asarray([2, 0])], rtol=1e-5
    )


def test_the_default_has_the_papers_number_of_parameters():
    shapes = jax.eval_shape(
        make_tdmpc(dataclasses.replace(OBSERVATIONS, shape=(60,)), ACTIONS, TDMPCConfig()).init, KEY
    )
    count = {
        name: sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(part)) for name, part in shapes.items()
    }
    assert count == {"encoder": 148_736, "dynamics": 792_064, "reward": 580_197, "cost": 2_900_985,
                     "value": 2_900_985, "cost_value": 2_900_985, "policy": 529_412}  # fmt: skip


def windows(reset, done=None, spoil=0.0):
    """Two windows of three steps; what belongs to the first window's second step is ``spoil`` larger."""
    rng = np.random.default_rng(0)
    reward, cost = rng.normal(size=(3, 2)).astype(np.float32), np.ones((3, 2), np.float32)
    action = rng.uniform(-1, 1, (3, 2, 2)).astype(np.float32)
    for array in (reward, cost, action):
        array[1, 0] += spoil
    valid = np.ones((3, 2), bool)
    valid[1, 0] = not reset
    ends = np.zeros((4, 2), bool) if done is None else done
    obs = rng.normal(size=(4, 2, 3)).astype(np.float32)
    return Windows(*map(jnp.asarray, (obs, action, reward, cost, np.zeros((3, 2), bool), valid, ends)))


def losses(world, params, batch):
    parts = SPOWLParts(CONFIG, world)
    targets = targets_of(parts, params, world.critics_of(params), batch, KEY)
    return world_model_objective(params, parts, batch, targets, KEY)[1]


@pytest.mark.parametrize("masked", [True, False])
def test_a_step_into_a_new_episode_teaches_nothing_and_the_latent_begins_anew(world, params, masked):
    params = jax.tree.map(lambda p: 0.3 * jax.random.normal(KEY, p.shape), params)
    plain, z = losses(world, params, windows(masked))
    spoiled, _ = losses(world, params, windows(masked, spoil=0.5))
    equal = [bool(jnp.allclose(a, b)) for a, b in zip(plain.values(), spoiled.values(), strict=True)]
    assert all(equal) == masked
    encoded = world.model.encode(params, windows(masked).obs[2])
    assert bool(jnp.allclose(z[2, 0], encoded[0], atol=1e-5)) == masked


def test_targets_are_the_least_of_two_slow_critics_and_the_mean_of_the_cost_critics(world, params):
    params = jax.tree.map(lambda p: 0.3 * jax.random.normal(KEY, p.shape), params)
    slow = {name: jax.tree.map(lambda p: p + 0.1, params[name]) for name in ("value", "cost_value")}
    two = dataclasses.replace(TINY, n_values=2)  # then both are drawn
    world = make_tdmpc(OBSERVATIONS, ACTIONS, two)
    cut = {**params, "value": jax.tree.map(lambda p: p[:2], params["value"])}
    slow = {**slow, "value": jax.tree.map(lambda p: p[:2], slow["value"])}
    batch = windows(False)._replace(terminated=jnp.zeros((3, 2), bool).at[0, 1].set(True))
    config = dataclasses.replace(CONFIG, model=two)
    got = targets_of(SPOWLParts(config, world), cut, world.critics_of(slow), batch, KEY)
    z = world.model.encode(cut, batch.obs[1:].reshape(6, 3))
    action = world.act(cut, z, jax.random.split(KEY)[0])[0]
    alive = 1.0 - batch.terminated.astype(jnp.float32)
    q = world.model.value({**cut, **slow}, z, action, None).min(0).reshape(3, 2)
    c = world.model.cost_value({**cut, **slow}, z, action, None).mean(0).reshape(3, 2)
    np.testing.assert_allclose(got.value, batch.reward + 0.975 * alive * q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.cost_value, batch.cost + 0.997 * alive * c, rtol=1e-4, atol=1e-5)


def test_images_and_dicts_are_encoded():
    both = (("picture", IMAGE), ("vector", OBSERVATIONS))
    obs = {"picture": jnp.zeros((2, 16, 16, 1), jnp.uint8), "vector": jnp.zeros((2, 3))}
    for spec, value in ((IMAGE, obs["picture"]), (both, obs)):
        world = make_tdmpc(spec, ACTIONS, TINY)
        assert world.model.encode(world.init(KEY), value).shape == (2, 16)


def test_a_model_without_costs_has_no_parts_of_them():
    world = make_tdmpc(OBSERVATIONS, ACTIONS, dataclasses.replace(TINY, n_costs=0))
    params = world.init(KEY)
    assert not {"cost", "cost_value"} & params.keys()
    assert world.model.parts == {"value", "policy", "uncertainty"}
    assert world.model.step(params, jnp.zeros((3, 16)), jnp.zeros((3, 2)), KEY).cost.shape == (0, 3)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"latent_dim": 12}, "latent_dim=12 must be a multiple of simnorm_dim=8"),
        ({"hidden": (8, 0)}, "hidden must be a tuple of at least one width, each at least 1"),
        ({"n_values": 0}, "n_values must be an integer of at least 1, got 0"),
        ({"gamma": 1.5}, r"gamma must be a number at least 0 and at most 1, got 1.5"),
        ({"dropout": 1.0}, "dropout"),
        ({"bin_min": 3.0, "bin_max": 2.0}, "bin_min=3.0 must be below bin_max=2.0"),
    ],
)
def test_settings_out_of_range_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TDMPCConfig(**kwargs)


def test_what_it_cannot_model_is_refused():
    with pytest.raises(ValueError, match="decoder=True decodes one array of numbers"):
        make_tdmpc(IMAGE, ACTIONS, dataclasses.replace(TINY, decoder=True))
