"""What the examples share: the command line, a world model fitted to random play, and the return in reality."""

import argparse
from typing import Any

import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import spi_plugins
from spi_wrappers import LatentObservation


def parser(doc: str | None, **defaults: str | int) -> argparse.ArgumentParser:
    """An option for each keyword, with its default. ``doc`` is the script's docstring."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"env": "CartPole-v1", **defaults}.items():
        options.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    return options


def fit(args: argparse.Namespace) -> Any:
    """A world model of ``args.env``, fitted to uniformly random actions."""
    return spi_plugins.fit_world_model(args.env, n_steps=args.real_steps, n_updates=args.updates, n_envs=4)


def evaluate(agent: Any, world: Any, args: argparse.Namespace) -> None:
    """Play in the real environment, observed as the dream was, and print the mean return."""
    real = Monitor(LatentObservation(gym.make(args.env), world))
    mean, deviation = evaluate_policy(agent, real, n_eval_episodes=args.episodes)
    print(f"mean return: data {world.report['mean_return']:.1f}, agent {mean:.1f} +- {deviation:.1f}")
