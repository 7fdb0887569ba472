"""Writes the folders of runs that never ran, through the writers that ``spi train`` uses."""

import json

import numpy as np

from spi_plugins.cli.progress_file import ProgressFile
from spi_plugins.cli.run_folder import RunConfig, new_run_folder


def write_run(
    root,
    algorithm="ppo",
    env="CartPole-v1",
    seed=0,
    *,
    final=200.0,
    cost=None,
    cost_limit=None,
    steps=1000,
    taken=None,
    evaluated=True,
    **settings,
):
    """Write a run that climbs to ``final``, with ``cost`` per episode in the end; stopped at ``taken`` steps."""
    folder = new_run_folder(root, algorithm, env)
    values = {"policy": "MlpPolicy", "env_kwargs": {}, "n_envs": 4, "hyperparameters": {}, **settings}
    folder.write_config(RunConfig(algorithm=algorithm, env=env, seed=seed, n_timesteps=steps, **values))
    folder.append_command(["train", algorithm, "--env", env, "-n", str(steps), "--seed", str(seed)])
    log = ProgressFile(folder.progress, keep_until=0)
    rng = np.random.default_rng(seed)
    last = steps if taken is None else taken
    for step in np.linspace(last / 20, last, 20):
        done = step / steps
        row = {"rollout/ep_rew_mean": final * (done + 0.05 * rng.normal() * (1 - done))}
        if cost is not None:
            row |= {"rollout/ep_cost_mean": cost * (2 - done), "rollout/cost_rate": cost * (2 - done) / 100}
        log.write({**row, "time/total_timesteps": int(step)}, {})
    if evaluated and taken is None:
        result = {"mean_return": final, "mean_cost": cost, "cost_limit": cost_limit}
        folder.evaluation.write_text(json.dumps(result))
    return folder.path
