"""What each of two processes does, for ``test_devices.py``: ``python one_of_two_processes.py ID PORT FOLDER``."""

import pathlib
import sys

import jax
import numpy as np
from stable_baselines3.common.callbacks import CheckpointCallback
from tiny_models import tiny_ppo, tiny_tdmpc2

from spi_plugins.algorithms import on_policy

COPIES, ROLLOUT = 8, 32
PLANNED = {"n_envs": COPIES, "batch_size": 8, "learning_starts": 32, "gradient_steps": 4, "buffer_size": 232}
on_policy.WORTH_COMPILING = 4


def trained_ppo(device, callback=None):
    """A run in chunks, and another one that begins new episodes, one iteration at a time."""
    model = tiny_ppo(n_envs=COPIES, batch_size=16, device=device).learn(6 * ROLLOUT)
    return model.learn(2 * ROLLOUT, callback=callback)


def trained_planner(device):
    return tiny_tdmpc2(device=device, **PLANNED).learn(64)


def main(number, port, folder):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)
    own = folder / str(number)  # where nothing may appear unless the process is the first one
    model = trained_ppo("all", CheckpointCallback(2, own, "checkpoint"))
    model.save(own / "ppo")
    action = model.predict(np.zeros((COPIES, 4), np.float32), deterministic=True)[0]
    planned = trained_planner("all")
    planned.save(own / "planner")
    planned.save_replay_buffer(own / "replay.npz")
    planned.save_world_model(own / "world")
    refused = []
    for kwargs in ({"compiled": False}, {"seed": None}, {"device": 1}):
        try:
            tiny_ppo(**{"n_envs": COPIES, "batch_size": 16, "device": "all", **kwargs}).learn(1)
        except ValueError as error:
            refused.append(str(error))
    np.savez(
        folder / f"seen_{number}.npz",
        action=action,
        timesteps=[model.num_timesteps, planned.num_timesteps],
        returns=[info["r"] for info in model.ep_info_buffer],
        refused=refused,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
