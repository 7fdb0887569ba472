"""Distills the planner of an agent into its policy, which then acts alone."""

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.agents.spowl.distillation import imitate
from spi_plugins.algorithms.copies import reduce_model
from spi_plugins.algorithms.world_model_export import given_observations, remembered_observations
from spi_plugins.arrays import flatten_arrays
from spi_plugins.checks import check_integer, check_number
from spi_plugins.planners.batch import batch_planner, init_plans
from spi_plugins.types import Observation

if TYPE_CHECKING:
    from spi_plugins.algorithms.planning import PlanningAlgorithm

M = TypeVar("M", bound="PlanningAlgorithm")
# States that are planned for in one call.
_ROWS = 256


def distill_plans(
    model: M,
    observations: Observation | None = None,
    *,
    n_states: int = 10_000,
    n_updates: int = 5_000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> M:
    """A copy of an agent whose policy imitates its plans, and which acts by this policy without planning.

    At each of the states the agent plans as at the start of an episode, without exploring, and decides between plan and
    policy if it has a ``decision``; the policy is fitted to the actions. World model and critics stay as they are. The
    copy has ``planner="policy"`` and is saved as any model; ``load(..., planner=...)`` plans again, with the new policy
    for proposals.

    Args:
        model: a ``SPOWL`` or ``TDMPC2`` model, which is left as it is.
        observations: of the states, ``[S, ...]``; by default those of the replay buffer.
        n_states: how many of the replay buffer's, evenly spaced, at most.
        n_updates: gradient steps.
        batch_size: states in a gradient step.
        learning_rate: at the first of them; it falls to 0.
        seed: of random numbers.

    Returns:
        The copy, without an environment.

    Raises:
        ValueError: no observations are available, or an argument is out of range.
    """
    for name, value in (("n_states", n_states), ("n_updates", n_updates), ("batch_size", batch_size)):
        check_integer(name, value, low=1)
    check_number("learning_rate", learning_rate, low=0, open_low=True)
    if observations is None:
        seen = remembered_observations(model._replay_buffer, n_states, "with states to plan for").obs
    else:
        seen = given_observations(model.observation_space, observations).obs
    world, params = model.agent.world, model.world_model.params
    label_key, fit_key = jax.random.split(jax.random.key(seed))
    z, target = _planned(model, params, seen, label_key)
    fit = jax.jit(
        functools.partial(
            imitate, world, n_updates=n_updates, batch_size=batch_size, learning_rate=learning_rate
        )
    )
    policy, losses = fit(params["policy"], z, target, fit_key)
    if not np.isfinite(losses).all():
        raise FloatingPointError("The imitating policy became infinite or NaN: learning_rate is too high.")
    restore, (cls, file, objects, *rest) = reduce_model(model)
    alone = {"planner": "policy", "planner_kwargs": None, "decision": None}
    copy: M = restore(cls, file, {**objects, **alone}, *rest)
    copy.set_parameters({"policy": flatten_arrays(policy)}, exact_match=False)
    return copy


def _planned(
    model: "PlanningAlgorithm", params: Any, obs: Observation, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The latents ``[N, Z]`` of observations and the vectors ``[N, A]`` of the actions that the agent plans there."""
    agent, size = model.agent, len(jax.tree.leaves(obs)[0])
    plan = batch_planner(agent.planner, agent.world.model)

    @jax.jit
    def label(obs: Observation) -> tuple[jax.Array, jax.Array]:
        plans, starts = init_plans(agent.planner, agent.world.spec, _ROWS), jnp.ones(_ROWS, bool)
        action = plan(params, obs, plans, starts, key, deterministic=True)[0]
        return agent.world.model.encode(params, obs), agent.world.head.vector(action)

    found = []
    for start in range(0, size, _ROWS):
        # The last rows are filled up, so that one program serves all.
        index = np.minimum(np.arange(start, start + _ROWS), size - 1)
        found.append(label(jax.tree.map(lambda x: x[index], obs)))  # noqa: B023
    z, target = (jnp.concatenate(parts)[:size] for parts in zip(*found, strict=True))
    return z, target
