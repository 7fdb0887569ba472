"""Logs what can be said of updates, while a model trains."""

import time
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import sync_envs_normalization

from spi_integrations.stable_baselines3.update_report import UpdateReport, current_parameters, report
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.types import Params
from spi_wrappers.cost.accounts.arguments import whole


class SPICallback(BaseCallback):
    """Measures updates of ``DeepSPI``, ``DeepMDP`` or ``PPO``, and logs ``spi/ratio_max``, ``spi/L_R`` and so on.

    After an update, the policy *before* it plays fresh episodes in ``eval_env``. On them the callback computes the
    ratios of full action distributions, which the encoder's drift is part of, and the errors of the latent model after
    the update. It does not touch the training: nothing random is shared. The states are sampled, so all of it is
    diagnostic; ``return_range`` adds certificates of the return, which hold for any encoder.

    Args:
        eval_env: anything that ``as_vec_env`` takes; not the training environment.
        every: updates between measurements, which compiled training makes in one call; ``None`` to measure as often as
            ``max_share`` allows, and then each iteration is a call of its own.
        n_episodes: episodes of a measurement, at least 2.
        max_share: share of the training's time that measurements may take, with ``every=None``.
        return_range: bounds of the discounted return of an episode.
        verbose: as in every callback.

    Raises:
        TypeError: in training, the algorithm is another.

    Attributes:
        last: the last report; ``None`` before there is one.
    """

    def __init__(
        self,
        eval_env: Any,
        *,
        every: int | None = None,
        n_episodes: int = 10,
        max_share: float = 0.1,
        return_range: tuple[float, float] | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.eval_env = as_vec_env(eval_env)
        self.every = None if every is None else whole("every", every, at_least=1)
        self.n_episodes = whole("n_episodes", n_episodes, at_least=2)
        if not 0 < max_share <= 1:
            raise ValueError(f"max_share must be above 0 and at most 1, got {max_share!r}.")
        self.max_share = max_share
        self.return_range = return_range
        self.last: UpdateReport | None = None
        self._old: Params | None = None
        self._updates = self._measured = 0
        self._spent = 0.0

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm):
            raise TypeError(
                f"SPICallback measures DeepSPI, DeepMDP and PPO of this package, not {type(self.model).__name__}."
            )
        self._old, self._spent, self._began = None, 0.0, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def quiet_steps(self) -> int:
        """Steps of all environments in which no update is measured, for compiled chunks; 0 if ``every`` is ``None``.

        Within a chunk, parameters are known at its first rollout's start alone, where an update that was due before is
        measured, and one that is due now is copied.
        """
        if self.every is None:
            return 0
        assert isinstance(self.model, OnPolicyAlgorithm)
        ahead = self.every - self._updates % self.every
        return max(1, ahead - 1) * self.model.n_steps

    def _on_rollout_start(self) -> None:
        """Between two updates: the parameters are those of the next rollout."""
        assert isinstance(self.model, OnPolicyAlgorithm)
        start, old = time.perf_counter(), self._old
        self._old = None
        self._updates += 1
        if old is not None:
            self._measure(old)
        if self._due():
            self._old = current_parameters(self.model)
        # What the first measurement compiles is not counted against those that follow.
        first = old is not None and self._measured == 1
        self._spent += 0.0 if first else time.perf_counter() - start

    def _due(self) -> bool:
        if self.every is not None:
            return self._updates % self.every == 0
        # The first update is mostly compilation.
        return self._updates > 1 and self._spent <= self.max_share * (time.perf_counter() - self._began)

    def _measure(self, old: Params) -> None:
        assert isinstance(self.model, OnPolicyAlgorithm)
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.eval_env)
        self.last = report(
            self.model,
            old,
            current_parameters(self.model),
            self.eval_env,
            n_episodes=self.n_episodes,
            seed=self.num_timesteps,
            return_range=self.return_range,
        )
        for name, value in self.last.values().items():
            self.logger.record(f"spi/{name}", value)
        self._measured += 1
