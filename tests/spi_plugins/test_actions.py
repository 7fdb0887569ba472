import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

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
    "space",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 4]),
        spaces.MultiDiscrete([[2, 4], [3, 2]]),
        spaces.Box(-2.0, 3.0, (2, 2), np.float32),
    ],
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


def finite_box(dtype):
    """Boxes of any finite bounds, some dimensions without width."""
    if np.dtype(dtype).kind == "f":
        numbers = st.floats(allow_nan=False, allow_infinity=False, width=8 * np.dtype(dtype).itemsize)
    else:
        limits = np.iinfo(dtype)
        numbers = st.integers(int(limits.min), int(limits.max))
    pairs = st.tuples(numbers, numbers) | numbers.map(lambda x: (x, x))

    def box(bounds):
        low, high = (np.array([f(pair) for pair in bounds], dtype) for f in (min, max))
        return spaces.Box(low, high, dtype=dtype)

    return st.lists(pairs, min_size=1, max_size=3).map(box)


BOXES = st.sampled_from(["float16", "float32", "float64", "int8", "int32", "int64", "uint64"]).flatmap(
    finite_box
)
COUNTED = st.builds(
    lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-9, 9)
) | (
    arrays.arrays(np.int64, arrays.array_shapes(max_dims=2, max_side=3), elements=st.integers(1, 5)).flatmap(
        lambda nvec: st.sampled_from(
            [spaces.MultiDiscrete(nvec, start=nvec - 7), spaces.MultiBinary(nvec.shape)]
        )
    )
)
ANY_FLOAT = st.floats(width=32, allow_nan=False)


def assert_contained(space, actions):
    assert actions.dtype == space.dtype
    for i in range(len(actions)):
        assert space.contains(actions[i, ...]), (space, actions[i, ...])


@settings(max_examples=150, deadline=None)
@given(BOXES, st.data())
def test_every_action_is_in_its_box(space, data):
    spec = action_spec(space)
    numbers = st.lists(ANY_FLOAT, min_size=spec.size, max_size=spec.size)
    sampled = np.array([data.draw(numbers) for _ in range(2)], np.float32)
    executed = np.asarray(executed_action(spec, jnp.asarray(sampled)))
    for numbers in (sampled, executed, random_actions(spec, np.random.default_rng(0), (2,))):
        assert_contained(space, to_action(space, numbers))
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.asarray(model_action(spec, jnp.asarray(from_action(space, to_action(space, executed)))))
    assert np.isfinite(unit).all()
    assert np.abs(unit).max() <= 1
    assert_contained(space, scale_action(space, unit))
    ends = scale_action(space, np.array([[-1.0], [0.0], [1.0]]) * np.ones((1, spec.size)))
    assert_contained(space, ends)
    middle = 0.5 * space.low.astype(np.float64) + 0.5 * space.high.astype(np.float64)
    want = np.asarray([space.low, middle, space.high], np.float64)
    with np.errstate(invalid="ignore"):  # 2**63 as a float
        rounded = want.astype(space.dtype)  # the spacing above the largest number would overflow
    step = 0.5
    if space.dtype.kind == "f":  # next to zero, numbers are one smallest subnormal apart
        below = np.abs(rounded - np.nextafter(rounded, 0, dtype=space.dtype))
        step = np.maximum(below, np.finfo(space.dtype).smallest_subnormal)
    tolerance = np.maximum(step, np.abs(want).max(axis=0) * 1e-15)
    assert (np.abs(ends.astype(np.float64) - want) <= tolerance).all()


@settings(max_examples=60, deadline=None)
@given(COUNTED)
def test_every_counted_action_is_in_its_space_and_comes_back(space):
    drawn = random_actions(action_spec(space), np.random.default_rng(0), (4,))
    actions = to_action(space, drawn)
    assert_contained(space, actions)
    np.testing.assert_array_equal(from_action(space, actions), drawn)


def test_a_dimension_without_width_does_not_divide_by_zero():
    space = spaces.Box(np.array([1, 0], np.float32), np.array([1, 4], np.float32))
    np.testing.assert_array_equal(model_action(action_spec(space), jnp.array([[5.0, 3.0]])), [[0.0, 0.5]])
    np.testing.assert_array_equal(scale_action(space, np.array([[-1.0, 0.5]])), [[1.0, 3.0]])


def test_an_action_of_an_integer_box_is_rounded_before_a_model_reads_it():
    spec = action_spec(spaces.Box(-2, 2, (2,), np.int32))
    np.testing.assert_array_equal(executed_action(spec, jnp.array([[0.6, 9.0]])), [[1.0, 2.0]])
    np.testing.assert_array_equal(model_action(spec, jnp.array([[0.6, 9.0]])), [[0.5, 1.0]])
