"""Cart-pole with a cost for leaving the middle of the track."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from spi_plugins.checks import check_number
from spi_plugins.envs import cartpole
from spi_plugins.envs.base import Configured, FunctionalEnv, Scalar
from spi_plugins.envs.cartpole import CartPoleParams

_State = Float[Array, "4"]


def make_cost_cartpole(threshold: float = 0.2, *, max_episode_steps: int = 500) -> FunctionalEnv:
    """Balance the pole and keep the cart near the middle: ``spi/CartPole-v0`` with a cost.

    Observation, action, reward, end and ``params`` are those of ``make_cartpole``. Cost: 1 for each step that
    ends with the cart's center more than ``threshold`` from the middle of the track.

    Reward and cost do not conflict: the full return is possible without cost. But the reward does not say where to
    balance, so an agent that ignores the cost settles anywhere.

    Args:
        threshold: in meters, above 0 and below 2.4, where episodes end.
        max_episode_steps: steps until truncation, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    check_number("threshold", threshold, low=0, high=cartpole.POSITION_LIMIT, open_low=True, open_high=True)
    return cartpole.make_cartpole(max_episode_steps)._replace(
        cost=Configured(_cost, float(threshold)),
        render=Configured(_render, float(threshold)),
        name="cost_cartpole",
    )


def _cost(
    threshold: float, _state: _State, _action: Int[Array, ""], after: _State, _params: CartPoleParams
) -> Scalar:
    return (jnp.abs(after[0]) > threshold).astype(jnp.float32)


def _render(threshold: float, state: Any, params: CartPoleParams) -> UInt8[np.ndarray, "200 300 3"]:
    """Draw the frame of ``cartpole.render`` with the costly part of the track in red."""
    frame: UInt8[np.ndarray, "200 300 3"] = cartpole.render(state, params)
    width = frame.shape[1]
    position = (np.arange(width) - width / 2) * (2 * cartpole.POSITION_LIMIT / width)
    costly = (np.abs(position) > threshold)[None, :] & (frame == 255).all(axis=-1)
    frame[costly] = (255, 214, 214)
    return frame
