"""The outcome of an evaluation: figures, episodes, and how they read in a terminal."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np


class Evaluation(NamedTuple):
    """Episodes and their statistics. Returns and costs are undiscounted sums, before any normalization.

    What concerns costs is ``None`` if the environment reports none; what concerns the limit, without a limit.
    """

    mean_return: float
    std_return: float
    mean_length: float
    mean_cost: float | None
    std_cost: float | None
    cost_limit: float | None  # of an episode's mean cost
    violation_rate: float | None  # fraction of the episodes that cost more than the limit
    success_rate: float | None  # ``None`` unless the environment reports ``info["is_success"]``
    returns: list[float]
    lengths: list[int]
    costs: list[float] | None
    successes: list[bool] | None
    n_episodes: int
    deterministic: bool
    seed: int
    num_timesteps: int

    @classmethod
    def of(cls, played: Any, successes: Sequence[Any], cost_limit: float | None, **how: Any) -> Self:
        """From a ``CostEvaluation`` and the successes of its episodes; ``how`` are the last three fields."""
        has_costs = not np.isnan(played.costs).any()
        limited = has_costs and cost_limit is not None
        has_successes = len(successes) == len(played.returns)
        return cls(
            mean_return=played.mean_return,
            std_return=played.std_return,
            mean_length=float(played.lengths.mean()),
            mean_cost=played.mean_cost if has_costs else None,
            std_cost=played.std_cost if has_costs else None,
            cost_limit=cost_limit if has_costs else None,
            violation_rate=played.violation_rate(cost_limit) if limited else None,
            success_rate=float(np.mean(successes)) if has_successes else None,
            returns=played.returns.tolist(),
            lengths=played.lengths.tolist(),
            costs=played.costs.tolist() if has_costs else None,
            successes=[bool(each) for each in successes] if has_successes else None,
            n_episodes=len(played.returns),
            **how,
        )

    @property
    def is_within_limit(self) -> bool:
        """Whether the mean cost keeps the limit; true without costs or limit."""
        return self.mean_cost is None or self.cost_limit is None or self.mean_cost <= self.cost_limit

    @property
    def episodes(self) -> str:
        """How many episodes of which kind."""
        how = "deterministic" if self.deterministic else "stochastic"
        return f"{self.n_episodes} {how} {'episode' if self.n_episodes == 1 else 'episodes'}"

    def short(self) -> str:
        """Return and cost in half a line."""
        cost = "" if self.mean_cost is None else f", cost {self.mean_cost:.2f} +/- {self.std_cost:.2f}"
        return f"return {self.mean_return:.2f} +/- {self.std_return:.2f}{cost}"

    def table(self) -> str:
        """All figures, a line each."""
        rows = [("return", f"{self.mean_return:.2f} +/- {self.std_return:.2f}")]
        if self.mean_cost is not None:
            rows.append(("cost", f"{self.mean_cost:.2f} +/- {self.std_cost:.2f}{self._about_limit()}"))
        rows.append(("length", f"{self.mean_length:.1f}"))
        if self.success_rate is not None:
            rows.append(("success rate", f"{self.success_rate:.0%}"))
        return "\n".join(f"  {name:<16}{value}" for name, value in rows)

    def _about_limit(self) -> str:
        if self.violation_rate is None:
            return ""
        mean = "kept on average, exceeded by" if self.is_within_limit else "exceeded on average and by"
        return f"   limit {self.cost_limit:g}: {mean} {self.violation_rate:.0%} of the episodes"
