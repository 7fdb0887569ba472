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
    draw_pairs,
    estimate,
    policy_sequences,
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
        draws = keys[3:].reshape(3, config.iterations)
        pairs = draw_pairs(heads_key, model.spec.n_values, config.iterations)
        mean = shift(state.mean)
        n = config.num_samples - config.num_prior
        prior = jnp.zeros((len(mean), 0, mean.shape[1]))
        if config.num_prior:
            start_z = jnp.broadcast_to(z[None], (config.num_prior, *z.shape))
            prior = policy_sequences(model, params, start_z, len(mean), prior_key)

        def iterate(
            progress: _Progress, draws: tuple[Array, Array, Array, Array | None]
        ) -> tuple[_Progress, PlanMetrics]:
            sample_key, estimate_key, choice_key, members = draws
            sampled = sample_sequences(progress.mean, progress.std, n, sample_key)
            # The prior is estimated anew, as in the published code: one product for all sequences.
            actions = jnp.concatenate([prior, sampled], axis=1)
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
            return _refit(recipe, progress, actions, estimated, choice_key)

        zero = jnp.zeros(())
        start = _Progress(mean, jnp.full_like(mean, config.max_std), mean[0], zero, zero)
        end, metrics = jax.lax.scan(iterate, start, (*draws, pairs))
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


def _refit(
    recipe: Recipe, progress: _Progress, actions: Float[Array, "H N A"], estimated: Estimate, key: Array
) -> tuple[_Progress, PlanMetrics]:
    """Fit the distribution to the elites and choose the action."""
    config = recipe.config
    selection = recipe.select(estimated)
    weights = elite_weights(selection, config.temperature)
    mean, std = weighted_moments(actions, weights)
    mean = config.momentum * progress.mean + (1.0 - config.momentum) * mean
    std = jnp.clip(std, config.min_std, config.max_std)
    if recipe.executes == "mean":
        value, cost_value = (jnp.sum(weights * part) for part in (estimated.value, estimated.cost_value))
        return _Progress(mean, std, mean[0], value, cost_value), selection.metrics
    index = jax.random.categorical(key, jnp.log(weights))
    chosen = _Progress(mean, std, actions[0, index], estimated.value[index], estimated.cost_value[index])
    return chosen, selection.metrics
