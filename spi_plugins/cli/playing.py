"""Plays a number of steps with a saved model, in a window if that is asked for."""

import sys
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.algorithms.action_masks import with_masks
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.evaluation import load_model, open_env_of
from spi_plugins.cli.played import Played
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


def play_steps(what: Played, n_steps: int, *, shown: bool) -> None:
    """Play, and print each episode and the mean of all.

    Raises:
        SPIError: the model or the environment cannot be used, or fails.
    """
    task, recipe = what.task._replace(n_envs=1), what.task.recipe
    if shown:
        task = task._replace(recipe=recipe._replace(env_kwargs={**recipe.env_kwargs, "render_mode": "human"}))
    model = load_model(what.algorithm, what.path, trusted=what.trusted)
    try:
        env = open_env_of(model, what.path, task)
    except SPIError as error:
        if not shown:
            raise
        raise CommandError(f"{error} Without a window: --no-render, or 'spi video' for a film.") from error
    sys.stdout.write(f"{what.path}, {model.num_timesteps:,} steps of training, on {recipe.env}\n")
    try:
        _play(model, env, n_steps, task.deterministic)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        hint = " Without a window: --no-render, or 'spi video' for a film." if shown else ""
        raise RunError(f"Playing {what.path} on {recipe.env!r} failed: {describe(error)}.{hint}") from error
    finally:
        env.close()


def _play(model: BaseAlgorithm, env: VecEnv, n_steps: int, deterministic: bool | None) -> None:
    if deterministic is None:
        deterministic = default_policy(env) != "CnnPolicy"
    observations: Any = env.reset()
    state, starts = None, np.ones(1, dtype=bool)
    actor = with_masks(model, env)
    totals, costs, cost, length = [], [], 0.0, 0
    total = 0.0
    for _ in range(n_steps):
        actions, state = actor.predict(
            observations, state=state, episode_start=starts, deterministic=deterministic
        )
        observations, rewards, starts, infos = env.step(actions)
        total, length, cost = total + float(rewards[0]), length + 1, cost + float(infos[0].get("cost", 0.0))
        if starts[0]:
            # The monitor knows the return before wrappers shaped it.
            total = float(infos[0].get("episode", {}).get("r", total))
            totals.append(total)
            costs.append(cost)
            words = f", cost {cost:.2f}" if "cost" in infos[0] else ""
            sys.stdout.write(f"Episode {len(totals)}: return {total:.2f}{words}, {length} steps\n")
            total, cost, length = 0.0, 0.0, 0
    if totals:
        sys.stdout.write(f"Mean of {len(totals)}: return {np.mean(totals):.2f} +- {np.std(totals):.2f}\n")
    else:
        sys.stdout.write(f"No episode ended in {n_steps} steps; return so far {total:.2f}\n")
