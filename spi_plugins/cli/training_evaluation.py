"""Evaluations during training: their file, and the best model."""

import sys
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import to_json
from spi_plugins.cli.env_recipe import EvaluationTask
from spi_plugins.cli.evaluation import follow_statistics, play
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.cli.evaluations_file import EvaluationsFile
from spi_plugins.cli.interrupt import TrainingInterrupted
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.cli.statistics_file import save_statistics


class Judge(Protocol):
    """Decides at each evaluation during training whether to go on."""

    def __call__(self, mean_return: float, mean_cost: float | None, limit: float | None, steps: int) -> bool:
        """Whether to go on, given means over the episodes, the limit of the cost, and the steps so far."""


class Plan(NamedTuple):
    """When to evaluate in training, how, and where the results go."""

    every: int  # environment steps
    task: EvaluationTask
    folder: RunFolder
    is_stopping: Callable[[], bool]  # whether Ctrl-C was pressed: then nobody waits for an evaluation
    judge: Judge | None = None  # ends training early


class EvaluateInTraining(BaseCallback):
    """Evaluates between two rollouts, as soon as a multiple of ``plan.every`` steps is reached, and keeps the best.

    The best model has the highest mean return, of those within the cost limit where there are costs and a limit.
    The episodes depend on the seed and the number of steps alone, so that a resumed run plays the same ones, and
    training goes on with the random numbers that it would have had without evaluations.

    Args:
        plan: see there.
        env: from ``open_env``.
        num_timesteps: the steps that the model has taken so far.
    """

    def __init__(self, plan: Plan, env: VecEnv, num_timesteps: int) -> None:
        super().__init__()
        self._plan, self._env = plan, env
        self._file = EvaluationsFile(plan.folder.evaluations, keep_until=num_timesteps)
        best = plan.folder.read_best()
        self._best = None if best is None else best["mean_return"]

    def _on_rollout_start(self) -> None:
        self._evaluate_if_due()

    def _on_training_end(self) -> None:
        self._evaluate_if_due()

    def quiet_steps(self) -> int:
        """The steps before the next multiple of ``plan.every``: the model is to be seen there."""
        every = self._plan.every
        return (every - self.model.num_timesteps % every - 1) // self.model.n_envs

    def _on_step(self) -> bool:
        return True

    def _evaluate_if_due(self) -> None:
        steps, every = self.model.num_timesteps, self._plan.every
        if steps // every <= self._file.last // every or self._plan.is_stopping():
            return
        follow_statistics(self._env, self.model.get_vec_normalize_env())
        seed = int(np.random.SeedSequence([self._plan.task.seed, steps]).generate_state(1)[0]) // 2
        result = play(self.model, self._env, self._plan.task._replace(seed=seed))
        is_best = result.is_within_limit and (self._best is None or result.mean_return > self._best)
        if is_best:
            self._best = result.mean_return
            self.model.save(self._plan.folder.best_model)
            save_statistics(self.model, self._plan.folder.best_model)
            write_atomically(self._plan.folder.best, f"{to_json(result._asdict())}\n".encode())
        self._file.append(result)
        self._log(result)
        sys.stdout.write(
            f"Evaluation at {steps:,} steps: {result.short()}{', the best so far' if is_best else ''}\n"
        )
        sys.stdout.flush()
        judge = self._plan.judge
        if judge is not None and not judge(result.mean_return, result.mean_cost, result.cost_limit, steps):
            raise TrainingInterrupted

    def _log(self, result: Evaluation) -> None:
        values = {
            "mean_reward": result.mean_return,
            "mean_ep_length": result.mean_length,
            "mean_cost": result.mean_cost,
            "violation_rate": result.violation_rate,
            "success_rate": result.success_rate,
        }
        for key, value in values.items():
            if value is not None:
                self.logger.record(f"eval/{key}", value)
        self.logger.record("time/total_timesteps", result.num_timesteps, exclude="tensorboard")
        self.logger.dump(result.num_timesteps)
