"""Measures whether an agent's world model knows the costs of what the agent does."""

import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.actions import restored_action
from spi_plugins.algorithms.experience import Gathered, gather
from spi_plugins.checks import check_integer
from spi_plugins.statistics.cost_calibration import CostCalibration, CostEpisode, cost_calibration
from spi_plugins.types import Observation
from spi_plugins.world_models.model import FittedModel

if TYPE_CHECKING:
    from spi_plugins.algorithms.planning import PlanningAlgorithm

# Steps whose costs are predicted in one call.
_ROWS = 1024


class _Deterministic:
    """Acts as a model does without exploring."""

    def __init__(self, model: Any):
        self._model = model

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        del deterministic
        chosen: tuple[Any, Any] = self._model.predict(observation, state, episode_start, deterministic=True)
        return chosen


def calibrate_costs(
    model: "PlanningAlgorithm",
    env: Any = None,
    n_steps: int = 20_000,
    *,
    deterministic: bool = True,
    seed: int = 0,
    **settings: Any,
) -> CostCalibration:
    """Let an agent act, and compare the costs that its world model expects of its actions with those that came.

    Args:
        model: a ``SPOWL`` model.
        env: where it acts, a ``VecEnv`` that reports costs; by default its own, which is reset.
        n_steps: of all copies together.
        deterministic: act without exploring.
        seed: of the environment.
        **settings: of ``statistics.cost_calibration.cost_calibration``, such as ``depth=5``.

    Raises:
        ValueError: the model knows no costs, there is no environment, or a step has no cost.
    """
    check_integer("n_steps", n_steps, low=1)
    fitted, env = model.world_model, model.get_env() if env is None else env
    if fitted.model.cost_value is None:
        raise ValueError(f"{type(model).__name__} has no model of costs; SPOWL has one.")
    if env is None:
        raise ValueError("The model has no environment to act in: pass env=.")
    steps = gather(env, _Deterministic(model) if deterministic else model, n_steps, seed)
    if not steps.has_costs:
        raise ValueError('A step reported no info["cost"], so there is nothing to compare with.')
    return cost_calibration(cost_episodes(fitted, steps), fitted.model.spec.cost_gamma, **settings)


def cost_episodes(fitted: FittedModel, steps: Gathered) -> list[CostEpisode]:
    """The episodes in the steps of a policy, with what a model expects of each step: means over its heads."""

    @jax.jit
    def expected(obs: Observation, stored: jax.Array) -> tuple[jax.Array, jax.Array]:
        model, params, action = fitted.model, fitted.params, restored_action(fitted.actions, stored)
        assert model.cost_value is not None
        z = model.encode(params, obs)
        cost, value = model.step(params, z, action, None).cost, model.cost_value(params, z, action, None)
        return jnp.mean(cost, axis=0), jnp.mean(value, axis=0)

    def predictions(obs: Observation, action: Any) -> np.ndarray[Any, Any]:
        """Cost and cost value of each step, ``[2, T]``."""
        size, found = len(action), []
        for start in range(0, size, _ROWS):
            # The last rows are filled up, so that one program serves all.
            index = np.minimum(np.arange(start, start + _ROWS), size - 1)
            found.append(np.stack(expected(jax.tree.map(lambda x: x[index], obs), action[index])))  # noqa: B023
        return np.concatenate(found, axis=1)[:, :size]

    episodes = []
    for i, size in enumerate(steps.sizes):
        ring = jax.tree.map(lambda x: np.asarray(x[i, :size]), steps.slots)  # noqa: B023
        starts = [*np.flatnonzero(~ring.valid), size]
        for first, end in itertools.pairwise(starts):
            if end - first < 2:
                continue
            # A slot holds the action and the cost that led to its observation.
            obs = jax.tree.map(lambda x: x[first : end - 1], ring.obs)  # noqa: B023
            predicted, value = predictions(obs, ring.action[first + 1 : end])
            cost = ring.cost[first + 1 : end].astype(np.float64)
            episodes.append(CostEpisode(cost, predicted, value, bool(ring.terminated[end - 1])))
    return episodes
