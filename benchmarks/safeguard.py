"""A good policy under a learning rate that is far too large, with ``SafeguardCallback`` and without.

python benchmarks/safeguard.py
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np

from spi_integrations.stable_baselines3 import SafeguardCallback, evaluate_policy
from spi_plugins import PPO
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.point_goal import make_point_goal

ENV = make_point_goal(max_episode_steps=50)  # a continuous task; returns of a good policy vary by 0.4
GOOD_STEPS, STEPS, TOO_LARGE, TOLERANCE = 80_000, 40_000, 0.1, 0.25
EPISODES = 400  # of the evaluations that judge
SETTINGS = {
    "n_envs": 32,
    "n_steps": 64,
    "batch_size": 512,
    "n_epochs": 5,
    "gamma": 0.95,
    "learning_rate": 1e-3,
}


def mean_return(model: PPO, seed: int) -> float:
    env = FunctionalVecEnv(ENV, 50, seed=10_000 + seed)
    returns, _ = evaluate_policy(model, env, EPISODES, return_episode_rewards=True)
    return float(np.mean(returns))


def run(good: pathlib.Path, seed: int, *, guarded: bool) -> tuple[float, int]:
    """The mean return at the end, and how often the model was rolled back."""
    model = PPO.load(good, env=ENV, learning_rate=TOO_LARGE)
    model.set_random_seed(seed)
    guard = None
    if guarded:
        guard = SafeguardCallback(
            FunctionalVecEnv(ENV, 50, seed=20_000 + seed),
            TOLERANCE,
            check_freq=10_000,
            n_eval_episodes=50,
            max_eval_episodes=200,
        )
    model.learn(STEPS, callback=guard)
    return mean_return(model, seed), len(guard.rollbacks) if guard else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(20)))
    args = parser.parse_args()
    write = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        good = pathlib.Path(folder) / "good.zip"
        model = PPO("MlpPolicy", ENV, seed=0, **SETTINGS)
        model.learn(GOOD_STEPS)
        model.save(good)
        start = mean_return(model, 0)
        write(
            f"start {start:.3f}, tolerance {TOLERANCE}\n| seed | alone | guarded | rollbacks |\n|---|---|---|---|\n"
        )
        ends = []
        for seed in args.seeds:
            (alone, _), (guarded, rollbacks) = (run(good, seed, guarded=guarded) for guarded in (False, True))
            ends.append((alone, guarded))
            write(f"| {seed} | {alone:.3f} | {guarded:.3f} | {rollbacks} |\n")
            sys.stdout.flush()
    below = (np.array(ends) < start - TOLERANCE).sum(axis=0)
    write(f"more than the tolerance below the start: alone {below[0]}, guarded {below[1]} of {len(ends)}\n")


if __name__ == "__main__":
    main()
