import jax
import jax.numpy as jnp
import pytest

from spi_plugins import buffers
from spi_plugins.testing import ConformanceError, check_world_model
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.model import Learner, Model, ModelSpec, Step, WorldModel

OBSERVATIONS = ArraySpec(kind="box", shape=(3,), dtype="float32", low=-2.0, high=2.0)
ACTIONS = ActionSpec(kind="discrete", nvec=(2,))


def init(key):
    return {"w": 0.1 * jax.random.normal(key, (3, 3)), "r": jnp.zeros(3)}


def step(params, z, action, key):
    return Step(z @ params["w"], z @ params["r"], jnp.zeros((0, len(z))), jnp.zeros(len(z)))


def objective(params, buffer):
    windows = buffers.sample(buffer, jax.random.key(0), 64, 1)
    found = step(params, windows.obs[0], None, None)
    errors = jnp.sum((found.next_z - windows.obs[1]) ** 2, axis=1) + (found.reward - windows.reward[0]) ** 2
    return jnp.mean(jnp.where(windows.valid[0], errors, 0.0))


def update(state, buffer, n_updates, learning_rate):
    def body(_, state):
        return jax.tree.map(lambda p, g: p - 0.1 * g, state, jax.grad(objective)(state, buffer))

    state = jax.lax.fori_loop(0, n_updates, body, state)
    return state, {"loss": objective(state, buffer)}


LEARNER = Learner(init=lambda key, buffer: init(key), update=update, params=lambda state: state)
SPEC = ModelSpec(latent_shape=(3,), action_size=2, nvec=(2,))
MODEL = Model(spec=SPEC, encode=lambda params, obs: obs, step=step)


def check(model=MODEL, **changes):
    """Check a right world, the smallest there is, with something of it changed."""

    def factory(observations, actions, **settings):
        world = WorldModel("linear", dict(settings), model, init, LEARNER)
        return world._replace(**changes)

    check_world_model(factory, OBSERVATIONS, ACTIONS, gain=2.0)


def test_a_right_model_conforms():
    check()


def test_a_model_that_only_an_agent_fits_conforms():
    check(learner=None)


def stepping(**changes):
    return MODEL._replace(step=lambda *args: step(*args)._replace(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": ""}, "kind must be the registered name"),
        ({"init": lambda key: {}}, "at least one array"),
        (
            {"init": lambda key: {"w": jnp.full((3, 3), jnp.nan), "r": jnp.zeros(3)}},
            "must return finite arrays",
        ),
        ({"settings": {"gain": jnp.ones(2)}}, "settings must be what JSON can hold"),
        (
            {"model": MODEL._replace(encode=lambda params, obs: obs[:, :2])},
            r"encode must be float32 of shape \(8, 3\)",
        ),
        ({"model": MODEL._replace(value=lambda *args: None)}, "model.value must be None: spec.n_values is 0"),
        ({"model": stepping(reward=jnp.zeros(3))}, r"step\(\).reward must be float32 of shape \(8,\)"),
        ({"model": stepping(terminated=jnp.full(8, 2.0))}, "must be probabilities"),
        (
            {"learner": LEARNER._replace(update=lambda state, *rest: (state, {"loss": jnp.float32(1.0)}))},
            "must lower the losses: 1 became 1",
        ),
        ({"learner": LEARNER._replace(params=lambda state: state["w"])}, "parameters like init's"),
    ],
)
def test_a_broken_model_fails_with_a_reason(changes, message):
    with pytest.raises(ConformanceError, match=message):
        check(**changes)


def test_something_else_is_named():
    with pytest.raises(ConformanceError, match="must return a WorldModel, got dict"):
        check_world_model(lambda observations, actions: {}, OBSERVATIONS, ACTIONS)
