r"""CPO: a trust-region step along the border of the constraint (Achiam et al., 2017, arXiv:1705.10528).

With the gradients :math:`g` and :math:`b` of the surrogates of reward and cost, the Fisher matrix :math:`H` of the
policy and the excess cost :math:`c` per step, the policy's step solves (Eq. 11)

.. math:: \max_x\; g^\top x \quad \text{s.t.} \quad c + b^\top x \le 0, \quad \tfrac12 x^\top H x \le \delta

through its dual (Theorem 2), with :math:`H^{-1} g` and :math:`H^{-1} b` by conjugate gradients. Where no step within
the trust region meets the constraint, the step is the one that lowers the cost most. A line search shortens it until
the divergence is within the region, the cost's surrogate within its room and, unless costs are too high, the reward's
not lower. The critics learn as with every method, from minibatches. With ``gain``, :math:`c` is the excess over a
tightened limit, see ``excess``.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from spi_plugins.constraints.excess import follow, gain, init_excess
from spi_plugins.constraints.method import ConstraintMethod, Evaluate, Surrogates
from spi_plugins.hyperparameters import Config, configured, hyperparameter
from spi_plugins.types import Params

_TINY = 1e-8
_ROUNDING = 1e-4
_UNKNOWN = -1e6  # the excess before an episode has ended: nothing limits the step


@dataclasses.dataclass(frozen=True, kw_only=True)
class CPOConfig(Config):
    """Settings of ``cpo``; the defaults are OmniSafe's."""

    delta: float = hyperparameter(0.01, "Bound of the mean KL divergence in a step", above=0)
    cg_steps: int = hyperparameter(15, "Steps of the conjugate gradients", low=1)
    cg_damping: float = hyperparameter(0.1, "Added to the diagonal of the Fisher matrix", low=0)
    line_steps: int = hyperparameter(15, "Steps of the line search, after which the policy stays", low=1)
    line_decay: float = hyperparameter(0.8, "Factor of a step of the line search", above=0, below=1)
    gain: float = gain()


class Products(NamedTuple):
    """Inner products with the inverse of the Fisher matrix."""

    q: Float[Array, ""]  # g H^-1 g
    r: Float[Array, ""]  # g H^-1 b
    s: Float[Array, ""]  # b H^-1 b


class Solution(NamedTuple):
    """The step is ``reward * H^-1 g + cost * H^-1 b``."""

    reward: Float[Array, ""]
    cost: Float[Array, ""]
    recovers: Array  # whether no step in the trust region meets the constraint


def solve(products: Products, excess: Float[Array, ""], delta: float) -> Solution:
    r"""The step of Theorem 2.

    The dual's :math:`\nu = \max(0, (r + \lambda c) / s)` makes two regions of :math:`\lambda`, in which it is
    :math:`\frac{1}{2\lambda}(q - r^2/s) + \frac{\lambda}{2}(2\delta - c^2/s) - rc/s` and
    :math:`\frac{q}{2\lambda} + \lambda\delta`; the lower minimum of the two counts.
    """
    q, r, s = jnp.maximum(products.q, _TINY), products.r, jnp.maximum(products.s, _TINY)
    cut = 2.0 * delta - excess**2 / s  # not positive where the border does not cut the trust region
    shrunk = jnp.maximum(q - r**2 / s, 0.0)

    def with_cost(price: Array) -> Array:
        return 0.5 * (shrunk / jnp.maximum(price, _TINY) + cut * price) - r * excess / s

    def without_cost(price: Array) -> Array:
        return 0.5 * q / jnp.maximum(price, _TINY) + delta * price

    # Where r + lambda c changes its sign; with c = 0 it has that of r everywhere.
    above = excess > 0
    border = jnp.maximum(-r / jnp.where(excess == 0, 1.0, excess), 0.0)
    border = jnp.where(excess == 0, jnp.where(r > 0, jnp.inf, 0.0), border)
    active = jnp.sqrt(shrunk / jnp.maximum(cut, _TINY))
    active = jnp.where(above, jnp.maximum(active, border), jnp.minimum(active, border))
    free = jnp.sqrt(q / (2.0 * delta))
    free = jnp.where(above, jnp.minimum(free, border), jnp.maximum(free, border))
    prefers_active = with_cost(active) <= without_cost(free)
    # The first region is empty if the border is at 0 and c <= 0, the second if it is at 0 and c > 0.
    takes_active = jnp.where(border == 0, above, jnp.where(jnp.isinf(border), True, prefers_active))
    price = jnp.maximum(jnp.where(takes_active, active, free), _TINY)
    nu = jnp.maximum(r + price * excess, 0.0) / s

    infeasible, everywhere = above & (cut <= 0), ~above & (cut <= 0)
    plain, recovery = jnp.sqrt(2.0 * delta / q), -jnp.sqrt(2.0 * delta / s)
    reward = jnp.where(infeasible, 0.0, jnp.where(everywhere, plain, 1.0 / price))
    cost = jnp.where(infeasible, recovery, jnp.where(everywhere, 0.0, -nu / price))
    return Solution(reward, cost, infeasible)


def _dot(a: Params, b: Params) -> Array:
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
    return sum(jax.tree.leaves(products), jnp.zeros(()))


def cpo_step(config: CPOConfig, evaluate: Evaluate, actor: Params, excess: Float[Array, " K"]) -> Params:
    """The policy's parameters after one step; of several costs, the one furthest above its limit is constrained."""
    worst = jnp.argmax(excess)
    above = excess[worst]

    def cost(theta: Params) -> Array:
        return evaluate(theta).cost[worst]

    def fisher(v: Params) -> Params:
        product = jax.jvp(jax.grad(lambda theta: evaluate(theta).kl), (actor,), (v,))[1]
        return jax.tree.map(lambda x, y: x + config.cg_damping * y, product, v)

    def inverse(gradient: Params) -> Params:
        found: Params = cg(fisher, gradient, tol=1e-10, maxiter=config.cg_steps)[0]  # type: ignore[no-untyped-call]
        return found

    g, b = jax.grad(lambda theta: evaluate(theta).reward)(actor), jax.grad(cost)(actor)
    v, w = inverse(g), inverse(b)
    solution = solve(Products(_dot(g, v), _dot(g, w), _dot(b, w)), above, config.delta)
    before = evaluate(actor)

    def moved(share: Array) -> Params:
        return jax.tree.map(
            lambda x, y, z: x + share * (solution.reward * y + solution.cost * z), actor, v, w
        )

    def is_good(after: Surrogates) -> Array:
        # The solution lies on the borders themselves, where rounding must not decide.
        cheaper = after.cost[worst] - before.cost[worst] <= jnp.maximum(-above, 0.0) + _ROUNDING * jnp.abs(
            above
        )
        near = after.kl <= (1.0 + _ROUNDING) * config.delta
        return near & cheaper & ((after.reward >= before.reward) | (above > 0))

    def search(i: Array, share: Array) -> Array:
        return jnp.where(is_good(evaluate(moved(share))), share, share * config.line_decay)

    share = jax.lax.fori_loop(0, config.line_steps, search, jnp.ones(()))
    share = jnp.where(is_good(evaluate(moved(share))), share, 0.0)
    return moved(share)


def make_cpo(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``CPOConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(CPOConfig, settings, "constraint_kwargs of 'cpo'")
    return ConstraintMethod(
        init=lambda limits: init_excess(limits, _UNKNOWN),
        update=lambda excess, episodes, limits: follow(excess, episodes, limits, config.gain),
        advantage=lambda excess, reward, cost: reward,
        step=lambda excess, evaluate, actor: cpo_step(config, evaluate, actor, excess.per_step),
    )
