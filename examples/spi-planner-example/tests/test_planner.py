import jax
import jax.numpy as jnp
import pytest

import spi_plugins
from spi_plugins.testing import check_planner
from spi_plugins.testing.known_world import known_params, make_known_world


def make(**settings):
    return spi_plugins.get_planner("safe_shooting")(**settings)


def test_the_planner_keeps_the_contract():
    check_planner(make())


def test_without_a_safe_sequence_it_takes_the_cheapest():
    model = make_known_world({"cost"})
    plan = jax.jit(
        lambda key: make(limit=0.0).plan(model, known_params(), jnp.zeros(2), (), key, deterministic=True)
    )
    action, _, metrics = plan(jax.random.key(0))
    assert metrics["n_feasible"] == 0
    assert metrics["cost_value"] == 0
    assert action[0] <= 0.2


def test_settings_are_checked():
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1, got 0"):
        make(num_samples=0)
    with pytest.raises(ValueError, match="allowed are num_samples, horizon, limit"):
        make(samples=3)
