"""The loop that MPPI, CEM, the constrained and the safe planner share; they differ in how they select elites.

Each decision draws sequences from the model's policy once, the prior. Each iteration draws sequences around the mean,
Gaussian ones or, of discrete actions, categorical ones, estimates them, selects elites among all sequences and fits the
next mean to them. The first action of one elite, drawn by weight, is executed.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from spi_plugins.action_heads import ActionHead, Proposal
from spi_plugins.planners.config import SearchConfig
from spi_plugins.planners.estimate import (
    CostAggregation,
    Estimate,
    draw_pairs,
    estimate,
    policy_sequences,
)
from spi_plugins.planners.planner import Decision, Latent, PlanMetrics, Planner, head_of
from spi_plugins.planners.refit import Selection, elite_weights, shift, weighted_moments
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model, ModelSpec

# Selects, among N candidates (the prior's come first), the elites that the next mean is fitted to.
Select: TypeAlias = Callable[[Estimate], Selection]


class WarmStart(NamedTuple):
    """What one decision passes to the next."""

    mean: Float[Array, "H A"]  # after the last iteration; the next decision shifts it by one step


class Recipe(NamedTuple):
    """What turns the loop into a planner."""

    name: str
    config: SearchConfig
    select: Select
    with_cost: bool = False  # whether costs are estimated; the model then needs them
    cost_aggregation: CostAggregation = "mean"  # how the heads of the immediate cost are aggregated
    # Whether the first action of an ``"elite"``, drawn by weight, or of the ``"mean"`` is executed
    executes: Literal["elite", "mean"] = "elite"


class _Progress(NamedTuple):
    proposal: Proposal
    action: Shaped[Array, "*S"]  # the first of the chosen sequence
    value: Float[Array, ""]
    cost_value: Float[Array, ""]


def make_search_planner(recipe: Recipe) -> Planner:
    """Make a planner that runs the loop."""
    config = recipe.config

    def init(spec: ModelSpec) -> WarmStart:
        return WarmStart(jnp.zeros((config.horizon or spec.horizon, spec.action_size)))

    def plan(
        model: Model, params: Params, z: Latent, state: WarmStart, key: Array, *, deterministic: bool
    ) -> Decision:
        keys = jax.random.split(key, 3 * (1 + config.iterations))
        prior_key, noise_key, heads_key = keys[:3]
        draws = keys[3:].reshape(3, config.iterations)
        pairs = draw_pairs(heads_key, model.spec.n_values, config.iterations)
        mean, head = shift(state.mean), head_of(model.spec)
        n = config.num_samples - config.num_prior
        prior = []
        if config.num_prior:
            start_z = jnp.broadcast_to(z[None], (config.num_prior, *z.shape))
            prior = [policy_sequences(model, params, start_z, len(mean), prior_key)]

        def iterate(
            progress: _Progress, draws: tuple[Array, Array, Array, Array | None]
        ) -> tuple[_Progress, PlanMetrics]:
            sample_key, estimate_key, choice_key, members = draws
            # The prior is estimated anew, as in the published code: one product for all sequences.
            actions = jnp.concatenate([*prior, head.draw(progress.proposal, n, sample_key)], axis=1)
            estimated = estimate(
                model,
                params,
                z,
                actions,
                estimate_key,
                members=members,
                with_cost=recipe.with_cost,
                cost_aggregation=recipe.cost_aggregation,
            )
            return _refit(recipe, head, progress, actions, estimated, choice_key)

        zero = jnp.zeros(())
        start = _Progress(head.start(mean, config.max_std), head.action(mean[0]), zero, zero)
        end, metrics = jax.lax.scan(iterate, start, (*draws, pairs))
        action = end.action
        if not deterministic:
            action = head.explore(action, end.proposal, noise_key)
        reported = {name: jnp.mean(values) for name, values in metrics.items()}
        reported |= {"value": end.value, "std": jnp.mean(end.proposal.std), "planned": jnp.ones(())}
        if recipe.with_cost:
            reported["cost_value"] = end.cost_value
        return head.bounded(action), WarmStart(end.proposal.mean), reported

    parts = {"cost": recipe.with_cost, "policy": config.num_prior > 0}
    requires = frozenset(part for part, used in parts.items() if used)
    return Planner(recipe.name, requires, init, plan, discrete=True)


def _refit(
    recipe: Recipe,
    head: ActionHead,
    progress: _Progress,
    actions: Shaped[Array, "H N *S"],
    estimated: Estimate,
    key: Array,
) -> tuple[_Progress, PlanMetrics]:
    """Fit the distribution to the elites and choose the action."""
    config = recipe.config
    selection = recipe.select(estimated)
    weights = elite_weights(selection, config.temperature)
    mean, std = weighted_moments(head.vector(actions), weights)
    mean = config.momentum * progress.proposal.mean + (1.0 - config.momentum) * mean
    proposal = head.widened(Proposal(mean, std), config.min_std, config.max_std)
    if recipe.executes == "mean":
        value, cost_value = (jnp.sum(weights * part) for part in (estimated.value, estimated.cost_value))
        return _Progress(proposal, head.action(mean[0]), value, cost_value), selection.metrics
    index = jax.random.categorical(key, jnp.log(weights))
    chosen = _Progress(proposal, actions[0, index], estimated.value[index], estimated.cost_value[index])
    return chosen, selection.metrics
