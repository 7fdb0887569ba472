"""``MlpPolicy``, ``CnnPolicy`` and ``MultiInputPolicy`` of agents that plan: their state is the plan."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from gymnasium import spaces

from spi_plugins.actions import scale_action
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, Policy
from spi_plugins.types import ArraySpec, Observation, ObservationSpec, PyTree

# (observations [B, ...], plans, episode starts [B], *, deterministic) -> (the model's actions, plans)
Decide: TypeAlias = Callable[..., tuple[np.ndarray[Any, Any], PyTree]]


class PlanningPolicy(Policy):
    """``model.policy`` of an agent whose decisions continue from its last plan."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        decide: Decide,
        start: Callable[[int], PyTree],
    ):
        super().__init__(observation_space, action_space, decide)
        self._start = start

    def _choose(
        self, batch: Observation, state: Any, episode_start: Any, deterministic: bool, *masks: Any
    ) -> tuple[np.ndarray[Any, Any], Any]:
        n_envs = len(jax.tree.leaves(batch)[0])
        starts = np.zeros(n_envs, bool) if episode_start is None else np.asarray(episode_start, bool)
        starts = starts.reshape(-1)
        rows = {len(leaf) for leaf in jax.tree.leaves(state)} | {len(starts)}
        if rows != {n_envs}:
            raise ValueError(
                f"observation has {n_envs} rows, but state and episode_start have {sorted(rows)}; pass the "
                "state that predict returned, and one episode_start for each environment."
            )
        if state is None:
            state = self._start(n_envs)
        action, state = self._decide(batch, state, starts, deterministic=deterministic)
        return scale_action(self.action_space, action), state


class MlpPlanningPolicy(PlanningPolicy, MlpPolicy):
    """Dense layers on the flattened observation, then SimNorm."""


class CnnPlanningPolicy(PlanningPolicy, CnnPolicy):
    """Convolutions on one image, then dense layers and SimNorm."""

    @classmethod
    def check_observations(cls, spec: ObservationSpec) -> None:
        """Refuse anything but images of bytes: the world model flattens all else."""
        super().check_observations(spec)
        if isinstance(spec, ArraySpec) and spec.kind != "image":
            raise ValueError(
                f"CnnPolicy of an algorithm that plans reads images (uint8, three axes, bounds 0 to 255), got "
                f"{spec.kind} observations of shape {spec.shape} and dtype {spec.dtype}; use 'MlpPolicy'."
            )


class MultiInputPlanningPolicy(PlanningPolicy, MultiInputPolicy):
    """Images of a Dict through convolutions, the rest flattened, then dense layers and SimNorm."""


PLANNING_POLICIES: Mapping[str, type[PlanningPolicy]] = {
    "MlpPolicy": MlpPlanningPolicy,
    "CnnPolicy": CnnPlanningPolicy,
    "MultiInputPolicy": MultiInputPlanningPolicy,
}
