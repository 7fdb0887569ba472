"""Evaluation of return and cost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PolicyPredictor

from spi_integrations.stable_baselines3.episode_costs import EndedEpisode, EpisodeCosts
from spi_plugins.algorithms.vec_envs import as_vec_env


class CostEvaluation(NamedTuple):
    """Evaluated episodes, in the order of their ends.

    Attributes:
        returns: undiscounted, float64 ``[episodes]``.
        costs: undiscounted, float64 ``[episodes]``.
        lengths: in steps, int64 ``[episodes]``.
    """

    returns: NDArray[np.float64]
    costs: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean_return(self) -> float:
        """Mean of the returns."""
        return float(self.returns.mean())

    @property
    def std_return(self) -> float:
        """Standard deviation of the returns."""
        return float(self.returns.std())

    @property
    def mean_cost(self) -> float:
        """Mean of the costs."""
        return float(self.costs.mean())

    @property
    def std_cost(self) -> float:
        """Standard deviation of the costs."""
        return float(self.costs.std())

    def violation_rate(self, limit: float) -> float:
        """Fraction of the episodes that cost more than ``limit``."""
        return float((self.costs > limit).mean())


def evaluate_policy_with_cost(
    model: PolicyPredictor,
    env: Any,
    n_eval_episodes: int = 10,
    *,
    deterministic: bool = True,
    on_episode: Callable[[dict[str, Any]], None] | None = None,
) -> CostEvaluation:
    """Run a policy for some episodes, and collect the return and cost of each.

    The number of episodes of each copy of the environment is fixed beforehand, as in Stable-Baselines3's
    ``evaluate_policy``: counting the first episodes to end would favor short ones.

    Returns are a monitor's (``info["episode"]["r"]``) if there is one, else sums of the rewards; likewise costs,
    ``info["episode"]["c"]`` or sums of ``info["cost"]``.

    Args:
        model: anything with ``predict``.
        env: anything that ``as_vec_env`` takes; it is not closed.
        n_eval_episodes: number of episodes.
        deterministic: the most likely actions instead of samples.
        on_episode: called with the last info of each episode.

    Raises:
        ValueError: an episode has no cost, or one that is not a finite number.
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes must be at least 1, got {n_eval_episodes!r}.")
    vec_env = as_vec_env(env)
    count = vec_env.num_envs
    left = np.array([(n_eval_episodes + i) // count for i in range(count)])
    tracker = EpisodeCosts(vec_env, "evaluate_policy_with_cost")
    returns = np.zeros(count)
    episodes: list[tuple[float, EndedEpisode]] = []
    obs, state = vec_env.reset(), None
    starts = np.ones(count, np.bool_)
    while left.any():
        actions, state = model.predict(
            obs,  # type: ignore[arg-type]  # SB3's own annotation of VecEnvObs is wider
            state=state,
            episode_start=starts,
            deterministic=deterministic,
        )
        obs, rewards, starts, infos = vec_env.step(actions)
        returns += rewards
        for ended in tracker.update(infos, starts):
            total, returns[ended.row] = returns[ended.row], 0.0
            if left[ended.row] == 0:
                continue
            left[ended.row] -= 1
            info = infos[ended.row]
            episodes.append((float(info.get("episode", {}).get("r", total)), ended))
            if on_episode is not None:
                on_episode(info)
    return CostEvaluation(
        returns=np.array([total for total, _ in episodes]),
        costs=np.array([ended.cost for _, ended in episodes]),
        lengths=np.array([ended.length for _, ended in episodes], np.int64),
    )
