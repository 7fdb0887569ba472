"""Callbacks that watch the costs of episodes, and move a Lagrange multiplier by them."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_integrations.stable_baselines3.episode_costs import EndedEpisode, EpisodeCosts
from spi_wrappers.cost.accounts.arguments import real, whole
from spi_wrappers.cost.accounts.multiplier import Multiplier
from spi_wrappers.cost.lagrangian import LagrangianRule


class EpisodeCostCallback(BaseCallback):
    """Base of callbacks that see the cost of each episode when it ends, in ``_on_episodes``."""

    def __init__(self, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._tracker: EpisodeCosts | None = None

    def _on_training_start(self) -> None:
        self._tracker = EpisodeCosts(self.training_env, type(self).__name__)

    def _on_step(self) -> bool:
        assert self._tracker is not None
        ended = self._tracker.update(self.locals["infos"], self.locals["dones"])
        return self._on_episodes(ended) if ended else True

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        """Handle episodes that ended at the same step; return false to stop the training."""
        return True


class CostLogCallback(EpisodeCostCallback):
    """Logs ``rollout/ep_cost_mean``, ``rollout/cost_rate`` and, with a limit, ``rollout/violation_rate``.

    Means are over as many episodes as ``rollout/ep_rew_mean``. Algorithms of this package log the first two
    themselves.

    Args:
        limit: an episode that costs more is a violation.
        verbose: as in every callback.

    Raises:
        ValueError: in training, an episode has no cost.
    """

    def __init__(self, limit: float | None = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._limit = None if limit is None else real("limit", limit, at_least=0.0)
        self._episodes: deque[EndedEpisode] = deque()
        self._changed = False

    def _on_training_start(self) -> None:
        super()._on_training_start()
        assert self.model.ep_info_buffer is not None
        self._episodes = deque(self._episodes, maxlen=self.model.ep_info_buffer.maxlen)

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        self._episodes.extend(ended)
        self._changed = True
        return True

    def _on_rollout_end(self) -> None:
        if not self._changed:  # the logger keeps the last values until they are written
            return
        self._changed = False
        costs = np.array([episode.cost for episode in self._episodes])
        steps = sum(episode.length for episode in self._episodes)
        self.logger.record("rollout/ep_cost_mean", float(costs.mean()))
        self.logger.record("rollout/cost_rate", float(costs.sum() / steps))
        if self._limit is not None:
            self.logger.record("rollout/violation_rate", float((costs > self._limit).mean()))


class StopOnCost(EpisodeCostCallback):
    """Stops the training once recent episodes cost too much on average.

    Args:
        limit: the mean cost above which training stops.
        n_episodes: number of episodes in the mean; training never stops before that many have ended.
        verbose: 1 to log why the training stopped.

    Raises:
        ValueError: in training, an episode has no cost.
    """

    def __init__(self, limit: float, n_episodes: int = 100, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._limit = real("limit", limit, at_least=0.0)
        self._costs: deque[float] = deque(maxlen=whole("n_episodes", n_episodes, at_least=1))

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        self._costs.extend(episode.cost for episode in ended)
        if len(self._costs) < (self._costs.maxlen or 0):
            return True
        mean = float(np.mean(self._costs))
        if mean > self._limit and self.verbose >= 1:
            self.logger.info(
                f"Stopped at {self.num_timesteps} steps: the last {len(self._costs)} episodes cost {mean:.2f} on "
                f"average, above the limit of {self._limit:g}."
            )
        return mean <= self._limit


class LagrangianCallback(EpisodeCostCallback):
    """Moves the multiplier of ``LagrangianReward`` once per rollout, and logs ``train/lagrange_multiplier``.

    By itself a ``LagrangianReward`` moves λ whenever an episode ends, and single environments that are vectorized
    afterwards each have their own λ. With this callback all of them have the same λ during a rollout, wherever
    they are: wrappers of single environments in this process or in ``SubprocVecEnv`` and ``AsyncVectorEnv``, of a
    Gymnasium ``VectorEnv``, or of a ``VecEnv``. After each rollout λ moves once, by the mean cost of the episodes
    that ended in it.

    Args:
        multiplier: determines λ; by default one with the settings and the λ of the first wrapper found. It
            continues from its last state if the callback is used again.
        verbose: as in every callback.

    Raises:
        ValueError: in training: there is no ``LagrangianReward``, there are several with different limits, or an
            episode has no cost.
    """

    def __init__(self, multiplier: Multiplier | None = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        if not isinstance(multiplier, Multiplier | None):
            raise TypeError(f"multiplier must be a Multiplier or None, got {multiplier!r}.")
        self._given = multiplier
        self._multiplier: Multiplier | None = None
        self._costs: list[float] = []

    @property
    def multiplier(self) -> Multiplier:
        """The multiplier that determines λ; a ``RuntimeError`` before the training if none was given."""
        found = self._multiplier or self._given
        if found is None:
            raise RuntimeError("There is no multiplier before the training begins.")
        return found

    def _on_training_start(self) -> None:
        super()._on_training_start()
        found = multipliers_of(self.training_env)
        if self._multiplier is None:
            # A wrapper's own multiplier would also move whenever an episode ends.
            shared = any(multiplier is self._given for multiplier in found)
            self._multiplier = self._given if self._given and not shared else _copy(self._given or found[0])
        self._multiplier.frozen = False
        self._apply(frozen=True)

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        self._costs += [episode.cost for episode in ended]
        return True

    def _on_rollout_end(self) -> None:
        multiplier = self.multiplier
        if self._costs:
            multiplier.observe(np.array(self._costs))
            multiplier.update()  # moves a manual one; any other has already moved
            self._costs = []
            self._apply(frozen=True)
        self.logger.record("train/lagrange_multiplier", multiplier.value)

    def _on_training_end(self) -> None:
        self._apply(frozen=False)

    def _apply(self, *, frozen: bool) -> None:
        """Set λ in every wrapper."""
        value, env = self.multiplier.value, self.training_env
        wrappers = list(_wrappers(env))
        for wrapper in wrappers:
            wrapper.set_multiplier(value, frozen)
        if not wrappers:
            env.env_method("set_multiplier", value, frozen)


def multipliers_of(env: VecEnv) -> list[Multiplier]:
    """The multipliers of all ``LagrangianReward`` wrappers in a ``VecEnv``; copies of those in other processes."""
    found = [wrapper.multiplier for wrapper in _wrappers(env)]
    if not found and env.has_attr("multiplier"):
        found = [value for value in env.get_attr("multiplier") if isinstance(value, Multiplier)]
    if not found:
        raise ValueError(
            "The environment has no LagrangianReward. Wrap it first: spi_wrappers.LagrangianReward(env, limit), "
            "spi_wrappers.vector.LagrangianReward(envs, limit), or VecLagrangianReward(vec_env, limit)."
        )
    limits = sorted({multiplier.limit for multiplier in found})
    if len(limits) > 1:
        raise ValueError(f"All environments must have the same limit, but theirs are {limits}.")
    return found


def _copy(multiplier: Multiplier) -> Multiplier:
    copy = Multiplier(**{**multiplier.settings(), "manual": True})
    copy.load_state_dict(multiplier.state_dict())
    return copy


def _wrappers(env: Any) -> Iterator[LagrangianRule]:
    """Every ``LagrangianReward`` of this process, of any kind."""
    if env is None:
        return
    if isinstance(env, LagrangianRule):
        yield env
    attributes = vars(env)
    for name in ("venv", "env"):
        yield from _wrappers(attributes.get(name))
    copies = attributes.get("envs")
    for copy in copies if isinstance(copies, list | tuple) else ():
        yield from _wrappers(copy)
