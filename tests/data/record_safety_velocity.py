"""Record what safety-gymnasium 1.0.0's velocity tasks cost, into safety_velocity.npz next to this file.

Needs gymnasium 1.4, ``mujoco>=3.2,<3.15`` and ``pip install --no-deps safety-gymnasium==1.0.0``. The package itself
cannot be imported with Gymnasium 1.x; its velocity tasks can, with empty parent packages.
"""

import importlib
import importlib.metadata
import importlib.util
import pathlib
import sys
import types

import numpy as np

TASKS = {
    "HalfCheetah": "half_cheetah",
    "Hopper": "hopper",
    "Walker2d": "walker2d",
    "Ant": "ant",
    "Humanoid": "humanoid",
    "Swimmer": "swimmer",
}
ROOT = pathlib.Path(importlib.util.find_spec("safety_gymnasium").origin).parent
# Initial forward speeds, as parts of the threshold, so that both costs occur.
SPEEDS = (0.0, 0.8, 1.2, 1.6)
STEPS = 40


def task_class(robot):
    for name in ("safety_gymnasium", "safety_gymnasium.tasks", "safety_gymnasium.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(ROOT.joinpath(*name.split(".")[1:]))]
        sys.modules.setdefault(name, package)
    module = f"safety_gymnasium.tasks.safe_velocity.safety_{TASKS[robot]}_velocity_v1"
    return getattr(importlib.import_module(module), f"Safety{robot}VelocityEnv")


def record(robot):
    env = task_class(robot)()
    names = ("qpos", "qvel", "action", "x_velocity", "y_velocity", "cost", "length")
    columns = {name: [] for name in names}
    env.action_space.seed(0)
    for seed, speed in enumerate(SPEEDS):
        env.reset(seed=seed)
        qpos, qvel = env.data.qpos.copy(), env.data.qvel.copy()
        qvel[0] += speed * env._velocity_threshold
        env.set_state(qpos, qvel)
        columns["qpos"].append(qpos)
        columns["qvel"].append(qvel)
        length, terminated = 0, False
        while length < STEPS and not terminated:
            action = env.action_space.sample()
            _, _, cost, terminated, _, info = env.step(action)
            columns["action"].append(action)
            columns["x_velocity"].append(info["x_velocity"])
            columns["y_velocity"].append(info.get("y_velocity", 0.0))
            columns["cost"].append(cost)
            length += 1
        columns["length"].append(length)
    return {f"{robot}/{name}": np.array(column) for name, column in columns.items()}


if __name__ == "__main__":
    versions = {name: importlib.metadata.version(name) for name in ("safety-gymnasium", "mujoco", "numpy")}
    arrays = {key: value for robot in TASKS for key, value in record(robot).items()}
    arrays["origin"] = np.array(" ".join(f"{name}=={version}" for name, version in versions.items()))
    np.savez_compressed(pathlib.Path(__file__).with_name("safety_velocity.npz"), **arrays)
