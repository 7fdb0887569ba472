"""The loop that MPPI, CEM, the constrained and the safe planner share; they differ in how they select elites.

Each decision draws sequences from the model's policy once, the prior. Each iteration draws Gaussian sequences around
the mean, estimates them, selects elites among all sequences and fits the next mean to them. The first action of one
elite, drawn by weight, is executed.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.planners.config import SearchConfig
from spi_plugins.planners.estimate import (
    CostAggregation,
    Estimate,
    Unrolled,
    draw_pairs,
    repeat_latent,
    unroll,
)
from spi_plugins.planners.planner import Decision, Latent, PlanMetrics, Planner
from spi_plugins.planners.refit import Selection, elite_weights, sample_sequences, shift, weighted_moments
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
    mean: Float[Array, "H A"]
    std: Float[Array, "H A"]
    action: Float[Array, " A"]  # the first of the chosen sequence
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
        sample_keys, unroll_keys, choice_keys = keys[3:].reshape(3, config.iterations)
        pairs = draw_pairs(heads_key, model.spec.n_values, config.iterations)
        mean = shift(state.mean)

        def unrolled(n: int, actions: Array | int, key: Array, members: Array | None) -> Unrolled:
            start, costs, how = repeat_latent(z, n), recipe.with_cost, recipe.cost_aggregation
            return unroll(
                model, params, start, actions, key, members=members, with_cost=costs, cost_aggregation=how
            )

        # The prior keeps all heads of the critic, so that each iteration can average its own two.
        prior = unrolled(config.num_prior, len(mean), prior_key, None) if config.num_prior else None
        n = config.num_samples - config.num_prior

        def iterate(
            progress: _Progress, draws: tuple[Array, Array, Array, Array | None]
        ) -> tuple[_Progress, PlanMetrics]:
            sample_key, unroll_key, choice_key, members = draws
            actions = sample_sequences(progress.mean, progress.std, n, sample_key)
            sampled = unrolled(n, actions, unroll_key, members)
            actions, estimate = _candidates(prior, sampled, members)
            return _refit(recipe, progress, actions, estimate, choice_key)

        zero = jnp.zeros(())
        start = _Progress(mean, jnp.full_like(mean, config.max_std), mean[0], zero, zero)
        end, metrics = jax.lax.scan(iterate, start, (sample_keys, unroll_keys, choice_keys, pairs))
        action = end.action
        if not deterministic:
            action = action + end.std[0] * jax.random.normal(noise_key, action.shape)
        reported = {name: jnp.mean(values) for name, values in metrics.items()}
        reported |= {"value": end.value, "std": jnp.mean(end.std), "planned": jnp.ones(())}
        if recipe.with_cost:
            reported["cost_value"] = end.cost_value
        return jnp.clip(action, -1.0, 1.0), WarmStart(end.mean), reported

    parts = {"cost": recipe.with_cost, "policy": config.num_prior > 0}
    return Planner(recipe.name, frozenset(part for part, used in parts.items() if used), init, plan)


def _candidates(
    prior: Unrolled | None, sampled: Unrolled, members: Array | None
) -> tuple[Float[Array, "H N A"], Estimate]:
    """The prior followed by the sampled sequences, all estimated by the same heads of the critic."""
    if prior is None:
        return sampled.actions, sampled.estimate()
    both = zip(prior.estimate(members), sampled.estimate(), strict=True)
    actions = jnp.concatenate([prior.actions, sampled.actions], axis=1)
    return actions, Estimate(*(jnp.concatenate(pair) for pair in both))


def _refit(
    recipe: Recipe, progress: _Progress, actions: Float[Array, "H N A"], estimate: Estimate, key: Array
) -> tuple[_Progress, PlanMetrics]:
    """Fit the distribution to the elites and choose the action."""
    config = recipe.config
    selection = recipe.select(estimate)
    weights = elite_weights(selection, config.temperature)
    mean, std = weighted_moments(actions, weights)
    mean = config.momentum * progress.mean + (1.0 - config.momentum) * mean
    std = jnp.clip(std, config.min_std, config.max_std)
    if recipe.executes == "mean":
        value, cost_value = (jnp.sum(weights * part) for part in (estimate.value, estimate.cost_value))
        return _Progress(mean, std, mean[0], value, cost_value), selection.metrics
    index = jax.random.categorical(key, jnp.log(weights))
    chosen = _Progress(mean, std, actions[0, index], estimate.value[index], estimate.cost_value[index])
    return chosen, selection.metrics
