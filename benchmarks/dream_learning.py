"""Stable-Baselines3 agents trained only in dreams and evaluated in the real environment.

python benchmarks/dream_learning.py cartpole pendulum grid --out docs/results

Each seed fits a world model to at most 20 thousand real steps of uniform actions, trains SB3's PPO in its dream, and
plays fresh episodes of the real environment, observed through ``LatentObservation``.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from learning import command_line, store, sweep
from stable_baselines3 import PPO

import spi_plugins
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.dreams.file import StoredWorldModel
from spi_wrappers import CostFromFn, DreamVectorEnv, LatentObservation
from spi_wrappers.vector import LagrangianReward

N_DREAMS = 32


class Task(NamedTuple):
    """``bound`` is the mean return that every seed must reach, ``limit`` bounds an episode's mean cost."""

    make_env: Callable[[], gymnasium.Env[Any, Any]]
    n_steps: int  # real ones
    fit: dict[str, Any]
    dream: dict[str, Any]
    dream_steps: int
    ppo: dict[str, Any]
    bound: float
    limit: float | None = None
    dream_limit: float | None = None  # of a dream's cost, for the multiplier


def strong(obs: Any, action: Any, next_obs: Any, info: Any) -> float:
    """1 for a torque above 1, half of the maximum."""
    return float(abs(action[0]) > 1.0)


def pendulum() -> gymnasium.Env[Any, Any]:
    return CostFromFn(gymnasium.make("Pendulum-v1"), strong)


def grid() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("spi/ConfoundingGrid-v0", size=None, max_episode_steps=50)


SHARED = {"n_steps": 128, "batch_size": 512, "n_epochs": 8, "gae_lambda": 0.95, "device": "cpu"}
TASKS = {
    "cartpole": Task(
        lambda: gymnasium.make("CartPole-v1"), 20_000, {"n_updates": 3000}, {"horizon": 50}, 200_000,
        {**SHARED, "n_steps": 64, "batch_size": 256, "n_epochs": 10, "gamma": 0.99}, bound=300.0,
    ),
    "pendulum": Task(
        pendulum, 20_000, {"n_updates": 6000}, {"horizon": 50}, 600_000,
        {**SHARED, "gamma": 0.95, "learning_rate": 1e-3, "ent_coef": 0.0}, bound=-400.0,
    ),
    "safe_pendulum": Task(
        pendulum, 20_000, {"n_updates": 6000}, {"horizon": 50}, 600_000,
        {**SHARED, "gamma": 0.95, "learning_rate": 1e-3, "ent_coef": 0.0}, bound=-500.0, limit=20.0, dream_limit=5.0,
    ),
    "grid": Task(
        grid, 20_000, {"n_updates": 3000, "transition_density": "deterministic"}, {"horizon": 20}, 200_000,
        {**SHARED, "gamma": 0.99, "ent_coef": 0.01}, bound=4.5,
    ),
}  # fmt: skip


class Outcome(NamedTuple):
    """Means over 64 real episodes. The curve has pairs of dream steps and real return."""

    task: str
    seed: int
    data_return: float
    mean_return: float
    mean_cost: float
    cpu_seconds: float
    curve: list[tuple[int, float]]


def real_env(task: Task, stored: StoredWorldModel) -> Any:
    return as_vec_env(LatentObservation(task.make_env(), stored))


def evaluate(agent: Any, task: Task, stored: StoredWorldModel, n_episodes: int) -> tuple[float, float]:
    """Mean undiscounted return and cost in the real environment."""
    env = real_env(task, stored)
    returns, costs = [], []
    for _ in range(n_episodes):
        obs, done, total, cost = env.reset(), False, 0.0, 0.0
        while not done:
            action, _ = agent.predict(obs, deterministic=True)
            obs, reward, dones, infos = env.step(action)
            total, cost, done = total + float(reward[0]), cost + infos[0].get("cost", 0.0), bool(dones[0])
        returns.append(total)
        costs.append(cost)
    env.close()
    return float(np.mean(returns)), float(np.mean(costs))


def run(name: str, seed: int) -> Outcome:
    """One seed: real steps, fit, dream, reality."""
    torch.set_num_threads(1)
    cpu, task = time.process_time(), TASKS[name]
    stored = spi_plugins.fit_world_model(task.make_env(), n_steps=task.n_steps, seed=seed, **task.fit)
    dream = DreamVectorEnv.from_model(N_DREAMS, stored, **task.dream)
    if task.dream_limit is not None:
        dream = LagrangianReward(dream, limit=task.dream_limit, lr=0.02)
    agent = PPO("MlpPolicy", as_vec_env(dream), seed=seed, **task.ppo)
    curve = []
    for _ in range(10):
        agent.learn(task.dream_steps // 10, reset_num_timesteps=False)
        curve.append((agent.num_timesteps, evaluate(agent, task, stored, 8)[0]))
        print(f"  {curve[-1][0]:>8} dream steps, return {curve[-1][1]:.2f}", flush=True)
    means = evaluate(agent, task, stored, 64)
    data = stored.report["mean_return"]
    return Outcome(name, seed, data, *means, time.process_time() - cpu, curve)


def main() -> None:
    args = command_line(__doc__, TASKS, "dream_learning.json").parse_args()
    print("| task | seed | return of the data | real return | real cost | CPU-s |\n|---|---|---|---|---|---|")
    sweep(
        args.tasks,
        args.seeds,
        run,
        lambda out: f"{out.data_return:.2f} | {out.mean_return:.2f} | {out.mean_cost:.2f}",
        lambda out: args.out and store([out], args.out / "dream_learning.json"),
    )


if __name__ == "__main__":
    main()
