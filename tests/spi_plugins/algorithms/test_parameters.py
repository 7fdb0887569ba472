"""Seeds, and parameters in and out of a model."""

import io

import numpy as np
import pytest
from tiny_models import tiny_deep_spi, tiny_ppo

from spi_plugins.errors import ModelFileError


def same(first, second):
    """Whether two results of get_parameters are equal bit for bit."""
    assert first.keys() == second.keys()
    assert all(first[group].keys() == second[group].keys() for group in first)
    return all(
        np.array_equal(first[group][name], second[group][name]) for group in first for name in first[group]
    )


@pytest.fixture(scope="module")
def trained():
    return tiny_ppo().learn(24)


@pytest.mark.parametrize("path", ["compiled", "stepped", "gymnasium"])
def test_a_seed_makes_a_run_reproducible(path):
    runs = [tiny_ppo(path, seed=seed).learn(24).get_parameters() for seed in (5, 5, 6)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_without_a_seed_every_model_is_another():
    assert not same(tiny_ppo(seed=None).get_parameters(), tiny_ppo(seed=None).get_parameters())


def test_a_seed_can_be_set_later(trained):
    models = [tiny_ppo(seed=9), tiny_ppo(seed=8)]
    batch = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    for model in models:
        model.set_parameters(trained.get_parameters())
        model.predict(batch)
        model.set_random_seed(7)
    np.testing.assert_array_equal(*(model.predict(batch)[0] for model in models))
    assert same(*(model.learn(16).get_parameters() for model in models))


def test_parameters_come_in_groups_of_named_arrays():
    parameters = tiny_deep_spi().get_parameters()
    assert set(parameters) == {"policy", "world_model", "optimizer"}
    for group in parameters.values():
        assert all(isinstance(value, np.ndarray) for value in group.values())
    assert {"actor/dense/kernel", "critic/bias"} <= set(parameters["policy"])


def test_parameters_are_copies_that_writing_into_leaves_the_model_alone(trained):
    parameters = trained.get_parameters()
    parameters["policy"]["critic/bias"][:] = 77
    assert trained.get_parameters()["policy"]["critic/bias"] != 77


def test_a_round_trip_carries_everything_that_training_and_prediction_depend_on(trained):
    other = tiny_ppo(seed=9)
    other.set_parameters(trained.get_parameters())
    assert same(other.get_parameters(), trained.get_parameters())
    batch = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    np.testing.assert_array_equal(
        other.predict(batch, deterministic=True)[0], trained.predict(batch, deterministic=True)[0]
    )
    # Nor does the first model's training reach into the second one's arrays.
    kept = other.get_parameters()
    trained.learn(8)
    assert same(other.get_parameters(), kept)
    other.learn(8)


def test_a_part_may_be_set_alone_if_it_is_said_so(trained):
    model = tiny_ppo(seed=9)
    before = model.get_parameters()
    part = {"policy": {"critic/bias": np.array([3.0])}}
    with pytest.raises(
        ModelFileError, match=r"missing \['optimizer'\]; this model has \['optimizer', 'policy'\]"
    ):
        model.set_parameters(part)
    assert same(model.get_parameters(), before)
    model.set_parameters(part, exact_match=False)
    after = model.get_parameters()
    assert after["policy"].pop("critic/bias") == 3.0
    del before["policy"]["critic/bias"]
    assert same(after, before)


def test_a_policy_can_be_carried_from_one_algorithm_to_another(trained):
    file = io.BytesIO()
    trained.save(file)
    file.seek(0)
    model = tiny_deep_spi()
    model.set_parameters(file, exact_match=False)
    parameters, source = model.get_parameters(), trained.get_parameters()
    assert same({"policy": parameters["policy"]}, {"policy": source["policy"]})
    model.learn(8)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.update(actor={}), r"unknown \['actor'\]"),
        (lambda p: p["policy"].pop("critic/bias"), r"parameters of 'policy' do not fit.*missing critic/bias"),
        (lambda p: p["policy"].update(extra=np.ones(1)), "unexpected extra"),
        (
            lambda p: p["policy"].update({"critic/bias": np.ones(2)}),
            r"critic/bias has shape \(2,\), expected \(1,\)",
        ),
        (
            lambda p: p["policy"].update({"critic/bias": np.array(["a"])}),
            "critic/bias holds <U1, expected numbers",
        ),
    ],
)
def test_a_misfit_is_named_and_changes_nothing(trained, spoil, message):
    model = tiny_ppo(seed=9)
    before, parameters = model.get_parameters(), trained.get_parameters()
    spoil(parameters)
    with pytest.raises(ModelFileError, match=message) as caught:
        model.set_parameters(parameters)
    assert isinstance(caught.value, ValueError)  # for an except
    assert same(model.get_parameters(), before)


def test_the_device_is_chosen_at_construction(trained):
    with pytest.raises(ValueError, match="device must be 'auto'"):
        trained.set_parameters(trained.get_parameters(), device="cpu")
