"""Settings: the published numbers, names that do not exist, values out of range, parts that a model lacks."""

import re

import pytest

import spi_plugins
from spi_plugins.planners.decision import adaptive
from spi_plugins.planners.planner import check_parts
from spi_plugins.planners.safe_improvement import SafeImprovementConfig
from spi_plugins.world_models.model import Model, ModelSpec, Step

NAMES = ("ccem", "cem", "icem", "mppi", "policy", "safe_improvement")


def make(name, **settings):
    return spi_plugins.get_planner(name)(**settings)


def test_the_planners_are_registered():
    assert set(NAMES) <= set(spi_plugins.list_planners())


def test_the_defaults_are_those_of_spowl():
    config = SafeImprovementConfig()
    assert (config.num_samples, config.num_prior, config.num_elites, config.iterations) == (512, 24, 64, 6)
    assert (config.temperature, config.momentum, config.min_std, config.max_std) == (0.5, 0.0, 0.05, 2.0)
    assert (config.horizon, config.restrict_elites, config.cost_aggregation) == (None, True, "mean")


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(name):
    with pytest.raises(ValueError, match=r"has unknown keys \['num_eltes'\]; allowed are ") as error:
        make(name, num_eltes=3)
    assert ("num_elites" in str(error.value)) == (name != "policy")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mppi", {"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        ("mppi", {"num_samples": 8.0}, "num_samples must be an integer of at least 1, got 8.0"),
        (
            "mppi",
            {"num_samples": 24, "num_elites": 8},
            "num_prior must be less than num_samples, got 24 of 24",
        ),
        ("mppi", {"num_elites": 513}, "num_elites must be at most num_samples, got 513 of 512"),
        ("mppi", {"iterations": 0}, "iterations must be"),
        ("mppi", {"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ("mppi", {"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ("mppi", {"momentum": 1.0}, "momentum must be a number at least 0 and below 1, got 1.0"),
        ("mppi", {"min_std": 3.0}, "min_std must be at most max_std, got 3.0 and 2.0"),
        ("cem", {"num_elites": 513}, "num_elites must be at most num_samples"),
        ("ccem", {"cost": "both"}, "cost must be one of 'local', 'global', got 'both'"),
        ("ccem", {"cost_aggregation": "min"}, "cost_aggregation must be one of 'mean', 'max', got 'min'"),
        ("safe_improvement", {"num_prior": 0}, "num_prior must be an integer of at least 1, got 0"),
        ("safe_improvement", {"cost_aggregation": "min"}, "cost_aggregation must be one of"),
        ("icem", {"decay": 0.5}, "decay must be a number at least 1, got 0.5"),
        ("icem", {"keep_fraction": 1.5}, "keep_fraction must be a number at least 0 and at most 1, got 1.5"),
        ("icem", {"num_elites": 41}, "num_elites must be at most num_samples, got 41 of 40"),
    ],
)
def test_a_value_out_of_range_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(name, **settings)


@pytest.mark.parametrize(
    ("planner", "missing"),
    [
        (make("mppi"), "policy"),
        (make("ccem"), "cost, policy"),
        (make("safe_improvement"), "cost, policy"),
        (make("policy"), "policy"),
        (adaptive(make("cem")), "policy, value"),
    ],
    ids=lambda part: getattr(part, "name", part),
)
def test_a_model_that_lacks_a_part_is_refused(planner, missing):
    spec = ModelSpec(latent_shape=(1,), action_size=1)
    model = Model(spec, lambda params, obs: obs, lambda params, z, action, key: Step(z, z, z, z))
    message = f"{planner.name!r} needs a model with {missing}; this one has a reward only"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_parts(planner, model)


def test_without_sequences_of_a_policy_none_is_needed():
    assert make("mppi", num_prior=0).requires == frozenset()
    assert make("ccem", num_prior=0).requires == {"cost"}


@pytest.mark.parametrize("name", ["mppi", "icem"])
def test_the_horizon_is_the_models_unless_it_is_set(name):
    spec = ModelSpec(latent_shape=(1,), action_size=2, horizon=4)
    assert make(name).init(spec).mean.shape == (4, 2)
    assert make(name, horizon=7).init(spec).mean.shape == (7, 2)
