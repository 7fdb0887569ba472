from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.testing import ConformanceError, check_world_model
from spi_plugins.types import ActionSpec
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp

ACTION = ActionSpec(kind="discrete", nvec=(3,))
LATENTS = np.random.default_rng(0).uniform(size=(4, 5)).astype(np.float32)


class Losses(NamedTuple):
    transition: jax.Array
    reward: jax.Array


class Linear(NamedTuple):
    """A right model, as small as can be."""

    init: object = lambda key: {"w": 0.1 * jax.random.normal(key, (5, 5)), "r": jnp.zeros(5)}
    losses: object = None
    predict: object = lambda params, z, action, key: z @ params["w"]
    reward: object = lambda params, z, action: z @ params["r"]
    termination: object = None


def losses(params, z, action, reward, next_z, terminated, key):
    return Losses(jnp.sum((z @ params["w"] - next_z) ** 2, axis=1), (z @ params["r"] - reward) ** 2)


RIGHT = Linear(losses=losses)


def check(**changes):
    check_world_model(RIGHT._replace(**changes), LATENTS, ACTION)


def test_a_right_model_conforms():
    check()
    check(termination=lambda params, z: jax.nn.sigmoid(z @ params["r"]))


def test_a_model_with_a_termination_predictor_conforms():
    config = DeepMDPConfig(transition_density="deterministic", lipschitz=False, termination=True)
    model = make_deep_mdp((5,), ACTION, config)
    check_world_model(model, LATENTS, ACTION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predict": None}, "must have a function 'predict'"),
        ({"init": lambda key: {}}, "at least one array"),
        (
            {"init": lambda key: {"w": jnp.full((5, 5), jnp.nan), "r": jnp.zeros(5)}},
            "must give finite arrays",
        ),
        ({"predict": lambda p, z, a, k: z[:, :3]}, r"predict must give float32 \[4, 5\]"),
        ({"predict": lambda p, z, a, k: (z @ p["w"]).astype(jnp.float16)}, "got float16"),
        ({"reward": lambda p, z, a: z @ p["w"]}, r"reward must give float32 \[4\]"),
        ({"termination": lambda p, z: z[:, 0] + 3}, "termination must give probabilities"),
        (
            {"losses": lambda *args: Losses(*(x[:1] for x in losses(*args)))},
            r"losses\(\).transition must give",
        ),
        ({"losses": lambda *args: Losses(jnp.ones(4), jnp.ones(4))}, "finite gradients, not all 0"),
    ],
)
def test_a_broken_model_fails_with_a_reason(changes, message):
    with pytest.raises(ConformanceError, match=message):
        check(**changes)


def test_a_model_that_cannot_learn_fails_with_a_reason():
    @jax.custom_jvp
    def turned(x):
        return x

    turned.defjvps(lambda tangent, primal, x: -tangent)

    def uphill(*args):
        return Losses(*(turned(x) for x in losses(*args)))

    with pytest.raises(ConformanceError, match="must lower the losses"):
        check(losses=uphill)


def test_latents_need_a_batch_axis():
    with pytest.raises(ConformanceError, match=r"latents must be \[B, \*latent_shape\]"):
        check_world_model(RIGHT, LATENTS[0], ACTION)
