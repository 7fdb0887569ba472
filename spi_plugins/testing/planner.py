"""Conformance of planners: pure, honest about what they need, and better than what they start from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.testing.known_world import (
    MODE,
    best_action,
    known_cost,
    known_params,
    known_reward,
    make_known_world,
)
from spi_plugins.testing.requirement import (
    ConformanceError,
    layout,
    require,
    require_array,
    require_made,
    require_same_leaves,
)
from spi_plugins.world_models.model import PARTS, Model, ModelSpec

_ENVS = 16
_DECISIONS = 2
# Shares of actions, in a world that is known exactly. A planner samples, so it may err now and then.
_MAX_VIOLATIONS = 0.05
_LEAST_GAIN = 0.5


class _Decision(NamedTuple):
    action: Any
    state: Any
    metrics: Any


def check_planner(planner: Planner) -> None:
    """Check that a planner fulfills the contract of ``register_planners``, in a small world with known answers.

    It must decide under ``jit`` and ``vmap``, the same for one latent as for many, and for the same key; stay
    within [-1, 1]; keep the layout of its state and the names of its metrics; and need no part of a model
    that it does not declare. In a world with a quadratic reward its actions must gain at least half of what
    there is to gain over the policy, or, where its metric ``planned`` says that the policy's action was
    taken, lose nothing. A planner that requires ``cost`` or ``cost_value`` is measured by the best action
    that costs nothing, and at most 5 % of its actions may cost.

    Args:
        planner: what the factory returned.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    require_made(planner, Planner)
    require(isinstance(planner.name, str) and planner.name, f"name must be a word, got {planner.name!r}.")
    _check_requirements(planner)
    model = make_known_world()
    _check_state(planner, model.spec)
    decisions = _check_purity(planner, model)
    _check_exploration(planner, model, decisions[0].metrics)
    _check_gain(planner, decisions)


def _check_requirements(planner: Planner) -> None:
    """Declared parts must exist, and no other part may be used."""
    unknown = sorted(set(planner.requires) - set(PARTS))
    require(
        not unknown, f"requires must name parts of a model, {', '.join(PARTS)}; got {', '.join(unknown)}."
    )
    for part in planner.requires:
        try:
            check_parts(planner, make_known_world(frozenset(PARTS) - {part}))
        except ValueError:
            continue
        raise ConformanceError(f"A model without {part!r} must be refused.")
    model = make_known_world(planner.requires)
    try:
        state = planner.init(model.spec)
        jax.eval_shape(_plan(planner, model, deterministic=False), jnp.zeros(2), state, jax.random.key(0))
    except Exception as error:
        raise ConformanceError(
            f"{planner.name} requires {', '.join(sorted(planner.requires)) or 'no part'}, but fails in a model "
            f"of just that: {type(error).__name__}: {error}"
        ) from error


def _check_state(planner: Planner, spec: ModelSpec) -> None:
    state = planner.init(spec)
    leaves = jax.tree.leaves(state)
    require(
        all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves),
        f"init must return a pytree of arrays, got {state!r}.",
    )
    require(
        all(bool(jnp.isfinite(leaf).all()) for leaf in leaves),
        "init must return finite arrays, and nothing else.",
    )


def _check_purity(planner: Planner, model: Model) -> list[_Decision]:
    """Decisions for many agree with those for one; returns the former, one after the other.

    Each is traced separately, which reveals what a planner keeps outside its state.
    """
    plan = _plan(planner, model, deterministic=True)
    single, mapped = jax.jit(plan), jax.jit(jax.vmap(plan))
    z = jax.random.uniform(jax.random.key(0), (_ENVS, 2), minval=-1.0)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * _ENVS), planner.init(model.spec))
    decisions: list[_Decision] = []
    for number in range(_DECISIONS):
        keys = jax.random.split(jax.random.key(number), _ENVS)
        decision = _Decision(*mapped(z, state, keys))
        _check_decision(planner, decision, (_ENVS,), state, decisions[0].metrics if decisions else None)
        decisions.append(decision)
        last, state = (z, state, keys), decision.state
    again = _Decision(*mapped(*last))
    require_same_leaves(again, decision, f"{planner.name} must decide the same for the same key.")
    first, alone = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in (decision, last))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(single(*alone)), strict=True):
        require(
            bool(jnp.allclose(left, right, rtol=1e-3, atol=1e-4)),
            f"{planner.name} must decide under vmap as it does for one latent. Got {left} where {right} was expected.",
        )
    return decisions


def _check_exploration(planner: Planner, model: Model, metrics: Any) -> None:
    """The same contract holds while exploring."""
    plan, state = jax.jit(_plan(planner, model, deterministic=False)), planner.init(model.spec)
    for seed in range(4):
        decision = _Decision(*plan(jnp.zeros(2), state, jax.random.key(seed)))
        _check_decision(planner, decision, (), state, metrics)
        state = decision.state


def _check_gain(planner: Planner, decisions: list[_Decision]) -> None:
    """Judge actions by the world itself rather than by what the planner reports."""
    params, safe = known_params(), bool(planner.requires & {"cost", "cost_value"})
    z = jax.random.uniform(jax.random.key(0), (_ENVS, 2), minval=-1.0)
    action = jnp.concatenate([decision.action for decision in decisions])
    z = jnp.tile(z, (_DECISIONS, 1))
    if safe:
        violations = float(jnp.mean(known_cost(params, action)))
        require(
            violations <= _MAX_VIOLATIONS,
            f"{planner.name} uses costs, so at most {_MAX_VIOLATIONS:.0%} of its actions may cost where others "
            f"do not; {violations:.0%} do.",
        )
    policy = jnp.broadcast_to(jnp.asarray(MODE)[None], action.shape)
    reward, least, most = (
        float(jnp.mean(known_reward(params, z, candidate)))
        for candidate in (action, policy, best_action(params, z, safe=safe))
    )
    gain = (reward - least) / (most - least)
    planned = float(np.mean([decision.metrics.get("planned", 1.0) for decision in decisions]))
    require(
        gain >= _LEAST_GAIN * planned - 1e-4,
        f"{planner.name} must gain at least {_LEAST_GAIN * planned:.0%} of what there is to gain over the policy "
        f"(it planned {planned:.0%} of the actions); it gains {gain:.0%}: a mean reward of {reward:.3f}, where the "
        f"policy has {least:.3f} and the best actions have {most:.3f}.",
    )


def _plan(planner: Planner, model: Model, *, deterministic: bool) -> Any:
    def plan(z: jax.Array, state: Any, key: jax.Array) -> Any:
        return planner.plan(model, known_params(), z, state, key, deterministic=deterministic)

    return plan


def _check_decision(
    planner: Planner, decision: _Decision, batch: tuple[int, ...], state: Any, metrics: Any
) -> None:
    """Layouts, bounds, and the names of the metrics, which must be those of ``metrics``."""
    action = decision.action
    require_array("The action", action, "float32", (*batch, 2))
    require(not (jnp.abs(action) > 1.0).any(), f"{planner.name} must act within [-1, 1], got {action}.")
    before, after = layout(state), layout(decision.state)
    require(after == before, f"plan must keep the layout of the state: {before} became {after}.")
    finite = [bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(decision)]
    require(all(finite), f"{planner.name} must return finite numbers, got {decision}.")
    require(isinstance(decision.metrics, dict), "The metrics must be a dict of scalars.")
    shapes = {name: (jnp.shape(value), jnp.result_type(value)) for name, value in decision.metrics.items()}
    require(
        all(shape == (batch, jnp.float32) for shape in shapes.values()),
        f"Metrics must be float32 scalars, got {shapes}.",
    )
    names = sorted(decision.metrics if metrics is None else metrics)
    require(
        sorted(decision.metrics) == names,
        f"Every decision must report the same metrics: {names} became {sorted(decision.metrics)}.",
    )
