import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.testing import ConformanceError, check_functional_env
from spi_plugins.types import ActionSpec, ArraySpec


def a_walk(**changes):
    """A random walk on a line with the action as its push; every function right unless changed."""
    functions = {
        "observation_spec": ArraySpec(kind="box", shape=(1,), dtype="float32", low=-100.0, high=100.0),
        "action_spec": ActionSpec(kind="box", shape=(1,), low=(-1.0,), high=(1.0,)),
        "params": jnp.float32(0.1),
        "initial": lambda key, params: {"x": jax.random.normal(key, (1,)), "t": jnp.int32(0)},
        "observation": lambda state, params: state["x"].clip(-100, 100),
        "transition": lambda state, action, key, params: {
            "x": state["x"] + action + params * jax.random.normal(key, (1,)),
            "t": state["t"] + 1,
        },
        "reward": lambda state, action, after, params: -jnp.abs(after["x"][0]),
        "cost": lambda state, action, after, params: jnp.float32(0.0),
        "terminal": lambda state, params: state["x"][0] > 5.0,
    }
    return FunctionalEnv(**{**functions, **changes})


def test_a_right_environment_conforms():
    check_functional_env(a_walk())


@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec(kind="discrete", nvec=(3,)),
        ActionSpec(kind="multi_discrete", shape=(2,), nvec=(3, 2)),
        ActionSpec(kind="box", shape=(2, 2), low=(-1.0,) * 4, high=(1.0,) * 4),
    ],
    ids=lambda spec: spec.kind,
)
def test_every_kind_of_action_is_drawn_in_its_shape_and_bounds(spec):
    def transition(state, action, key, params):
        assert action.shape == spec.shape
        return {"x": state["x"] + jnp.sum(action).reshape(1), "t": state["t"] + 1}

    check_functional_env(a_walk(action_spec=spec, transition=transition))


def test_a_dict_of_observations_conforms():
    box = ArraySpec(kind="box", shape=(1,), dtype="float32")
    flag = ArraySpec(kind="multi_binary", shape=(2,), dtype="int8", low=0, high=1)
    check_functional_env(
        a_walk(
            observation_spec=(("flag", flag), ("x", box)),
            observation=lambda state, params: {"x": state["x"], "flag": jnp.ones(2, jnp.int8)},
        )
    )


def growing(state, action, key, params):
    return {"x": jnp.concatenate([state["x"], action]), "t": state["t"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": lambda s, p: s["x"][0]}, r"observation must be float32 of shape \(1,\)"),
        ({"observation": lambda s, p: s["x"].astype(jnp.float16)}, "got float16"),
        ({"observation": lambda s, p: s["x"] * 0 + 500}, r"must stay in \[-100.0, 100.0\]"),
        ({"observation": lambda s, p: s["x"] / 0}, "must stay in"),
        (
            {"observation_spec": (("x", ArraySpec(kind="box", shape=(1,), dtype="float32")),)},
            "dict with the keys",
        ),
        ({"transition": growing}, "must keep the state's layout"),
        (
            {"transition": lambda s, a, k, p: {"x": s["x"] + a, "t": s["t"] + 1.0}},
            "must keep the state's layout",
        ),
        ({"reward": lambda s, a, n, p: n["x"]}, r"reward must be float32 of shape \(\)"),
        ({"cost": lambda s, a, n, p: jnp.int32(1)}, r"cost must be float32 of shape \(\), got int32"),
        ({"cost": lambda s, a, n, p: jnp.float32(jnp.nan)}, "cost must be finite"),
        ({"terminal": lambda s, p: s["x"][0]}, r"terminal must be bool of shape \(\)"),
        ({"max_episode_steps": 0}, "max_episode_steps must be None or at least 1"),
        ({"render": lambda s, p: np.zeros((8, 8))}, "render must return a uint8"),
    ],
)
def test_a_broken_environment_fails_with_a_reason(changes, message):
    with pytest.raises(ConformanceError, match=message):
        check_functional_env(a_walk(**changes))


def test_what_is_no_functional_environment_is_refused():
    with pytest.raises(ConformanceError, match="must return a FunctionalEnv, got dict"):
        check_functional_env({})
