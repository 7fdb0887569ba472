import numpy as np
import pytest
from gymnasium import spaces

from spi_plugins.spaces import (
    action_space,
    action_spec,
    flat_observation,
    flat_space,
    observation_space,
    observation_spec,
)
from spi_plugins.types import ActionSpec, ArraySpec

VECTOR = spaces.Box(-1, 1, (3,), np.float32)


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("space", "channels_first"),
    [(image(84, 84, 4), False), (image(4, 84, 84), True), (image(36, 3, 36), False), (image(3, 3, 3), True)],
)
def test_an_image_has_uint8_and_three_axes_and_its_channels_come_first_if_fewest(space, channels_first):
    spec = observation_spec(space)
    assert isinstance(spec, ArraySpec)
    assert (spec.kind, spec.shape, spec.dtype, spec.low, spec.high) == ("image", space.shape, "uint8", 0, 255)
    assert spec.channels_first is channels_first


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 254, (84, 84, 3), np.uint8),
        spaces.Box(0, 1, (84, 84, 3), np.float32),
        spaces.Box(0, 255, (128,), np.uint8),
        spaces.Box(0, 255, (4, 84, 84, 3), np.uint8),
    ],
)
def test_any_other_box_is_a_vector(space):
    assert observation_spec(space).kind == "box"


def test_the_bounds_of_a_box_are_the_outermost():
    spec = observation_spec(spaces.Box(np.array([-2.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64))
    assert spec == ArraySpec(kind="box", shape=(2,), dtype="float64", low=-2.0, high=np.inf)


OBSERVATIONS = [
    image(84, 84, 3),
    image(1, 84, 84),
    spaces.Box(-1, 2, (3,), np.float32),
    spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    spaces.Box(0, 255, (128,), np.uint8),
    spaces.Discrete(5),
    spaces.Discrete(5, dtype=np.int32),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-1, 7]]),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(4),
    spaces.MultiBinary((2, 2)),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.Box(0, 1, (3,), bool),
    spaces.Dict({"b": spaces.Discrete(2), "a": image(40, 40, 3)}),
]


@pytest.mark.parametrize("space", OBSERVATIONS, ids=str)
def test_observation_spaces_survive_the_round_trip(space):
    spec = observation_spec(space)
    hash(spec)
    assert observation_space(spec) == space
    assert observation_spec(observation_space(spec)) == spec


def test_integers_beyond_32_bits_are_floats():
    assert observation_spec(spaces.Box(0, 2**40, (1,), np.int64)).dtype == "float32"
    assert observation_spec(spaces.Box(0, 2**32 - 1, (1,), np.uint64)).dtype == "uint64"


def test_nested_entries_are_named_by_their_paths():
    space = spaces.Dict(
        {"outer": spaces.Dict({"inner": spaces.Discrete(2)}), "pair": spaces.Tuple([VECTOR] * 2)}
    )
    spec = observation_spec(space)
    assert [key for key, _ in spec] == ["outer/inner", "pair/0", "pair/1"]
    assert observation_spec(flat_space(space)) == spec
    assert flat_space(space).contains(flat_observation(space.sample()))


def test_dict_entries_are_sorted_by_key():
    spec = observation_spec(spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Discrete(3))]))
    assert [key for key, _ in spec] == ["a", "z"]


ACTIONS = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 5]),
    spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
    spaces.Box(-1, 1, (2, 3), np.float32),
    spaces.Box(-0.1, 0.3, (2,), np.float64),
    spaces.Box(np.array([1, 0], np.float16), np.array([1, 3], np.float16), dtype=np.float16),
    spaces.Box(0, 2**62 + 1, (2,), np.int64),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
]


@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_action_spaces_survive_the_round_trip(space):
    spec = action_spec(space)
    hash(spec)
    assert action_space(spec) == space


def test_a_box_action_keeps_its_bounds_in_flat_order():
    spec = action_spec(ACTIONS[2])
    assert spec == ActionSpec(kind="box", shape=(2,), low=(-2.0, 0.0), high=(2.0, 1.0))


def test_binary_actions_are_two_valued_entries():
    nested = ActionSpec(kind="multi_discrete", shape=(2, 2), nvec=(2, 2, 2, 2))
    assert action_spec(spaces.MultiBinary((2, 2))) == nested
    assert action_spec(spaces.MultiBinary(3)) == ActionSpec(kind="multi_discrete", shape=(3,), nvec=(2, 2, 2))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Tuple([]),
        spaces.Dict({}),
        spaces.Box(0, 1, (0,), np.float32),
        spaces.Dict({1: spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_an_unsupported_observation_space_is_named(space):
    with pytest.raises(ValueError, match=r"observation space") as error:
        observation_spec(space)
    assert str(space) in str(error.value)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, 1, (2,), np.float32),
        spaces.Box(0, np.inf, (2,), np.float64),
        spaces.Box(-np.inf, 1, (2,), np.int64),
        spaces.Box(0, 1, (0,), np.float32),
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_an_unsupported_action_space_is_named(space):
    with pytest.raises(ValueError, match="Allowed") as error:
        action_spec(space)
    assert str(space) in str(error.value)
