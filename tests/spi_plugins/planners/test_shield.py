"""The shield blocks planted actions, by mean and by disagreement, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.planners.shield import shielded
from spi_plugins.testing.known_world import LIMIT, known_params, make_known_world

WORLD, PARAMS = make_known_world(), known_params()
RISKY, SAFE = (0.6, -0.5), (-0.4, 0.3)  # known_cost is 1 where the first entry is above LIMIT, else 0


def always(action):
    def plan(model, params, z, state, key, *, deterministic):
        return jnp.asarray(action), state + 1, {"planned": jnp.ones(())}

    return Planner("always", frozenset(), lambda spec: jnp.zeros(()), plan)


def act(action, bound, world=WORLD, **settings):
    planner = shielded(always(action), bound, **settings)
    inputs = world, PARAMS, jnp.zeros(2), jnp.zeros(()), jax.random.key(0)
    executed, state, metrics = planner.plan(*inputs, deterministic=True)
    assert state == 1  # as the planner left it
    return np.asarray(executed), {name: float(value) for name, value in metrics.items()}


def test_a_planted_action_is_blocked_and_a_safe_one_executed():
    executed, metrics = act(RISKY, 0.5)
    assert executed[0] <= LIMIT
    assert (metrics["shielded"], metrics["planned"]) == (1.0, 0.0)


@pytest.mark.parametrize(("action", "bound"), [(SAFE, 0.5), (RISKY, 1.0), (SAFE, 0.0)])
def test_what_costs_no_more_than_the_bound_is_executed(action, bound):
    executed, metrics = act(action, bound)
    np.testing.assert_array_equal(executed, np.float32(action))
    assert (metrics["shielded"], metrics["planned"]) == (0.0, 1.0)


def test_where_all_cost_more_the_least_costly_is_executed():
    rising = WORLD._replace(cost_value=lambda params, z, action, members: 5.0 + action[None, :, 0])
    executed, _ = act(RISKY, 0.5, rising, num_candidates=64)
    assert executed[0] < -0.8  # of 64 uniform entries the least
    lowest, metrics = act((-1.0, 0.0), 0.5, rising)
    np.testing.assert_array_equal(lowest, [-1.0, 0.0])
    assert metrics["shielded"] == 0.0


def test_heads_that_disagree_block_what_their_mean_allows():
    def cost_value(params, z, action, members):
        disputed = jnp.where(action[:, 0] > LIMIT, 1.0, 0.0)
        return jnp.stack([-disputed, disputed])  # mean 0, standard deviation 1 on disputed actions

    world = WORLD._replace(cost_value=cost_value)
    assert act(RISKY, 0.5, world, stds=0.0)[1]["shielded"] == 0.0
    assert act(RISKY, 0.5, world, stds=0.4)[1]["shielded"] == 0.0
    executed, metrics = act(RISKY, 0.5, world, stds=0.6)
    assert executed[0] <= LIMIT
    assert metrics["shielded"] == 1.0


def test_it_needs_cost_critics():
    without = make_known_world(frozenset({"policy", "value"}))
    with pytest.raises(ValueError, match="needs a model with cost_value"):
        check_parts(shielded(always(SAFE), 0.5), without)


@pytest.mark.parametrize(
    "settings", [{"bound": float("nan")}, {"bound": 1, "stds": -1}, {"bound": 1, "num_candidates": 0}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=f"{list(settings)[-1]} must be"):
        shielded(always(SAFE), **settings)
