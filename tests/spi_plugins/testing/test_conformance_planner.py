"""The check of planners finds what is wrong, and says it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.planners.planner import Planner
from spi_plugins.testing import ConformanceError, check_planner
from spi_plugins.testing.known_world import BEST, LIMIT, MODE

SAFE = (LIMIT - 0.05, BEST[1])


def make_planner(change=None, *, requires=frozenset(), action=BEST, init=None):
    """Knows the best action by heart. ``change(action, state, metrics, **arguments)`` spoils what it gives."""

    def plan(model, params, z, state, key, *, deterministic):
        noise = 0.0 if deterministic else 0.01 * jax.random.normal(key, (2,))
        result = jnp.asarray(action) + noise, state + 1.0, {"value": jnp.sum(z), "planned": jnp.ones(())}
        if change is None:
            return result
        return change(*result, model=model, params=params, z=z, key=key, deterministic=deterministic)

    return Planner("mine", frozenset(requires), init or (lambda spec: jnp.zeros(())), plan)


def broken(**changes):
    """Spoils action, state or metrics by a function of itself and the other arguments."""

    def change(action, state, metrics, **arguments):
        result = {"action": action, "state": state, "metrics": metrics}
        for name, function in changes.items():
            result[name] = function(result[name], arguments)
        return tuple(result.values())

    return change


def test_a_planner_that_knows_the_best_action_passes():
    check_planner(make_planner())


def test_a_planner_that_stays_with_the_policy_and_says_so_passes():
    change = broken(metrics=lambda metrics, _: {"planned": jnp.zeros(())})
    check_planner(make_planner(change, action=MODE, requires={"policy"}))


def test_a_planner_that_uses_costs_and_keeps_off_them_passes():
    check_planner(make_planner(action=SAFE, requires={"cost"}))


CALLS = iter(range(100))


def asks_the_policy(action, arguments):
    model, params, z, key = (arguments[name] for name in ("model", "params", "z", "key"))
    return action + 0.0 * model.policy(params, z[None], key, deterministic=True)[0]


FAULTS = {
    "must act within": broken(action=lambda action, _: 2.0 * action),
    "float32 of shape": broken(action=lambda action, _: action[:1]),
    "must return finite numbers": broken(action=lambda action, _: jnp.nan * action),
    "keep the layout of the state": broken(state=lambda state, _: jnp.stack([state, state])),
    "Metrics must be float32 scalars": broken(metrics=lambda metrics, _: {"value": jnp.zeros(3)}),
    "report the same metrics": broken(
        metrics=lambda metrics, arguments: metrics if arguments["deterministic"] else {}
    ),
    "as it does for one": broken(action=lambda action, _: action - 0.01 * next(CALLS)),
    "requires no part, but fails": broken(action=asks_the_policy),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_found_and_named(message):
    with pytest.raises(ConformanceError, match=message):
        check_planner(make_planner(FAULTS[message]))


def test_a_planner_that_gains_nothing_is_refused():
    with pytest.raises(ConformanceError, match=r"must gain at least 50% .* it gains 0%"):
        check_planner(make_planner(action=MODE))


def test_a_planner_that_uses_costs_and_causes_them_is_refused():
    with pytest.raises(ConformanceError, match="at most 5% of its actions may cost"):
        check_planner(make_planner(requires={"cost"}))


def test_a_part_that_no_model_has_is_refused():
    with pytest.raises(ConformanceError, match=r"requires must name parts of a model, .*; got critic"):
        check_planner(make_planner(requires={"critic"}))


def test_a_state_of_something_else_than_arrays_is_refused():
    with pytest.raises(ConformanceError, match="init must return a pytree of arrays"):
        check_planner(make_planner(init=lambda spec: 0.0))
    with pytest.raises(ConformanceError, match="finite"):
        check_planner(make_planner(init=lambda spec: np.array(np.nan)))


def test_a_factory_is_no_planner():
    with pytest.raises(ConformanceError, match="must return a Planner, got function"):
        check_planner(make_planner)
