"""World models that compile quickly, and one whose dreams can be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from spi_plugins.dreams.file import Experience, store_world_model
from spi_plugins.fitting.ensemble import make_ensemble_world
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.model import FittedModel, Model, ModelSpec, Step

CARTPOLE_SPACE = spaces.Box(
    np.array([-4.8, -np.inf, -0.42, -np.inf], np.float32), np.array([4.8, np.inf, 0.42, np.inf], np.float32)
)
TWO = spaces.Discrete(2)
SETTINGS = {"hidden": (8,), "n_members": 2, "batch_size": 16}


def tiny_world(observation_space=CARTPOLE_SPACE, action_space=TWO, *, seed=0, n=32, **settings):
    """An ``"ensemble"`` world that was never fitted, with random start states, the first four of episodes."""
    observations, actions = observation_spec(observation_space), action_spec(action_space)
    world = make_ensemble_world(observations, actions, **{**SETTINGS, **settings})
    rng = np.random.default_rng(seed)
    if observation_space.dtype == np.uint8:
        obs = rng.integers(256, size=(n, *observation_space.shape), dtype=np.uint8)
    else:
        obs = rng.normal(size=(n, *observation_space.shape)).astype(np.float32)
    params = world.init(jax.random.key(seed))
    seen = Experience(obs, np.arange(n) < 4)
    return store_world_model(world, params, (observation_space, action_space), seen, {"losses": {}})


# The known world: the latent is a number x and the action a number a in [-1, 1]. x becomes x + a, the reward is x,
# the cost a^2, the uncertainty |a|, and episodes end with the probability p in the parameters. It decodes to 10 x.
KNOWN_ACTIONS = ActionSpec(kind="box", shape=(1,), low=(-1.0,), high=(1.0,))
KNOWN_OBSERVATIONS = ArraySpec(kind="box", shape=(1,), dtype="float32", low=-100.0, high=100.0)


def _step(params, z, action, key):
    noise = 0.0 if key is None else params["noise"] * jax.random.normal(key, z.shape)
    return Step(z + action + noise, z[:, 0], action.T**2, jnp.broadcast_to(params["end"], (len(z),)))


KNOWN_MODEL = Model(
    spec=ModelSpec(latent_shape=(1,), action_size=1, n_costs=1, has_termination=True),
    encode=lambda params, obs: obs / 10.0,
    step=_step,
    decode=lambda params, z: 10.0 * z,
    uncertainty=lambda params, z, action: jnp.abs(action[:, 0]),
)


def known_world(end=0.0, noise=0.0):
    params = {"end": jnp.float32(end), "noise": jnp.float32(noise)}
    return FittedModel(KNOWN_MODEL, params, KNOWN_OBSERVATIONS, KNOWN_ACTIONS)
