"""The confounding grid as tables, and exact values of policies: in float64, on the host.

The environment's step limit, which cuts off a share ``gamma**max_episode_steps`` of the future, is ignored.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from spi_plugins.checks import check_number
from spi_plugins.envs.base import Configured, FunctionalEnv
from spi_plugins.envs.confounding_grid_layout import (
    RIGHT,
    UP,
    ConfoundingGridConfig,
    GridLayout,
    dynamics,
    grid_layout,
)


class GridModel(NamedTuple):
    """A finite Markov decision process with four actions."""

    # Probability of the next state (last axis), given state and action
    transition: Float[np.ndarray, "S 4 S"]
    reward: Float[np.ndarray, "S 4"]  # reward of state and action
    gamma: float
    start: int  # the state in which an episode begins
    decisions: tuple[int, int]  # the two states at ``!``, upper and lower


def exact_model(env: FunctionalEnv) -> GridModel:
    """Make the tables of an environment from ``make_confounding_grid``, with its default parameters ``env.params``.

    Raises:
        ValueError: ``env`` is another environment.
    """
    config, layout = _layout_of(env)
    epsilon, gamma = map(float, env.params)
    transition, reward = dynamics(config.n_path, epsilon, gamma)
    return GridModel(transition, reward, gamma, layout.start, layout.decisions)


def all_observations(env: FunctionalEnv) -> Shaped[np.ndarray, " S *obs"]:
    """The observation of each state of an environment from ``make_confounding_grid``, in the order of the tables.

    Raises:
        ValueError: ``env`` is another environment.
    """
    _, layout = _layout_of(env)
    states = jnp.arange(len(layout.cells), dtype=jnp.int32)
    return np.asarray(jax.vmap(env.observation, (0, None))(states, env.params))


def state_values(model: GridModel, policy: Float[np.ndarray, "S 4"]) -> Float[np.ndarray, " S"]:
    """Discounted return of a policy from every state; rows of probabilities sum to 1 up to float32's rounding.

    Raises:
        ValueError: the shape is wrong, or the rows are not probabilities.
    """
    probabilities = np.asarray(policy, np.float64)
    if probabilities.shape != model.reward.shape:
        raise ValueError(f"policy must have shape {model.reward.shape}, got {probabilities.shape}.")
    total = probabilities.sum(axis=1)
    if not ((probabilities >= 0).all() and np.allclose(total, 1.0, rtol=0.0, atol=1e-4)):
        raise ValueError(
            f"policy must hold probabilities that sum to 1 in each state, got sums from {total.min()} to "
            f"{total.max()} and a smallest entry of {probabilities.min()}."
        )
    transition = np.einsum("sa,san->sn", probabilities, model.transition)
    reward = (probabilities * model.reward).sum(axis=1)
    values: Float[np.ndarray, " S"] = np.linalg.solve(np.eye(len(reward)) - model.gamma * transition, reward)
    return values


def start_value(model: GridModel, policy: Float[np.ndarray, "S 4"]) -> float:
    """Discounted return of a policy from the start; raises the same errors as ``state_values``."""
    return float(state_values(model, policy)[model.start])


def corridor_policy(
    model: GridModel, up_above: float = 0.0, up_below: float = 0.0
) -> Float[np.ndarray, "S 4"]:
    """The policy that goes RIGHT everywhere, except for UP with the given probabilities at ``!``.

    ``(1, 0)`` is the best policy; a policy that cannot tell the two states apart has equal probabilities.

    Raises:
        ValueError: a probability is out of range.
    """
    policy = np.zeros_like(model.reward)
    policy[:, RIGHT] = 1.0
    chances = (("up_above", up_above), ("up_below", up_below))
    for state, (name, up) in zip(model.decisions, chances, strict=True):
        check_number(name, up, low=0, high=1)
        policy[state, UP], policy[state, RIGHT] = up, 1.0 - up
    return policy


def _layout_of(env: FunctionalEnv) -> tuple[ConfoundingGridConfig, GridLayout]:
    bound = env.transition
    if not (isinstance(bound, Configured) and isinstance(bound.config, ConfoundingGridConfig)):
        raise ValueError(f"env must come from make_confounding_grid, got {env.name}.")
    return bound.config, grid_layout(bound.config.n_path)
