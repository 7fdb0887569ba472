import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from spi_plugins.actions import (
    executed_action,
    from_action,
    model_action,
    random_actions,
    restored_action,
    scale_action,
    stored_action,
    to_action,
)
from spi_plugins.spaces import action_spec
from spi_plugins.types import ActionSpec, device_dtype


def test_box_actions_are_clipped_for_the_environment_and_scaled_for_the_model():
    spec = ActionSpec(kind="box", shape=(2,), low=(-2.0, 0.0), high=(2.0, 1.0))
    action = jnp.asarray([[3.0, 0.5], [-1.0, -1.0]])
    np.testing.assert_allclose(executed_action(spec, action), [[2.0, 0.5], [-1.0, 0.0]])
    np.testing.assert_allclose(model_action(spec, action), [[1.0, 0.0], [-0.5, -1.0]])


@pytest.mark.parametrize(
    "space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 4]), spaces.Box(-2.0, 3.0, (2, 2), np.float32)]
)
def test_a_stored_action_comes_back_as_the_model_reads_it(space):
    spec = action_spec(space)
    drawn = random_actions(spec, np.random.default_rng(0), (5,))
    model = model_action(spec, jnp.asarray(drawn))
    stored = stored_action(spec, jnp.asarray(drawn))
    assert stored.dtype == jnp.float32
    assert stored.ndim == 2
    restored = restored_action(spec, stored)
    assert restored.dtype == model.dtype
    np.testing.assert_array_equal(restored, model)
    if spec.kind == "box":
        np.testing.assert_allclose(scale_action(space, np.asarray(model)), drawn, atol=1e-6)


@pytest.mark.parametrize(
    ("space", "spec_action", "space_action"),
    [
        (spaces.Discrete(3, start=-1), np.array([0, 2]), np.array([-1, 1])),
        (spaces.MultiDiscrete([2, 3], start=[5, 1]), np.array([[0, 2]]), np.array([[5, 3]])),
        (spaces.MultiBinary(2), np.array([0, 1]), np.array([0, 1])),
        (spaces.Box(-1, 1, (1,), np.float64), np.array([0.5], np.float32), np.array([0.5])),
    ],
)
def test_actions_are_translated_both_ways(space, spec_action, space_action):
    translated = to_action(space, spec_action)
    np.testing.assert_array_equal(translated, space_action)
    assert translated.dtype == space.dtype
    back = from_action(space, translated)
    np.testing.assert_array_equal(back, spec_action)
    assert back.dtype == (np.float32 if isinstance(space, spaces.Box) else np.int32)


@pytest.mark.parametrize(
    ("dtype", "device"),
    [("float64", "float32"), (np.int64, "int32"), (np.dtype("uint64"), "uint32"), ("uint8", "uint8")],
)
def test_the_device_keeps_32_bits_of_64(dtype, device):
    assert device_dtype(dtype) == device == jnp.asarray(np.zeros(1, dtype)).dtype.name
