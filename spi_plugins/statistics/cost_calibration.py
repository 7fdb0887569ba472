"""How well a model of costs knows them: its predictions inside and outside of hazards, its critic against what came.

Pure functions of episodes. Intervals resample whole episodes, for the steps of an episode depend on each other and a
few episodes hold most of the cost.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spi_plugins.statistics.bootstrap import Estimate, percentile_interval

Numbers = NDArray[np.floating[Any]]
GROUPS = ("all", "outside", "inside", "deep inside")


class CostEpisode(NamedTuple):
    """The steps of an episode in order, ``[T]``, and what a model expected of each when it was taken."""

    cost: Numbers  # of the step
    predicted: Numbers  # the model's cost of the step
    cost_value: Numbers  # Q_c: the model's discounted sum of costs from the step on
    terminated: bool  # false where a limit cut the episode, whose later costs are unknown


class GroupCalibration(NamedTuple):
    """Means over the steps of a group, each with its bootstrap interval; NaN without a step."""

    n_steps: int
    cost: Estimate
    predicted: Estimate
    n_values: int  # steps of which the discounted sum is known
    return_cost: Estimate  # Monte Carlo: the discounted sum of costs that came
    cost_value: Estimate


class CostCalibration(NamedTuple):
    """What ``cost_calibration`` finds.

    Attributes:
        groups: by name: ``all`` steps, those ``outside`` of hazards (without cost), ``inside`` (with cost) and
            ``deep inside`` (with a cost in each of the last ``depth`` steps, this one included).
        recall: the share of costly steps of which at least half of the cost was predicted.
        false_alarms: the share of free steps of which at least half of a costly step's mean cost was predicted.
    """

    groups: dict[str, GroupCalibration]
    recall: Estimate
    false_alarms: Estimate


def discounted_sums(cost: Numbers, gamma: float) -> Numbers:
    """The discounted sum of costs from each step to the last one, ``[T]``."""
    sums = np.zeros(len(cost))
    following = 0.0
    for t in range(len(cost) - 1, -1, -1):
        sums[t] = following = cost[t] + gamma * following
    return sums


def run_lengths(costly: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many steps in a row cost, up to and with each one, ``[T]``."""
    lengths = np.zeros(len(costly), np.int64)
    current = 0
    for t, one in enumerate(costly):
        lengths[t] = current = current + 1 if one else 0
    return lengths


def cost_calibration(
    episodes: Sequence[CostEpisode],
    gamma: float,
    *,
    depth: int = 10,
    unknown: float = 0.1,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> CostCalibration:
    """Compare what a model expects of costs with what they were.

    Args:
        episodes: whole episodes, or their beginnings.
        gamma: the critic's discount per step.
        depth: consecutive costs that make a step ``deep inside``.
        unknown: a step of an episode that a limit cut counts for the critic only if what follows the cut has at most
            this share of the discount, ``gamma ** steps left``; 1 counts all, whose sums are then too small.
        confidence: of the intervals.
        n_resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: there are no episodes.
    """
    if not episodes:
        raise ValueError("episodes must hold at least one.")
    costs = np.concatenate([episode.cost for episode in episodes])
    typical = costs[costs > 0].mean() if (costs > 0).any() else np.inf
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(episodes), [1.0 / len(episodes)] * len(episodes), n_resamples)

    def mean(columns: list[Numbers], masks: list[NDArray[np.bool_]]) -> Estimate:
        """The mean of the marked steps, with the interval over resampled episodes."""
        totals = np.array([np.sum(x[mask]) for x, mask in zip(columns, masks, strict=True)])
        counts = np.array([mask.sum() for mask in masks])
        if not counts.sum():
            return Estimate(*np.full(3, np.nan))
        drawn = draws @ counts
        means = (draws @ totals)[drawn > 0] / drawn[drawn > 0]
        return Estimate(totals.sum() / counts.sum(), *percentile_interval(means, confidence))

    def group(masks: list[NDArray[np.bool_]]) -> GroupCalibration:
        known = [
            mask & _known(episode, gamma, unknown) for mask, episode in zip(masks, episodes, strict=True)
        ]
        return GroupCalibration(
            n_steps=int(sum(mask.sum() for mask in masks)),
            cost=mean([episode.cost for episode in episodes], masks),
            predicted=mean([episode.predicted for episode in episodes], masks),
            n_values=int(sum(mask.sum() for mask in known)),
            return_cost=mean([discounted_sums(episode.cost, gamma) for episode in episodes], known),
            cost_value=mean([episode.cost_value for episode in episodes], known),
        )

    inside = [episode.cost > 0 for episode in episodes]
    outside = [~mask for mask in inside]
    deep = [run_lengths(mask) >= depth for mask in inside]
    everywhere = [np.ones(len(mask), bool) for mask in inside]
    seen = [(episode.predicted >= 0.5 * episode.cost).astype(float) for episode in episodes]
    alarms = [(episode.predicted >= 0.5 * typical).astype(float) for episode in episodes]
    return CostCalibration(
        dict(zip(GROUPS, map(group, (everywhere, outside, inside, deep)), strict=True)),
        recall=mean(seen, inside),
        false_alarms=mean(alarms, outside),
    )


def _known(episode: CostEpisode, gamma: float, unknown: float) -> NDArray[np.bool_]:
    """The steps whose later costs are known, but for a share of the discount."""
    left = np.arange(len(episode.cost), 0, -1)
    return np.full(len(left), True) if episode.terminated else gamma**left <= unknown
