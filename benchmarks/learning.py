"""Learning runs: train, evaluate, print the table, draw the curves. The slow tests run the same tasks.

python benchmarks/learning.py cartpole acrobot pendulum pixel_goal --out docs/results
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

import spi_plugins


class Task(NamedTuple):
    """A run. ``bound`` is the mean return that every seed must reach; ``random`` is that of uniform actions."""

    policy: str
    make_env: Callable[[int], Any]
    steps: int
    arguments: dict[str, Any]
    bound: float
    random: float  # measured: python benchmarks/learning.py TASK --random
    algorithms: tuple[str, ...] = ("ppo", "deep_spi")


def gym_env(env_id: str, n_envs: int) -> Callable[[int], Any]:
    return lambda seed: make_vec_env(env_id, n_envs=n_envs, seed=seed)


def functional_env(name: str, n_envs: int) -> Callable[[int], Any]:
    def make(seed: int) -> Any:
        from spi_plugins.algorithms.vec_envs import FunctionalVecEnv

        return FunctionalVecEnv(spi_plugins.make_env(name), n_envs, seed=seed)

    return make


TASKS = {
    "cartpole": Task(
        "MlpPolicy", gym_env("CartPole-v1", 8), 100_000,
        {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8, "ent_coef": 0.0,
         "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "clip_range": LinearSchedule(0.2, 0.0, 1.0)},
        bound=475.0, random=22.0,
    ),
    "acrobot": Task(
        "MlpPolicy", gym_env("Acrobot-v1", 16), 300_000,
        {"n_steps": 256, "batch_size": 64, "n_epochs": 4, "gae_lambda": 0.94, "ent_coef": 0.0,
         "learning_rate": 3e-4, "clip_range": 0.2},
        bound=-100.0, random=-499.0,
    ),
    "pendulum": Task(
        "MlpPolicy", gym_env("Pendulum-v1", 4), 200_000,
        {"n_steps": 1024, "batch_size": 64, "n_epochs": 10, "gamma": 0.9, "gae_lambda": 0.95, "ent_coef": 0.0,
         "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "clip_range": 0.2},
        bound=-500.0, random=-1200.0,
    ),
    # A CPU learns it in minutes: a 36 x 36 image, one convolution window to a cell. Goal and hazards move from episode
    # to episode, so the encoder must tell them apart.
    "pixel_goal": Task(
        "CnnPolicy", functional_env("spi/PixelGoal-v0", 64), 150_000,
        {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "learning_rate": LinearSchedule(1e-3, 0.0, 1.0),
         "clip_range": 0.2, "policy_kwargs": {"conv_layers": [[32, 6, 6], [64, 2, 1], [64, 2, 1]], "net_arch": [128]}},
        bound=0.6, random=-0.24,
    ),
}  # fmt: skip


class Curve(BaseCallback):
    """Mean return of the last episodes, once an iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model.ep_info_buffer:
            mean = float(np.mean([info["r"] for info in self.model.ep_info_buffer]))
            self.points.append((self.model.num_timesteps, mean))


class Outcome(NamedTuple):
    algorithm: str
    seed: int
    mean_return: float
    cpu_seconds: float
    curve: list[tuple[int, float]]


def run(task: Task, algorithm: str, seed: int) -> Outcome:
    """Train one seed and evaluate it on fresh episodes, deterministically."""
    cpu = time.process_time()
    model = spi_plugins.make(algorithm, task.policy, task.make_env(seed), seed=seed, **task.arguments)
    curve = Curve()
    model.learn(task.steps, callback=curve)
    mean, _ = evaluate_policy(model, task.make_env(10_000 + seed), n_eval_episodes=100, warn=False)
    return Outcome(algorithm, seed, float(mean), time.process_time() - cpu, curve.points)


def random_return(task: Task) -> float:
    """Mean return of uniformly random actions."""
    env = task.make_env(0)
    env.reset()
    each = -(
        -200 // env.num_envs
    )  # the same number of episodes of each copy, else short ones count too often
    returns: list[list[float]] = [[] for _ in range(env.num_envs)]
    while min(map(len, returns)) < each:
        _, _, _, infos = env.step(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
        for mine, info in zip(returns, infos, strict=True):
            if "episode" in info:
                mine.append(info["episode"]["r"])
    return float(np.mean([mine[:each] for mine in returns]))


def draw(name: str, task: Task, outcomes: list[Outcome], path: pathlib.Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for algorithm, color in zip(task.algorithms, ("tab:blue", "tab:orange", "tab:green"), strict=False):
        for i, outcome in enumerate(o for o in outcomes if o.algorithm == algorithm):
            steps, returns = np.asarray(outcome.curve).T
            axes.plot(steps / 1000, returns, color=color, alpha=0.7, label=algorithm if i == 0 else None)
    axes.axhline(task.bound, color="grey", linestyle="--", label="bound")
    axes.set(title=name, xlabel="environment steps, thousands", ylabel="mean return of the last 100 episodes")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def store(outcomes: list[Any], path: pathlib.Path) -> list[Any]:
    """Add to the file's outcomes, replacing those with the same first two fields; all of them are returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = type(outcomes[0])
    known = [kind(**row) for row in json.loads(path.read_text())] if path.exists() else []
    merged = {outcome[:2]: outcome for outcome in [*known, *outcomes]}
    lines = []
    for outcome in merged.values():
        step = max(len(outcome.curve) // 60, 1)
        curve = [[at, *(round(value, 3) for value in values)] for at, *values in outcome.curve[::step]]
        row = {**outcome._asdict(), "cpu_seconds": round(outcome.cpu_seconds), "curve": curve}
        lines.append(json.dumps(row))
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return list(merged.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--algorithms", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="folder for NAME.png and NAME.json")
    parser.add_argument("--random", action="store_true", help="only measure uniformly random actions")
    args = parser.parse_args()
    for name in args.tasks:
        task = TASKS[name]
        if args.random:
            print(f"{name}: random {random_return(task):.2f}")
            continue
        outcomes = []
        print(f"\n| {name} | seed | mean return, 100 episodes | CPU-s |\n|---|---|---|---|", flush=True)
        for algorithm in args.algorithms or task.algorithms:
            for seed in range(args.seeds):
                outcome = run(task, algorithm, seed)
                outcomes.append(outcome)
                print(
                    f"| {algorithm} | {seed} | {outcome.mean_return:.2f} | {outcome.cpu_seconds:.0f} |",
                    flush=True,
                )
        if args.out:
            outcomes = store(outcomes, args.out / f"{name}.json")
            draw(name, task, outcomes, args.out / f"{name}.png")


if __name__ == "__main__":
    main()
