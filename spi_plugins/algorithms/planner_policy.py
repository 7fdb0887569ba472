"""A planner and a world model as a policy, without an agent."""

from typing import Any

import jax
import numpy as np

from spi_plugins import plugins
from spi_plugins.algorithms.planning_policies import PlanningPolicy
from spi_plugins.planners.batch import batch_planner, init_plans
from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.spaces import action_space, observation_space
from spi_plugins.types import Observation, PyTree
from spi_plugins.world_models.model import FittedModel


class PlannerPolicy(PlanningPolicy):
    """Plans in a fitted world model; ``evaluate_policy`` accepts it like a model.

    Args:
        world_model: for example ``model.world_model`` of a ``SPOWL`` model, or ``fitted`` of a stored one.
        planner: a registered name, or a ``Planner``.
        seed: for decisions that are not deterministic.
        **planner_kwargs: the named planner's settings.

    Raises:
        ValueError: the model lacks what the planner needs, or a setting is unknown.
    """

    def __init__(
        self, world_model: FittedModel, planner: str | Planner, *, seed: int = 0, **planner_kwargs: Any
    ):
        self._arguments = (world_model, planner, seed, planner_kwargs)
        if isinstance(planner, str):
            planner = plugins.resolve("planners", planner)(**planner_kwargs)
        elif planner_kwargs:
            raise ValueError(
                f"A Planner has its settings already; pass a name to set {', '.join(planner_kwargs)}."
            )
        assert isinstance(planner, Planner)
        model, chosen = world_model.model, planner
        check_parts(chosen, model)
        self.world_model = world_model
        self.planner = chosen
        self._keys = {True: jax.random.key(0), False: jax.random.key(seed)}  # by deterministic
        self._count = 0
        plan = batch_planner(chosen, model)

        def decide(
            params: PyTree,
            obs: Observation,
            plans: PyTree,
            starts: jax.Array,
            key: jax.Array,
            count: jax.Array,
            deterministic: bool,
        ) -> Any:
            key = jax.random.fold_in(key, count)
            return plan(params, obs, plans, starts, key, deterministic=deterministic)[:2]

        self._jitted = jax.jit(decide, static_argnames="deterministic")
        space: Any = action_space(world_model.actions)
        super().__init__(
            observation_space(world_model.observations),
            space,
            self._plan,
            lambda n_envs: init_plans(chosen, model.spec, n_envs),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), *self._arguments, self._count)

    def _plan(
        self, obs: Observation, plans: PyTree, starts: np.ndarray[Any, Any], *, deterministic: bool
    ) -> tuple[np.ndarray[Any, Any], PyTree]:
        self._count += not deterministic
        count = np.uint32(0 if deterministic else self._count)
        params, key = self.world_model.params, self._keys[deterministic]
        action, plans = self._jitted(params, obs, plans, starts, key, count, deterministic=deterministic)
        return np.asarray(action), jax.tree.map(np.asarray, plans)


def _rebuilt(
    cls: type[PlannerPolicy],
    world_model: FittedModel,
    planner: Any,
    seed: int,
    settings: dict[str, Any],
    count: int,
) -> PlannerPolicy:
    policy = cls(world_model, planner, seed=seed, **settings)
    policy._count = count
    return policy
