"""Learning under a cost limit: train, evaluate, print the table, draw the curves.

Compares PPO without a limit to PPO-Lagrangian, whose multiplier a PID controller sets. The slow tests run the same
tasks.

python benchmarks/cost_learning.py point_goal swimmer --out docs/results
"""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from learning import command_line, keeper, subplots, sweep, write
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

import spi_plugins
from spi_integrations.stable_baselines3 import as_vec_env, evaluate_policy_with_cost
from spi_wrappers import Multiplier
from spi_wrappers.vector import LagrangianReward, VelocityCost

METHODS = ("ppo", "ppo_lagrangian")
COLORS = {"ppo": "tab:orange", "ppo_lagrangian": "tab:blue"}


class Task(NamedTuple):
    """A run. ``limit`` bounds an episode's mean cost, at a quarter or less of what PPO costs without a limit."""

    make_env: Callable[[int], Any]
    steps: int
    limit: float
    multiplier: dict[str, Any]  # arguments of ``Multiplier``
    arguments: dict[str, Any]
    window: int  # episodes in a point of the curve
    n_eval_episodes: int
    warm_up: int = 0  # steps before the multiplier moves


def point_goal(seed: int) -> Any:
    del seed  # the model seeds the first reset
    return gymnasium.make_vec("spi/PointGoal-v0", num_envs=64)


def swimmer(seed: int) -> Any:
    import envpool

    # Episodes of 250 steps instead of 1000, so that the multiplier is updated four times as often.
    pool = envpool.make(
        "Swimmer-v5", env_type="gymnasium", num_envs=16, num_threads=1, seed=seed, max_episode_steps=250
    )
    return VelocityCost(pool)


SHARED = {"learning_rate": LinearSchedule(1e-3, 1e-4, 1.0), "n_epochs": 10, "clip_range": 0.2, "ent_coef": 0.0,
          "policy_kwargs": {"net_arch": [64, 64]}}  # fmt: skip

TASKS = {
    "point_goal": Task(
        point_goal, 768_000, 5.0, {"pid": {"kp": 0.03, "ki": 0.004, "kd": 0.0, "ema_p": 0.5}},
        {**SHARED, "n_steps": 125, "batch_size": 1000, "gamma": 0.98},
        window=64, n_eval_episodes=512,
    ),
    # Swimmer is not learned without this discount. Its first costs come from noise rather than speed, so λ waits. A
    # higher maximum drives some seeds into a slow stroke, which they keep after λ has fallen again.
    "swimmer": Task(
        swimmer, 600_000, 18.0,
        {"pid": {"kp": 0.003, "ki": 0.002, "kd": 0.0, "ema_p": 0.5}, "maximum": 0.6},
        {**SHARED, "n_steps": 250, "batch_size": 250, "gamma": 0.9999, "gae_lambda": 0.98,
         "learning_rate": LinearSchedule(7e-4, 2e-4, 1.0)},
        window=32, n_eval_episodes=256, warm_up=100_000,
    ),
}  # fmt: skip


class Curve(BaseCallback):
    """Steps, mean return, mean cost and multiplier, once per iteration. Frees the multiplier after the warm-up."""

    def __init__(self, multiplier: Multiplier | None, warm_up: int) -> None:
        super().__init__()
        self.multiplier, self.warm_up = multiplier, warm_up
        self.points: list[tuple[int, float, float, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.multiplier is not None:
            self.multiplier.frozen = self.model.num_timesteps < self.warm_up

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes:
            means = (float(np.mean([episode[key] for episode in episodes])) for key in ("r", "c"))
            self.points.append((self.model.num_timesteps, *means, value_of(self.multiplier)))


class Outcome(NamedTuple):
    """Means over the evaluation's episodes, actions sampled. The curve is that of ``Curve``."""

    method: str
    seed: int
    mean_return: float
    mean_cost: float
    multiplier: float
    cpu_seconds: float
    curve: list[tuple[int, float, float, float]]


def run(task: Task, method: str, seed: int) -> Outcome:
    """Train one seed and evaluate it on fresh episodes, with sampled actions, since the limit applies to those."""
    cpu = time.process_time()
    env = task.make_env(seed)
    multiplier = None
    if method == "ppo_lagrangian":
        multiplier = Multiplier(task.limit, **task.multiplier)
        env = LagrangianReward(env, multiplier=multiplier)
    model = spi_plugins.make(
        "ppo", "MlpPolicy", env, seed=seed, stats_window_size=task.window, **task.arguments
    )
    curve = Curve(multiplier, task.warm_up)
    model.learn(task.steps, callback=curve)
    fresh = as_vec_env(task.make_env(10_000 + seed))
    fresh.seed(10_000 + seed)
    result = evaluate_policy_with_cost(model, fresh, task.n_eval_episodes, deterministic=False)
    seconds = time.process_time() - cpu
    price = value_of(multiplier)
    return Outcome(method, seed, result.mean_return, result.mean_cost, price, seconds, curve.points)


def value_of(multiplier: Multiplier | None) -> float:
    return 0.0 if multiplier is None else multiplier.value


def draw(name: str, task: Task, outcomes: list[Outcome], path: pathlib.Path) -> None:
    figure, panels = subplots(1, 3, figsize=(13, 3.8))
    for method in METHODS:
        for i, outcome in enumerate(o for o in outcomes if o.method == method):
            columns = np.asarray(outcome.curve).T
            for axes, values in zip(panels, columns[1:], strict=True):
                label = method if i == 0 else None
                axes.plot(columns[0] / 1000, values, color=COLORS[method], alpha=0.7, label=label)
    panels[1].axhline(task.limit, color="grey", linestyle="--", label="limit")
    for axes, title in zip(panels, ("return", "cost of an episode", "multiplier"), strict=True):
        axes.set(title=f"{name}: {title}", xlabel="environment steps, thousands")
    panels[0].legend()
    panels[1].legend()
    write(figure, path)


def main() -> None:
    parser = command_line(__doc__, TASKS, "cost_NAME.png and cost_NAME.json")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    for name in args.tasks:
        task = TASKS[name]
        print(f"\n| {name}, limit {task.limit:g} | seed | return | cost | multiplier | CPU-s |")
        print("|---|---|---|---|---|---|", flush=True)
        sweep(
            args.methods,
            args.seeds,
            functools.partial(run, task),
            lambda out: f"{out.mean_return:.2f} | {out.mean_cost:.2f} | {out.multiplier:.3f}",
            keeper(args.out, f"cost_{name}", functools.partial(draw, name, task)),
        )


if __name__ == "__main__":
    main()
