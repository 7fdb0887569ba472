"""How fast dreams are, against a bare jitted call, Gymnasium's FunctionalJaxVectorEnv, the real environment and SB3.

python benchmarks/dream_speed.py

All contestants take turns on the same world model of CartPole; figures are medians of CPU time over rounds. Training
compares PPO compiled into the dream with Stable-Baselines3's, with the same batch, epochs and widths.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import torch
from gymnasium.envs.functional_jax_env import FunctionalJaxVectorEnv
from gymnasium.experimental.functional import FuncEnv
from stable_baselines3 import PPO

import spi_plugins
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.envs.base import FunctionalEnv
from spi_wrappers import DreamVectorEnv
from spi_wrappers.functional.compiled import compile_env

HORIZON = 50


class ArrayDream(FuncEnv[Any, Any, Any, Any, Any, Any, Any]):
    """The dream for Gymnasium's class, whose state must be a single array: latent, reward, end."""

    def __init__(self, dream: FunctionalEnv, env: DreamVectorEnv) -> None:
        super().__init__()
        self.dream = dream
        self.observation_space, self.action_space = env.single_observation_space, env.single_action_space

    def _pack(self, state: Any) -> jax.Array:
        return jnp.concatenate([state.z, jnp.stack([state.reward, state.terminated.astype(jnp.float32)])])

    def initial(self, rng: Any, params: Any = None) -> jax.Array:
        return self._pack(self.dream.initial(jax.random.wrap_key_data(rng), self.dream.params))

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> jax.Array:
        before = self.dream.initial(jax.random.wrap_key_data(rng), self.dream.params)._replace(z=state[:-2])
        key = jax.random.wrap_key_data(rng)
        return self._pack(self.dream.transition(before, action, key, self.dream.params))

    def observation(self, state: Any, rng: Any, params: Any = None) -> jax.Array:
        return state[:-2]

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> jax.Array:
        return next_state[-2]

    def terminal(self, state: Any, rng: Any, params: Any = None) -> jax.Array:
        return state[-1] > 0.5


def bare(dream: FunctionalEnv, num_envs: int) -> Callable[[np.ndarray], None]:
    """Only the jitted step; its results stay on the device."""
    calls = compile_env(dream._replace(params=()))
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), num_envs))
    state, _ = calls.begin(dream.params, keys)
    resetting, chosen = jnp.zeros(num_envs, bool), jnp.zeros(num_envs, jnp.int32)

    def step(action: np.ndarray) -> None:
        nonlocal state
        state, _, signals = calls.step_or_reset(dream.params, state, chosen, resetting)
        jax.block_until_ready(signals)

    return step


def contestants(world: StoredWorldModel, num_envs: int) -> dict[str, Callable[[np.ndarray], None]]:
    ours = DreamVectorEnv.from_model(num_envs, world, horizon=HORIZON)
    dream = ours.functional
    theirs = FunctionalJaxVectorEnv(ArrayDream(dream, ours), num_envs, max_episode_steps=HORIZON)
    real = gymnasium.make_vec("CartPole-v1", num_envs, vectorization_mode="sync")
    for env in (ours, theirs, real):
        env.reset(seed=0)
    return {
        "dream": lambda action: ours.step(action),
        "bare call": bare(dream, num_envs),
        "FunctionalJaxVectorEnv": lambda action: theirs.step(jnp.asarray(action)),
        "real CartPole": lambda action: real.step(action),
    }


def stepping(world: StoredWorldModel, num_envs: int, rounds: int) -> dict[str, float]:
    """CPU microseconds per step of all environments together."""
    rng, players = np.random.default_rng(0), contestants(world, num_envs)
    times: dict[str, list[float]] = {name: [] for name in players}
    for step in players.values():
        for _ in range(20):
            step(rng.integers(0, 2, num_envs))
    for _ in range(rounds):
        for name, step in players.items():
            count = 10 if name == "FunctionalJaxVectorEnv" else 100
            actions = rng.integers(0, 2, (count, num_envs))
            start = time.process_time()
            for action in actions:
                step(action)
            times[name].append(1e6 * (time.process_time() - start) / count)
    return {name: statistics.median(values) for name, values in times.items()}


class Training(NamedTuple):
    """Copies, steps per copy in a rollout, transitions in a minibatch, epochs."""

    num_envs: int
    n_steps: int
    batch_size: int
    n_epochs: int


TRAININGS = (Training(8, 256, 64, 10), Training(8, 128, 256, 4), Training(64, 128, 2048, 4))


def training(world: StoredWorldModel, setting: Training, rounds: int) -> dict[str, float]:
    """Environment steps per CPU second of PPO in the dream."""
    num_envs, n_steps, batch_size, n_epochs = setting
    shared = {
        "n_steps": n_steps,
        "batch_size": batch_size,
        "n_epochs": n_epochs,
        "seed": 0,
        "device": "cpu",
    }
    widths = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}
    ours = spi_plugins.PPO(
        "MlpPolicy",
        spi_plugins.open_dream(world, horizon=HORIZON),
        n_envs=num_envs,
        policy_kwargs=widths,
        **shared,
    )
    dream = as_vec_env(DreamVectorEnv.from_model(num_envs, world, horizon=HORIZON))
    theirs = PPO("MlpPolicy", dream, policy_kwargs=widths, **shared)
    chunk, rates = n_steps * num_envs, {"compiled PPO": [], "SB3 PPO": []}
    for model in (ours, theirs):
        model.learn(chunk)
    for _ in range(rounds):
        for name, model in (("compiled PPO", ours), ("SB3 PPO", theirs)):
            start = time.process_time()
            model.learn(4 * chunk, reset_num_timesteps=False)
            rates[name].append(4 * chunk / (time.process_time() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[8, 128, 1024])
    parser.add_argument("--members", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = spi_plugins.fit_world_model(
        "CartPole-v1", n_steps=4000, n_updates=300, n_envs=4, n_members=args.members
    )
    print("| copies | dream, us | bare call | FunctionalJaxVectorEnv | real | dream steps per CPU-s |")
    print("|---|---|---|---|---|---|")
    for num_envs in args.num_envs:
        us = stepping(world, num_envs, args.rounds)
        ratios = " | ".join(f"{us[name]:.0f} ({us[name] / us['dream']:.2f} x)" for name in list(us)[1:])
        print(
            f"| {num_envs} | {us['dream']:.0f} | {ratios} | {1e6 * num_envs / us['dream']:.0f} |", flush=True
        )
    print("\n| training: copies x steps, batch, epochs | compiled PPO, steps per CPU-s | SB3 PPO | ratio |")
    print("|---|---|---|---|")
    for setting in TRAININGS:
        rates = training(world, setting, args.rounds)
        ours, theirs = rates["compiled PPO"], rates["SB3 PPO"]
        name = f"{setting.num_envs} x {setting.n_steps}, {setting.batch_size}, {setting.n_epochs}"
        print(f"| {name} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
