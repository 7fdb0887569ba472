r"""PPO-Lagrangian: gradient ascent on the multiplier (Ray et al., 2019, "Benchmarking Safe Exploration in Deep RL").

With the mean undiscounted cost :math:`J_i` of the episodes that ended and the limit :math:`d_i`, the dual's gradient by
:math:`\lambda_i` is :math:`J_i - d_i`; the policy maximizes
:math:`(A - \sum_i \lambda_i A_{c,i}) / (1 + \sum_i \lambda_i)`.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.constraints.method import ConstraintMethod, Episodes, priced_advantage
from spi_plugins.hyperparameters import Config, configured, hyperparameter
from spi_plugins.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class LagrangianConfig(Config):
    """Settings of ``lagrangian``; the defaults are OmniSafe's."""

    lr: float = hyperparameter(
        0.035, 'Step size of the multipliers; with `"sgd"` per unit of cost above the limit', above=0
    )
    optimizer: Literal["adam", "sgd"] = hyperparameter(
        "adam",
        'What moves the multipliers: `"adam"` by about `lr` per rollout whatever the excess, `"sgd"` by `lr` times '
        "the excess",
    )
    init: float = hyperparameter(0.001, "First multiplier", low=0)
    max: float | None = hyperparameter(None, "Upper bound of the multipliers, if any", above=0)
    normalize: bool = hyperparameter(True, "Divide the priced advantage by 1 plus the multipliers' sum")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max is not None and self.init > self.max:
            raise ValueError(f"init={self.init!r} must be at most max={self.max!r}.")

    @property
    def ascent(self) -> optax.GradientTransformation:
        """Steps that raise what the gradient is of."""
        steps = optax.scale_by_adam() if self.optimizer == "adam" else optax.identity()
        return optax.chain(steps, optax.scale(self.lr))


class Prices(NamedTuple):
    """The multipliers, and the state of what moves them."""

    price: Float[Array, " K"]
    opt_state: PyTree


def init_prices(config: LagrangianConfig, limits: Float[Array, " K"]) -> Prices:
    """Begin at ``config.init``."""
    price = jnp.full(limits.shape, config.init, jnp.float32)
    return Prices(price, config.ascent.init(price))


def raise_prices(
    config: LagrangianConfig, prices: Prices, episodes: Episodes, limits: Float[Array, " K"]
) -> Prices:
    """One step up the gradient of the dual, and back into the bounds."""
    change, opt_state = config.ascent.update(episodes.cost - limits, prices.opt_state)
    highest = math.inf if config.max is None else config.max
    return Prices(jnp.clip(prices.price + jnp.asarray(change), 0.0, highest), opt_state)


def make_lagrangian(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``LagrangianConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(LagrangianConfig, settings, "constraint_kwargs of 'lagrangian'")

    def advantage(prices: Prices, reward: Array, cost: Array) -> Array:
        return priced_advantage(reward, cost, prices.price, normalize=config.normalize)

    return ConstraintMethod(
        init=lambda limits: init_prices(config, limits),
        update=lambda prices, episodes, limits: raise_prices(config, prices, episodes, limits),
        advantage=advantage,
        multipliers=lambda prices: prices.price,
    )
