"""Updates while environments in Python step, next to updates in turn with them.

python benchmarks/overlap.py safety_point_goal pendulum distant --rounds 3

SafetyPointGoal1 in 10 processes (SPOWL), four Pendulums in this one, and the same which wait 100 ms for a step, as if
they were made on another machine (TDMPC2); size "small", a gradient step for each step. Both ways take turns within one
process, and compiling is not counted. Medians over the rounds of steps per second, and per CPU-second of this process.
"""

import argparse
import statistics
import time
from typing import Any

import gymnasium
from planning import pendulum, safety_point_goal
from stable_baselines3.common.vec_env import DummyVecEnv

import spi_plugins


class Waits(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes 100 ms for a step, without computing."""

    def step(self, action: Any) -> Any:
        time.sleep(0.1)
        return super().step(action)


def distant(seed: int) -> Any:
    env = DummyVecEnv(
        [lambda: Waits(gymnasium.make("Pendulum-v1"))] + 3 * [lambda: gymnasium.make("Pendulum-v1")]
    )
    env.seed(seed)
    return env


TASKS = {
    "safety_point_goal": (safety_point_goal, spi_plugins.SPOWL),
    "pendulum": (pendulum, spi_plugins.TDMPC2),
    "distant": (distant, spi_plugins.TDMPC2),
}


def ready(task: str, train_freq: int, *, overlap: bool) -> Any:
    """A model that has compiled all of its programs."""
    make_env, algorithm = TASKS[task]
    env = make_env(0)
    model = algorithm(
        "MlpPolicy", env, model_size="small", train_freq=train_freq, learning_starts=10 * env.num_envs,
        overlap_updates=overlap, seed=0,
    )  # fmt: skip
    return model.learn(env.num_envs * max(20, 2 * train_freq))


def speeds(model: Any, steps: int) -> tuple[float, float]:
    """Steps per second, and per CPU-second."""
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(steps * model.n_envs, reset_num_timesteps=False, log_interval=None)
    total = steps * model.n_envs
    return total / (time.perf_counter() - wall), total / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--train-freq", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="of each copy in a round")
    args = parser.parse_args()
    print(
        "| environment | train_freq | in turn, steps/s | overlapped | ratio | in turn, steps/CPU-s | overlapped |"
    )
    print("|---|---|---|---|---|---|---|")
    for task in args.tasks:
        for train_freq in args.train_freq:
            models = [ready(task, train_freq, overlap=overlap) for overlap in (False, True)]
            rounds = [[speeds(model, args.steps) for model in models] for _ in range(args.rounds)]
            (turn, turn_cpu), (over, over_cpu) = (
                map(statistics.median, zip(*column, strict=True)) for column in zip(*rounds, strict=True)
            )
            ratio = statistics.median(pair[1][0] / pair[0][0] for pair in rounds)
            print(
                f"| {task} | {train_freq} | {turn:.1f} | {over:.1f} | {ratio:.2f} | {turn_cpu:.1f} | {over_cpu:.1f} |",
                flush=True,
            )
            for model in models:
                model.get_env().close()


if __name__ == "__main__":
    main()
