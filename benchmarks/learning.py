"""Learning runs: train, evaluate, print the table, draw the curves. The slow tests run the same tasks.

python benchmarks/learning.py cartpole acrobot pendulum pixel_goal --out docs/results
"""

import argparse
import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

import spi_plugins
from spi_plugins.statistics import estimate, mean


class Task(NamedTuple):
    """A run. ``bound`` is the mean return that every seed must reach; ``random`` is what uniform actions earn."""

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
    # Learned in minutes on a CPU: 36 x 36 images, one convolution window per cell. Goal and hazards move from episode
    # to episode, so the encoder must tell them apart.
    "pixel_goal": Task(
        "CnnPolicy", functional_env("spi/PixelGoal-v0", 64), 150_000,
        {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "learning_rate": LinearSchedule(1e-3, 0.0, 1.0),
         "clip_range": 0.2, "policy_kwargs": {"conv_layers": [[32, 6, 6], [64, 2, 1], [64, 2, 1]], "net_arch": [128]}},
        bound=0.6, random=-0.24,
    ),
}  # fmt: skip


class Curve(BaseCallback):
    """Mean return of the last episodes, once per iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model.ep_info_buffer:
            earned = float(np.mean([info["r"] for info in self.model.ep_info_buffer]))
            self.points.append((self.model.num_timesteps, earned))


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
    earned, _ = evaluate_policy(model, task.make_env(10_000 + seed), n_eval_episodes=100, warn=False)
    return Outcome(algorithm, seed, float(earned), time.process_time() - cpu, curve.points)


def random_return(task: Task) -> float:
    """Mean return of uniformly random actions."""
    env = task.make_env(0)
    env.reset()
    # The same number of episodes from each copy; otherwise short ones count too often.
    each = -(-200 // env.num_envs)
    returns: list[list[float]] = [[] for _ in range(env.num_envs)]
    while min(map(len, returns)) < each:
        _, _, _, infos = env.step(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
        for mine, info in zip(returns, infos, strict=True):
            if "episode" in info:
                mine.append(info["episode"]["r"])
    return float(np.mean([mine[:each] for mine in returns]))


def subplots(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Matplotlib's, without a display."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


def write(figure: Any, path: pathlib.Path) -> None:
    """Store a figure and free it."""
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw(name: str, task: Task, outcomes: list[Outcome], path: pathlib.Path) -> None:
    figure, axes = subplots(figsize=(6, 4))
    for algorithm, color in zip(task.algorithms, ("tab:blue", "tab:orange", "tab:green"), strict=False):
        for i, outcome in enumerate(o for o in outcomes if o.algorithm == algorithm):
            steps, returns = np.asarray(outcome.curve).T
            axes.plot(steps / 1000, returns, color=color, alpha=0.7, label=algorithm if i == 0 else None)
    axes.axhline(task.bound, color="grey", linestyle="--", label="bound")
    axes.set(title=name, xlabel="environment steps, thousands", ylabel="mean return of the last 100 episodes")
    axes.legend()
    write(figure, path)


def store(outcomes: list[Any], path: pathlib.Path) -> list[Any]:
    """Merge outcomes into the file, replacing those with the same first two fields, and return all of them."""
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


class Stored:
    """Runs in a JSON file, a row each, added as soon as they are made, so that a benchmark goes on where it stopped."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []

    def has(self, **fields: Any) -> bool:
        """Whether a row has these values."""
        return any(all(row[name] == value for name, value in fields.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row and write the file."""
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("[\n" + ",\n".join(map(json.dumps, self.rows)) + "\n]\n")


def interval(rows: list[dict[str, Any]], name: str) -> str:
    """Mean over episodes ``row[name]`` of all rows with a 95 % interval that resamples them within each row."""
    if not rows[0][name]:
        return ""
    value, low, high = estimate(mean, [np.asarray(row[name]) for row in rows])
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def command_line(doc: str | None, tasks: Iterable[str], name: str) -> argparse.ArgumentParser:
    """The options of all learning benchmarks; ``name`` is that of the files they write."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=tasks)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path, help=f"folder for {name}")
    return parser


Keeper = Callable[[Any], Any]


def sweep(
    methods: Iterable[str],
    seeds: Iterable[int],
    run: Callable[[str, int], Any],
    row: Callable[[Any], str],
    keep: Keeper,
) -> None:
    """Run each method with each seed, print a row of its table, and keep the outcome before the next one starts."""
    for method in methods:
        for seed in seeds:
            outcome = run(method, seed)
            print(f"| {method} | {seed} | {row(outcome)} | {outcome.cpu_seconds:.0f} |", flush=True)
            keep(outcome)


def keeper(out: pathlib.Path | None, name: str, draw: Callable[[list[Any], pathlib.Path], None]) -> Keeper:
    """Return a function that adds an outcome to ``NAME.json`` in the folder, if any, and redraws ``NAME.png``."""

    def keep(outcome: Any) -> None:
        if out is not None:
            draw(store([outcome], out / f"{name}.json"), out / f"{name}.png")

    return keep


def main() -> None:
    parser = command_line(__doc__, TASKS, "NAME.png and NAME.json")
    parser.add_argument("--algorithms", nargs="+")
    parser.add_argument("--random", action="store_true", help="only measure uniformly random actions")
    args = parser.parse_args()
    for name in args.tasks:
        task = TASKS[name]
        if args.random:
            print(f"{name}: random {random_return(task):.2f}")
            continue
        print(f"\n| {name} | seed | mean return, 100 episodes | CPU-s |\n|---|---|---|---|", flush=True)
        sweep(
            args.algorithms or task.algorithms,
            args.seeds,
            functools.partial(run, task),
            lambda outcome: f"{outcome.mean_return:.2f}",
            keeper(args.out, name, functools.partial(draw, name, task)),
        )


if __name__ == "__main__":
    main()
