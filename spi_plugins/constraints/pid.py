r"""A PID controller for the multiplier, CPPO-PID (Stooke et al., 2020, arXiv:2007.03964, algorithm 2).

With :math:`\Delta = J - d`, for each constraint:

.. math::

    P \leftarrow \alpha_P P + (1 - \alpha_P) \Delta, \qquad
    I \leftarrow \mathrm{clip}(I + K_I \Delta, 0, \lambda_{max}),

    S \leftarrow \alpha_D S + (1 - \alpha_D) J, \qquad D = \max(0, S - S'), \qquad
    \lambda = \mathrm{clip}(K_P P + I + K_D D, 0, \lambda_{max})

where :math:`S'` is ``S`` before the last ``delay`` updates. As in OmniSafe, :math:`P` and :math:`S` begin at 0.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.constraints.method import ConstraintMethod, Episodes, priced_advantage
from spi_plugins.hyperparameters import Config, configured, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class PIDConfig(Config):
    """Settings of ``pid``; the defaults are OmniSafe's."""

    kp: float = hyperparameter(0.1, "Proportional gain, per unit of cost above the limit", low=0)
    ki: float = hyperparameter(0.01, "Integral gain, per unit of cost above the limit and update", low=0)
    kd: float = hyperparameter(0.01, "Derivative gain, per unit of rise of the cost", low=0)
    ema_p: float = hyperparameter(0.95, "Weight of the past in the proportional error", low=0, below=1)
    ema_d: float = hyperparameter(0.95, "Weight of the past in the derivative's cost", low=0, below=1)
    delay: int = hyperparameter(10, "Updates over which the rise is measured", low=1)
    init: float = hyperparameter(0.001, "First value of the integral", low=0)
    max: float | None = hyperparameter(None, "Upper bound of the multipliers, if any", above=0)
    normalize: bool = hyperparameter(True, "Divide the priced advantage by 1 plus the multipliers' sum")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kp == self.ki == self.kd == 0:
            raise ValueError("kp, ki and kd are all 0, so the multipliers would never move.")
        if self.max is not None and self.init > self.max:
            raise ValueError(f"init={self.init!r} must be at most max={self.max!r}.")


class Controller(NamedTuple):
    """What the controller remembers, for each constraint."""

    price: Float[Array, " K"]
    error: Float[Array, " K"]
    integral: Float[Array, " K"]
    smooth: Float[Array, "delay K"]  # the smoothed costs of the last updates, the oldest first


def control(
    config: PIDConfig, state: Controller, episodes: Episodes, limits: Float[Array, " K"]
) -> Controller:
    """One step of the controller."""
    highest = math.inf if config.max is None else config.max
    excess = episodes.cost - limits
    error = config.ema_p * state.error + (1.0 - config.ema_p) * excess
    integral = jnp.clip(state.integral + config.ki * excess, 0.0, highest)
    smooth = config.ema_d * state.smooth[-1] + (1.0 - config.ema_d) * episodes.cost
    rise = jnp.maximum(smooth - state.smooth[0], 0.0)
    price = jnp.clip(config.kp * error + integral + config.kd * rise, 0.0, highest)
    return Controller(price, error, integral, jnp.concatenate([state.smooth[1:], smooth[None]]))


def make_pid(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``PIDConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(PIDConfig, settings, "constraint_kwargs of 'pid'")

    def init(limits: Array) -> Controller:
        zeros = jnp.zeros(limits.shape)
        integral = jnp.full(limits.shape, config.init, jnp.float32)
        return Controller(integral, zeros, integral, jnp.zeros((config.delay, *limits.shape)))

    def advantage(state: Controller, reward: Array, cost: Array) -> Array:
        return priced_advantage(reward, cost, state.price, normalize=config.normalize)

    return ConstraintMethod(
        init=init,
        update=lambda state, episodes, limits: control(config, state, episodes, limits),
        advantage=advantage,
        multipliers=lambda state: state.price,
    )
