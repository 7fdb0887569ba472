"""Steps per CPU-second and milliseconds per reset of safety-gymnasium's tasks, upstream's way and ours.

    python benchmarks/safety_tasks.py --tasks PointGoal1 CarGoal1 --steps 3000

One environment, random actions, CPU time, so that a busy machine matters little. `plain` is upstream's own Python with
its textures; `lean` drops the textures; `fast`, the default, also computes observations and costs with fewer calls into
MuJoCo. `physics` is MuJoCo alone, which no Python code can speed up.
"""

import argparse
import time
import warnings

import mujoco

import spi_integrations.safety_gymnasium as safety

TASKS = ["PointGoal1", "PointGoal2", "PointPush1", "PointButton1", "CarGoal1", "DoggoGoal1", "AntGoal1"]
MODES = {
    "plain": {"fast": False, "textures": True},
    "lean": {"fast": False, "textures": False},
    "fast": {"fast": True, "textures": False},
}


def resets(env, count):
    env.reset(seed=0)
    start = time.process_time()
    for _ in range(count):
        env.reset()
    return 1000 * (time.process_time() - start) / count


def steps(env, count):
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(count)]
    spent = 0.0
    for action in actions:
        start = time.process_time()
        *_, terminated, truncated, _ = env.step(action)
        spent += time.process_time() - start
        if terminated or truncated:
            env.reset()
    return count / spent


def physics(env, count):
    """The ten physics steps and three evaluations of an environment step."""
    env.reset(seed=0)
    model, data = env.unwrapped.task.model, env.unwrapped.task.data
    start = time.process_time()
    for _ in range(count):
        mujoco.mj_step(model, data, 10)
        for _ in range(3):
            mujoco.mj_forward(model, data)
    return count / (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--resets", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"MuJoCo {mujoco.__version__}; {options.steps} steps, {options.resets} resets")
    print(
        "| task | mode | ms per reset | steps per CPU-second | with a reset every 1000 steps |\n|---|---|---|---|---|"
    )
    for task in options.tasks:
        for mode, arguments in MODES.items():
            env = safety.make_env(f"Safety{task}-v0", **arguments)
            reset, rate = resets(env, options.resets), steps(env, options.steps)
            print(
                f"| {task} | {mode} | {reset:.1f} | {rate:.0f} | {1000 / (1000 / rate + reset / 1000):.0f} |",
                flush=True,
            )
        print(f"| {task} | physics | | {physics(env, options.steps):.0f} | |")


if __name__ == "__main__":
    main()
