"""Evaluation of return and cost, also during training."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common import evaluation
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from spi_integrations.stable_baselines3.episode_costs import EndedEpisode, EpisodeCosts
from spi_plugins.algorithms.action_masks import with_masks
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.algorithms.vec_envs.workers import NamingDeadWorkers
from spi_wrappers.cost.accounts.arguments import real


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


def evaluate_policy(
    model: PolicyPredictor,
    env: Any,
    n_eval_episodes: int = 10,
    *,
    use_masking: bool = True,
    **options: Any,
) -> Any:
    """Stable-Baselines3's ``evaluate_policy`` on an environment of any kind, with its action masks if it has any.

    Args:
        model: anything with ``predict``.
        env: anything that ``as_vec_env`` takes, such as what ``gymnasium.make_vec`` returns; it is not closed.
        n_eval_episodes: number of episodes.
        use_masking: pass the environment's ``action_masks()``, if it has them, to models that take them.
        **options: of Stable-Baselines3's function.

    Returns:
        Mean and standard deviation of the returns; with ``return_episode_rewards=True``, returns and lengths.

    Raises:
        WorkerDiedError: a process of a vector environment is gone.
    """
    vec_env = as_vec_env(env, for_step_rows=True)
    with NamingDeadWorkers(vec_env):
        actor = with_masks(model, vec_env) if use_masking else model
        return evaluation.evaluate_policy(actor, vec_env, n_eval_episodes, **options)


def evaluate_policy_with_cost(
    model: PolicyPredictor,
    env: Any,
    n_eval_episodes: int = 10,
    *,
    deterministic: bool = True,
    use_masking: bool = True,
    require_cost: bool = True,
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
        use_masking: as in ``evaluate_policy``.
        require_cost: refuse an episode without a cost; if false, its cost is NaN.
        on_episode: called with the last info of each episode.

    Raises:
        ValueError: an episode has no cost, or one that is not a finite number.
        WorkerDiedError: a process of a vector environment is gone.
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes must be at least 1, got {n_eval_episodes!r}.")
    vec_env = as_vec_env(env, for_step_rows=True)
    actor = with_masks(model, vec_env) if use_masking else model
    tracker = EpisodeCosts(vec_env, "evaluate_policy_with_cost", required=require_cost)
    with NamingDeadWorkers(vec_env):
        return _play(
            actor, vec_env, n_eval_episodes, deterministic, tracker, on_episode or (lambda info: None)
        )


def _play(
    actor: PolicyPredictor,
    vec_env: VecEnv,
    n_episodes: int,
    deterministic: bool,
    tracker: EpisodeCosts,
    on_episode: Callable[[dict[str, Any]], None],
) -> CostEvaluation:
    count = vec_env.num_envs
    left = np.array([(n_episodes + i) // count for i in range(count)])
    returns = np.zeros(count)
    episodes: list[tuple[float, EndedEpisode]] = []
    obs, state = vec_env.reset(), None
    starts = np.ones(count, np.bool_)
    while left.any():
        actions, state = actor.predict(
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
            on_episode(info)
    return CostEvaluation(
        returns=np.array([total for total, _ in episodes]),
        costs=np.array([ended.cost for _, ended in episodes]),
        lengths=np.array([ended.length for _, ended in episodes], np.int64),
    )


class CostEvalCallback(EvalCallback):
    """``EvalCallback`` whose best model has the highest mean return among those whose mean cost is within a limit.

    There is no best model until an evaluation is within the limit. In addition to ``EvalCallback``, it logs
    ``eval/mean_cost`` and ``eval/violation_rate``, and stores ``costs``, ``[evaluations, episodes]``, in
    ``evaluations.npz``.

    Args:
        eval_env: an environment with ``info["cost"]`` at each step; anything that ``as_vec_env`` takes. Leave out
            wrappers that shape rewards, or put a monitor inside of them.
        cost_limit: of the mean undiscounted cost of an episode.
        callback_on_new_best: called after a new best model.
        callback_after_eval: called after each evaluation.
        n_eval_episodes: number of episodes in an evaluation.
        eval_freq: number of calls between evaluations, which is the number of steps of each copy.
        log_path: folder of ``evaluations.npz``.
        best_model_save_path: folder of ``best_model.zip``.
        deterministic: the most likely actions instead of samples.
        verbose: 1 to log a line about each evaluation.

    Raises:
        ValueError: in training, an episode has no cost.

    Attributes:
        best_mean_reward: return of the best model; ``-inf`` before there is one.
        best_mean_cost: its cost; NaN before there is one.
        last_mean_cost: cost in the last evaluation.
    """

    def __init__(
        self,
        eval_env: Any,
        cost_limit: float,
        *,
        callback_on_new_best: BaseCallback | None = None,
        callback_after_eval: BaseCallback | None = None,
        n_eval_episodes: int = 5,
        eval_freq: int = 10_000,
        log_path: str | None = None,
        best_model_save_path: str | None = None,
        deterministic: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            as_vec_env(eval_env),
            callback_on_new_best=callback_on_new_best,
            callback_after_eval=callback_after_eval,
            n_eval_episodes=n_eval_episodes,
            eval_freq=eval_freq,
            log_path=log_path,
            best_model_save_path=best_model_save_path,
            deterministic=deterministic,
            verbose=verbose,
        )
        self.cost_limit = real("cost_limit", cost_limit, at_least=0.0)
        self.best_mean_cost = self.last_mean_cost = float("nan")
        self.evaluations_costs: list[list[float]] = []

    def _init_callback(self) -> None:
        # EvalCallback would warn that training has wrappers which evaluation lacks, but here that is the rule.
        for folder in (self.best_model_save_path, self.log_path and os.path.dirname(self.log_path)):
            if folder is not None:
                os.makedirs(folder, exist_ok=True)
        if self.callback_on_new_best is not None:
            self.callback_on_new_best.init_callback(self.model)

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq:
            return True
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.eval_env)
        self._is_success_buffer = []
        result = evaluate_policy_with_cost(
            self.model,
            self.eval_env,
            self.n_eval_episodes,
            deterministic=self.deterministic,
            on_episode=self._note_success,
        )
        self.last_mean_reward, self.last_mean_cost = result.mean_return, result.mean_cost
        self._store(result)
        self._log(result)
        go_on = True
        if result.mean_cost <= self.cost_limit and result.mean_return > self.best_mean_reward:
            go_on = self._take_best(result)
        if self.callback is not None:
            go_on = go_on and self._on_event()
        return go_on

    def _note_success(self, info: dict[str, Any]) -> None:
        if info.get("is_success") is not None:
            self._is_success_buffer.append(info["is_success"])

    def _store(self, result: CostEvaluation) -> None:
        if self.log_path is None:
            return
        self.evaluations_timesteps.append(self.num_timesteps)
        self.evaluations_results.append(result.returns.tolist())
        self.evaluations_length.append(result.lengths.tolist())
        self.evaluations_costs.append(result.costs.tolist())
        arrays: dict[str, Any] = {
            "timesteps": self.evaluations_timesteps,
            "results": self.evaluations_results,
            "ep_lengths": self.evaluations_length,
            "costs": self.evaluations_costs,
        }
        if self._is_success_buffer:
            self.evaluations_successes.append(self._is_success_buffer)
            arrays["successes"] = self.evaluations_successes
        np.savez(self.log_path, **arrays)

    def _log(self, result: CostEvaluation) -> None:
        record = self.logger.record
        record("eval/mean_reward", result.mean_return)
        record("eval/mean_ep_length", float(result.lengths.mean()))
        record("eval/mean_cost", result.mean_cost)
        record("eval/violation_rate", result.violation_rate(self.cost_limit))
        if self._is_success_buffer:
            record("eval/success_rate", float(np.mean(self._is_success_buffer)))
        record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        if self.verbose >= 1:
            self.logger.info(
                f"Evaluation at {self.num_timesteps} steps: return {result.mean_return:.2f} +/- "
                f"{result.std_return:.2f}, cost {result.mean_cost:.2f} +/- {result.std_cost:.2f} (limit "
                f"{self.cost_limit:g})."
            )

    def _take_best(self, result: CostEvaluation) -> bool:
        self.best_mean_reward, self.best_mean_cost = result.mean_return, result.mean_cost
        if self.best_model_save_path is not None:
            self.model.save(os.path.join(self.best_model_save_path, "best_model"))
        return True if self.callback_on_new_best is None else self.callback_on_new_best.on_step()
