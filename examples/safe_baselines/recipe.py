"""What the recipes share: the command line, and the evaluation at the end."""

import argparse
from typing import Any

import gymnasium as gym

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import evaluate_policy_with_cost


def parser(doc: str | None, *, timesteps: int = 500_000, n_envs: int = 16) -> argparse.ArgumentParser:
    """The options of every recipe. ``doc`` is the script's docstring."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--env", default="spi/PointGoal-v0")
    options.add_argument("--cost-limit", type=float, default=5.0)
    options.add_argument("--timesteps", type=int, default=timesteps)
    options.add_argument("--n-envs", type=int, default=n_envs)
    options.add_argument("--episodes", type=int, default=64, help="episodes of the evaluation")
    return options


def make_env(args: argparse.Namespace) -> gym.vector.VectorEnv[Any, Any, Any]:
    """The environment without the recipe's wrapper: it reports costs and pays its own reward."""
    return gym.make_vec(args.env, num_envs=args.n_envs)


def evaluate(model: Any, args: argparse.Namespace, env: Any = None, **more: float) -> None:
    """Play whole episodes, in ``env`` or in the bare environment, and print what they earn and cost."""
    env = make_env(args) if env is None else env
    result = evaluate_policy_with_cost(model, env, args.episodes, deterministic=False)
    numbers = {"return": result.mean_return, "cost": result.mean_cost, **more}
    numbers["violations"] = result.violation_rate(args.cost_limit)
    print(", ".join(f"{name} {value:.2f}" for name, value in numbers.items()))
