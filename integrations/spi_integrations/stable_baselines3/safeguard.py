"""Takes back what made a policy worse."""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import sync_envs_normalization

from spi_integrations.stable_baselines3.evaluation import CostEvaluation, evaluate_policy_with_cost
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.certificates.comparison import Interval, Verdict, difference, errors, judge
from spi_plugins.certificates.result import Certificate
from spi_wrappers.cost.accounts.arguments import real, whole

Parameters = dict[str, Any]


class Episodes(NamedTuple):
    """Evaluated episodes of one policy."""

    returns: NDArray[np.float64]
    costs: NDArray[np.float64]  # NaN where there is none


class Reference(NamedTuple):
    """The policy to go back to."""

    parameters: Parameters
    statistics: Any  # of ``VecNormalize``
    episodes: Episodes


class SafeguardCallback(BaseCallback):
    """Rolls a model back to the best policy that it had, once a test shows that it became worse.

    For any algorithm of Stable-Baselines3 or of this package. Every ``check_freq`` steps, between two updates, the
    policy plays episodes of an evaluation environment, and its mean return is compared with that of the reference: the
    policy that training started with, or a later one that was shown to be better. The bounds of the difference are
    Welch's, or with ``return_range`` empirical Bernstein's. There are three verdicts:

    * *worse*: the difference is shown to be below ``-tolerance``. Parameters, optimizers and the statistics of
      ``VecNormalize`` go back to the reference.
    * *fine*: the difference is shown to be at least ``-tolerance``. If it is shown to be above 0, the policy becomes
      the reference and is evaluated anew, so that luck in the first evaluation does not count.
    * *undecided*: more episodes are played, ``n_eval_episodes`` at a time and up to ``max_eval_episodes``; then
      training goes on, and the reference stays.

    A check comes at the first rollout that starts at or after its step. Compiled training makes many iterations in one
    call between two checks, never across one, and what is rolled back is what the next iteration starts with.

    At the end of training a policy that is not shown to be fine gives way to the reference.

    *Error rate.* The probability that the test ever takes a policy for worse which is within the tolerance is at most
    ``error_rate``, and so is the probability that it ever takes one for fine which is not. Check k spends
    ``error_rate / (k (k + 1))`` of each, divided by its number of looks, and by 2 with costs. Welch's bounds are
    approximate: in simulations the rate holds from 50 episodes a look on, also for skewed returns, but not for 20.
    ``return_range`` makes it exact.

    *Sample size.* Two policies whose returns have the standard deviation σ can be told apart where the tolerance is
    above about ``6 σ / sqrt(max_eval_episodes)``; below, checks stay undecided.

    Args:
        eval_env: anything that ``as_vec_env`` takes; not the training environment.
        tolerance: how far the mean return may fall below the reference's.
        check_freq: time steps between checks.
        n_eval_episodes: episodes between two looks, at least 2.
        max_eval_episodes: episodes of a check, and of the reference.
        error_rate: see above.
        return_range: bounds of the return of an episode, for bounds that hold for any distribution.
        cost_tolerance: how far the mean cost may rise above the reference's; ``None`` to ignore costs.
        deterministic: evaluate the most likely actions instead of samples.
        certify: called before a check with the model and the reference's parameters; a certificate of at least
            ``-tolerance`` for the difference of returns takes the place of the episodes.
        stop_after: stop training after so many rollbacks; ``None`` for never.
        verbose: 1 to log each verdict.

    Raises:
        ValueError: an argument is out of range.

    Attributes:
        reference: the policy to go back to, with its episodes.
        rollbacks: time steps at which the model was rolled back.
        verdicts: ``(time steps, verdict)`` of every check.
    """

    def __init__(
        self,
        eval_env: Any,
        tolerance: float,
        *,
        check_freq: int = 10_000,
        n_eval_episodes: int = 50,
        max_eval_episodes: int = 200,
        error_rate: float = 0.05,
        return_range: tuple[float, float] | None = None,
        cost_tolerance: float | None = None,
        deterministic: bool = True,
        certify: Callable[[BaseAlgorithm, Parameters], Certificate] | None = None,
        stop_after: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.eval_env = as_vec_env(eval_env)
        self.tolerance = real("tolerance", tolerance, at_least=0.0)
        self.check_freq = whole("check_freq", check_freq, at_least=1)
        self.n_eval_episodes = whole("n_eval_episodes", n_eval_episodes, at_least=2)
        self.max_eval_episodes = whole("max_eval_episodes", max_eval_episodes, at_least=self.n_eval_episodes)
        if not 0 < error_rate < 1:
            raise ValueError(f"error_rate must be above 0 and below 1, got {error_rate!r}.")
        self.error_rate = error_rate
        self.return_range = return_range
        self.cost_tolerance = None if cost_tolerance is None else real("cost_tolerance", cost_tolerance)
        self.deterministic = deterministic
        self.certify = certify
        self.stop_after = stop_after
        self.reference: Reference | None = None
        self.rollbacks: list[int] = []
        self.verdicts: list[tuple[int, Verdict]] = []
        looks = math.ceil(self.max_eval_episodes / self.n_eval_episodes)
        self._errors = errors(error_rate / (1 if cost_tolerance is None else 2), looks)
        self._next_check = 0
        self._stopping = False

    def _on_training_start(self) -> None:
        if self.reference is None:
            self.reference = self._snapshot(self._evaluate(self.max_eval_episodes))
        self._next_check = self.num_timesteps + self.check_freq
        self._stopping = False

    def _on_step(self) -> bool:
        return not self._stopping

    def quiet_steps(self) -> int:
        """Steps of all environments before the next check, for compiled chunks: none is due within."""
        missing = self._next_check - self.num_timesteps
        return max(0, -(-missing // self.training_env.num_envs))

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next_check:
            self._next_check = self.num_timesteps + self.check_freq
            self._check()

    def _on_training_end(self) -> None:
        if not self._stopping and self._check() == "undecided":
            self._roll_back("is not shown to be as good as the reference at the end of training")

    def _check(self) -> Verdict:
        verdict, better = self._verdict()
        self.verdicts.append((self.num_timesteps, verdict))
        if verdict == "worse":
            self._roll_back("is worse than the reference")
        elif better:
            self.reference = self._snapshot(self._evaluate(self.max_eval_episodes))
        assert self.reference is not None
        self.logger.record("safeguard/reference_return", float(self.reference.episodes.returns.mean()))
        self.logger.record("safeguard/rollbacks", len(self.rollbacks))
        self.logger.record("safeguard/undecided", float(verdict == "undecided"))
        return verdict

    def _verdict(self) -> tuple[Verdict, bool]:
        """The verdict, and whether the policy is shown to be better."""
        assert self.reference is not None
        if self.certify is not None:
            found = self.certify(self.model, self.reference.parameters)
            if found.void is None and found.value >= -self.tolerance:
                return "fine", found.value > 0
        error, played = next(self._errors), _no_episodes()
        while True:
            count = min(self.n_eval_episodes, self.max_eval_episodes - len(played.returns))
            played = Episodes(*map(np.concatenate, zip(played, self._evaluate(count), strict=True)))
            verdict, better = self._compare(played, error)
            if verdict != "undecided" or len(played.returns) >= self.max_eval_episodes:
                self.logger.record("safeguard/return", float(played.returns.mean()))
                return verdict, better

    def _compare(self, played: Episodes, error: float) -> tuple[Verdict, bool]:
        assert self.reference is not None
        old = self.reference.episodes
        returns = difference(played.returns, old.returns, error, self.return_range)
        verdicts, better = [judge(returns, self.tolerance)], returns.low > 0
        if self.cost_tolerance is not None:
            costs = difference(played.costs, old.costs, error)
            verdicts.append(judge(Interval(-costs.high, -costs.low), self.cost_tolerance))
            better = better and costs.high <= self.cost_tolerance
        for verdict in ("worse", "undecided"):
            if verdict in verdicts:
                return verdict, False
        return "fine", better

    def _evaluate(self, n_episodes: int) -> Episodes:
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.eval_env)
        found: CostEvaluation = evaluate_policy_with_cost(
            self.model,
            self.eval_env,
            n_episodes,
            deterministic=self.deterministic,
            require_cost=self.cost_tolerance is not None,
        )
        return Episodes(found.returns, found.costs)

    def _snapshot(self, episodes: Episodes) -> Reference:
        normalize = self.model.get_vec_normalize_env()
        statistics = None if normalize is None else copy.deepcopy((normalize.obs_rms, normalize.ret_rms))
        # SB3's parameters are those that training goes on to change.
        return Reference(copy.deepcopy(self.model.get_parameters()), statistics, episodes)

    def _roll_back(self, reason: str) -> None:
        assert self.reference is not None
        self.model.set_parameters(copy.deepcopy(self.reference.parameters), exact_match=True)
        normalize = self.model.get_vec_normalize_env()
        if normalize is not None:
            normalize.obs_rms, normalize.ret_rms = copy.deepcopy(self.reference.statistics)
        self.rollbacks.append(self.num_timesteps)
        self._stopping = self.stop_after is not None and len(self.rollbacks) >= self.stop_after
        if self.verbose >= 1:
            self.logger.info(f"Rolled back at {self.num_timesteps} steps: the policy {reason}.")


def _no_episodes() -> Episodes:
    return Episodes(np.zeros(0), np.zeros(0))
