"""Cart-pole in JAX, a twin of Gymnasium's CartPole-v1.

The task of Barto, Sutton and Anderson (1983), "Neuronlike adaptive elements that can solve difficult learning
control problems", with the equations of motion of Florian (2007), "Correct equations for the dynamics of the
cart-pole system", friction left out.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from spi_plugins.checks import check_integer
from spi_plugins.envs.base import FunctionalEnv, RandomKey, Scalar, no_cost
from spi_plugins.types import ActionSpec, ArraySpec

ANGLE_LIMIT = math.radians(12)
POSITION_LIMIT = 2.4

# Position, velocity, angle, angular velocity, in meters, radians and seconds.
_State = Float[Array, "4"]


class CartPoleParams(NamedTuple):
    """The physics, in SI units."""

    gravity: float = 9.8  # m/s²
    cart_mass: float = 1.0  # kg
    pole_mass: float = 0.1  # kg
    half_length: float = 0.5  # distance from the hinge to the pole's center of mass, m
    force: float = 10.0  # force of one push, N
    time_step: float = 0.02  # s


def make_cartpole(max_episode_steps: int = 500) -> FunctionalEnv:
    """Balance a pole on a cart: dynamics, thresholds and reward of Gymnasium's CartPole-v1, in float32.

    Observation: position, velocity, angle, angular velocity (float32 ``[4]``). With the default parameters
    none leaves [-20, 20] before an episode ends: accelerations are below 11 m/s² and 19 rad/s² and act over
    at most 4.8 m and 0.42 rad. Action: 0 pushes left, 1 right. Reward: 1 per step, including the last one.
    States beyond 12 degrees or 2.4 m are terminal. Episodes start with every entry uniform in [-0.05, 0.05].

    The best return is ``max_episode_steps``; a uniformly random policy gets about 22.

    Args:
        max_episode_steps: steps until truncation, at least 1.

    Raises:
        ValueError: ``max_episode_steps`` is below 1.
    """
    check_integer("max_episode_steps", max_episode_steps, low=1)
    return FunctionalEnv(
        observation_spec=ArraySpec(kind="box", shape=(4,), dtype="float32", low=-20.0, high=20.0),
        action_spec=ActionSpec(kind="discrete", nvec=(2,)),
        params=CartPoleParams(),
        initial=_initial,
        observation=_observation,
        transition=_transition,
        reward=_reward,
        cost=no_cost,
        terminal=_terminal,
        max_episode_steps=max_episode_steps,
        render=render,
        name="cartpole",
    )


def _initial(key: RandomKey, _params: CartPoleParams) -> _State:
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def _observation(state: _State, _params: CartPoleParams) -> _State:
    return state


def _transition(state: _State, action: Int[Array, ""], _key: RandomKey, params: CartPoleParams) -> _State:
    """One explicit Euler step; Florian (2007), equations 23 and 24 without friction."""
    _, velocity, angle, spin = state
    mass = params.cart_mass + params.pole_mass
    moment = params.pole_mass * params.half_length
    force = jnp.where(action == 1, params.force, -params.force)
    sin, cos = jnp.sin(angle), jnp.cos(angle)

    push = (force + moment * spin**2 * sin) / mass
    spin_rate = (params.gravity * sin - cos * push) / (
        params.half_length * (4.0 / 3.0 - params.pole_mass * cos**2 / mass)
    )
    acceleration = push - moment * spin_rate * cos / mass
    slope: _State = jnp.stack([velocity, acceleration, spin, spin_rate])
    return state + params.time_step * slope


def _reward(_state: _State, _action: Int[Array, ""], _after: _State, _params: CartPoleParams) -> Scalar:
    return jnp.ones(())


def _terminal(state: _State, _params: CartPoleParams) -> Bool[Array, ""]:
    position, angle = jnp.abs(state[0]), jnp.abs(state[2])
    return jnp.logical_or(position > POSITION_LIMIT, angle > ANGLE_LIMIT)


def render(state: Any, params: CartPoleParams) -> UInt8[np.ndarray, "200 300 3"]:
    """Draw cart, pole and track; the frame is as wide as the track between the limits."""
    height, width, track = 200, 300, 160
    scale = width / (2 * POSITION_LIMIT)
    position, _, angle, _ = np.asarray(state, float)
    x, y = np.meshgrid(np.arange(width) - width / 2 - position * scale, track - np.arange(height))
    length = 2 * float(params.half_length) * scale
    # Coordinates along and across the pole, from the hinge.
    along = x * np.sin(angle) + y * np.cos(angle)
    across = x * np.cos(angle) - y * np.sin(angle)

    frame = np.full((height, width, 3), 255, np.uint8)
    frame[track] = 0
    frame[(np.abs(x) <= 20) & (np.abs(y) <= 10)] = (40, 40, 40)
    frame[(np.abs(across) <= 4) & (along >= 0) & (along <= length)] = (202, 152, 101)
    return frame
