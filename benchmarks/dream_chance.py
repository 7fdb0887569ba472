"""Stable-Baselines3's PPO trained only in dreams of worlds with chance, against the exact optimum of the real ones.

python benchmarks/dream_chance.py cliff grid --out docs/results

Each seed fits a world model to 20 thousand real steps of uniform actions and trains SB3's PPO in its dream. Its
deterministic policy is then evaluated in the real world's table, without sampling: the expected undiscounted return of
an episode that no time limit cuts, minus infinity if it may never end. The optimum is that of value iteration. Returns
may be negative, so the score is the share of the way from uniform actions to the optimum.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from learning import command_line, store, sweep
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import spi_plugins
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.certificates.finite import FiniteMDP, Policy, averaged, values
from spi_wrappers import DreamVectorEnv
from spi_wrappers.dream.observation import View

N_STEPS = 20_000
N_DREAMS = 32
DREAM_STEPS = 100_000
BOUND = 0.8
FIT: dict[str, Any] = {"n_updates": 4_000, "learning_rate": 3e-3, "hidden": (128,), "n_members": 3}
PPO_SETTINGS: dict[str, Any] = {
    "n_steps": 64, "batch_size": 256, "n_epochs": 8, "gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.01,
    "learning_rate": 1e-3, "device": "cpu",
}  # fmt: skip
UP, RIGHT, DOWN, LEFT = (-1, 0), (0, 1), (1, 0), (0, -1)
MOVES = (UP, RIGHT, DOWN, LEFT)


class RandomGrid(gymnasium.Env[NDArray[np.int64], int]):
    """A grid of random walls and traps, whose actions slip to either side with probability 0.2 each.

    A step costs 0.1, a trap 5 and throws back to the start, the goal pays 10 and ends the episode. The observation is
    (row, column), two variables whose next values depend on one another: a slip changes the one or the other.
    """

    def __init__(self, seed: int = 8, size: int = 6, slip: float = 0.2) -> None:
        rng = np.random.default_rng(seed)
        kinds = rng.choice(3, (size, size), p=[0.7, 0.15, 0.15])  # free, wall, trap
        kinds[0, 0] = kinds[-1, -1] = 0
        self.kinds, self.size, self.slip = kinds, size, slip
        self.observation_space = spaces.MultiDiscrete([size, size])
        self.action_space = spaces.Discrete(4)
        self._cell = (0, 0)

    def outcomes(
        self, cell: tuple[int, int], action: int
    ) -> list[tuple[float, tuple[int, int], float, bool]]:
        """Probability, next cell, reward and whether the episode ends, of each outcome."""
        turns = ((0, 1.0 - 2.0 * self.slip), (1, self.slip), (3, self.slip))
        return [(p, *self._moved(cell, MOVES[(action + turn) % 4])) for turn, p in turns]

    def _moved(self, cell: tuple[int, int], move: tuple[int, int]) -> tuple[tuple[int, int], float, bool]:
        row, column = (min(max(x + d, 0), self.size - 1) for x, d in zip(cell, move, strict=True))
        kind = self.kinds[row, column]
        if kind == 2:
            return (0, 0), -5.0, False
        reached = cell if kind == 1 else (row, column)
        at_goal = reached == (self.size - 1, self.size - 1)
        return reached, 10.0 if at_goal else -0.1, at_goal

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        super().reset(seed=seed)
        self._cell = (0, 0)
        return np.array(self._cell), {}

    def step(self, action: int) -> tuple[NDArray[np.int64], float, bool, bool, dict[str, Any]]:
        outcomes = self.outcomes(self._cell, int(action))
        index = self.np_random.choice(len(outcomes), p=[p for p, *_ in outcomes])
        _, self._cell, reward, ended = outcomes[index]
        return np.array(self._cell), reward, ended, False, {}


class World(NamedTuple):
    """A real environment, its observations by the index of the state, and its exact table."""

    env: gymnasium.Env[Any, Any]
    observations: NDArray[np.int64]
    mdp: FiniteMDP  # undiscounted


def cliff() -> World:
    """Slippery cliff walking: the action or either side of it, each with probability 1/3."""
    env = gymnasium.make("CliffWalking-v1", is_slippery=True)
    table: Any = env.unwrapped
    outcomes = [[table.P[s][a] for a in range(4)] for s in range(48)]
    return World(env, np.arange(48), _mdp(outcomes, start=36))


def grid() -> World:
    env = RandomGrid()
    cells = [(row, column) for row in range(env.size) for column in range(env.size)]
    outcomes = [
        [[(p, cells.index(to), r, end) for p, to, r, end in env.outcomes(cell, a)] for a in range(4)]
        for cell in cells
    ]
    return World(env, np.array(cells), _mdp(outcomes, start=0))


def _mdp(outcomes: list[list[list[tuple[float, int, float, bool]]]], start: int) -> FiniteMDP:
    n = len(outcomes)
    transition, reward = np.zeros((n, 4, n)), np.zeros((n, 4))
    for state, by_action in enumerate(outcomes):
        for action, cases in enumerate(by_action):
            for probability, to, gain, end in cases:
                reward[state, action] += probability * gain
                transition[state, action, to] += probability * (not end)
    return FiniteMDP(transition, reward, np.eye(n)[start], 1.0)


def expected_return(mdp: FiniteMDP, policy: Policy) -> float:
    """Undiscounted return of an episode; minus infinity if it may never end."""
    chain = averaged(mdp.transition, policy)
    reached = mdp.start > 0
    for _ in chain:
        reached = reached | (reached @ chain > 0)
    inside = np.ix_(reached, np.arange(chain.shape[0])[reached])
    if np.abs(np.linalg.eigvals(chain[inside])).max() > 1.0 - 1e-9:
        return -np.inf
    kept = FiniteMDP(
        mdp.transition[reached][:, :, reached], mdp.reward[reached], mdp.start[reached], gamma=1.0
    )
    return float(kept.start @ values(kept, policy[reached]))


def optimal_return(mdp: FiniteMDP) -> float:
    """By value iteration."""
    value = np.zeros(len(mdp.start))
    for _ in range(100_000):
        improved = (mdp.reward + mdp.transition @ value).max(axis=1)
        if np.abs(improved - value).max() < 1e-10:
            break
        value = improved
    return float(mdp.start @ value)


TASKS: dict[str, Callable[[], World]] = {"cliff": cliff, "grid": grid}


class Outcome(NamedTuple):
    """Exact returns in the real world, and the score, 1 for the optimum."""

    task: str
    seed: int
    density: str
    uniform: float
    optimum: float
    learned: float
    score: float
    cpu_seconds: float
    curve: list[tuple[int, float]]  # dream steps and exact real return, where it is finite


def run(name: str, seed: int, density: str = "auto", dream_steps: int = DREAM_STEPS) -> Outcome:
    """One seed: real steps, fit, dream, reality."""
    torch.set_num_threads(1)
    cpu, world = time.process_time(), TASKS[name]()
    stored = spi_plugins.fit_world_model(
        world.env, n_steps=N_STEPS, seed=seed, transition_density=density, **FIT
    )
    dream = as_vec_env(DreamVectorEnv.from_model(N_DREAMS, stored, horizon=100, start="distinct"))
    agent = PPO("MlpPolicy", VecNormalize(dream, norm_obs=False), seed=seed, **PPO_SETTINGS)
    seen = View(stored, "latent", world.env.observation_space)(world.observations)
    curve = []
    for _ in range(10):
        agent.learn(dream_steps // 10, reset_num_timesteps=False)
        learned = np.eye(4)[agent.predict(seen, deterministic=True)[0]]
        reached = expected_return(world.mdp, learned)
        if np.isfinite(reached):
            curve.append((agent.num_timesteps, reached))
    uniform, optimum = expected_return(world.mdp, np.full_like(learned, 0.25)), optimal_return(world.mdp)
    score = reached / optimum if optimum > 0 else (reached - uniform) / (optimum - uniform)
    return Outcome(name, seed, density, uniform, optimum, reached, score, time.process_time() - cpu, curve)


def main() -> None:
    parser = command_line(__doc__, TASKS, "dream_chance.json")
    parser.add_argument(
        "--density", default="auto", help="transition_density of the world model (default: auto)"
    )
    args = parser.parse_args()
    print(
        "| task | seed | uniform | optimum | learned in dreams | score | CPU-s |\n|---|---|---|---|---|---|---|"
    )
    sweep(
        args.tasks,
        args.seeds,
        lambda name, seed: run(name, seed, args.density),
        lambda out: f"{out.uniform:.1f} | {out.optimum:.2f} | {out.learned:.2f} | {out.score:.4f}",
        lambda out: args.out and store([out], args.out / "dream_chance.json"),
    )


if __name__ == "__main__":
    main()
