r"""A shield: actions whose cost the critics may underestimate are replaced before they are executed.

After "Conservative Safety Critics for Exploration" (Bharadhwaj et al., arXiv:2010.14497), which executes the first of
some actions whose cost value is below a threshold, or the one with the lowest. Here the critics' disagreement counts,
too, as in ensembles of pessimistic critics: an action is judged by

.. math:: \bar Q^c(z, a) = \operatorname{mean}_j Q^c_j(z, a) + k \operatorname{std}_j Q^c_j(z, a).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.checks import check_integer, check_number
from spi_plugins.planners.planner import Decision, Latent, Planner, head_of
from spi_plugins.types import Params, PyTree
from spi_plugins.world_models.model import Model


def shielded(planner: Planner, bound: float, *, stds: float = 1.0, num_candidates: int = 16) -> Planner:
    r"""Wrap a planner so that its action is executed only where the pessimistic cost value is at most ``bound``.

    Elsewhere, the action of the lowest :math:`\bar Q^c` among the planner's own and uniform ones is executed. The
    planner's state continues as if its action had been executed. Adds the metric ``shielded``, 1 where it was not.

    Args:
        planner: the planner to wrap.
        bound: on the discounted sum of costs from a step on.
        stds: :math:`k`, standard deviations between the heads that are added to their mean.
        num_candidates: uniform actions.

    Raises:
        ValueError: an argument is out of range.
    """
    check_number("bound", bound)
    check_number("stds", stds, low=0)
    check_integer("num_candidates", num_candidates, low=1)

    def plan(
        model: Model, params: Params, z: Latent, state: PyTree, key: Array, *, deterministic: bool
    ) -> Decision:
        assert model.cost_value is not None
        plan_key, draw_key = jax.random.split(key)
        action, state, metrics = planner.plan(model, params, z, state, plan_key, deterministic=deterministic)
        drawn = head_of(model.spec).uniform(num_candidates, draw_key)
        actions = jnp.concatenate([action[None], drawn])
        heads = model.cost_value(params, jnp.broadcast_to(z[None], (len(actions), *z.shape)), actions, None)
        cost = jnp.mean(heads, axis=0) + stds * jnp.std(heads, axis=0)
        blocked = cost[0] > bound
        chosen = jnp.where(blocked, jnp.argmin(cost), 0)
        metrics = {**metrics, "planned": metrics["planned"] * (chosen == 0), "shielded": (chosen != 0) * 1.0}
        return actions[chosen], state, metrics

    requires = planner.requires | {"cost_value"}
    return Planner(f"shielded({planner.name})", requires, planner.init, plan, planner.discrete)
