"""Certificates of every update on the confounding grid, judged by exact values: strict neighborhood against clip.

python benchmarks/certified_updates.py
"""

import argparse
import sys
from typing import Any, NamedTuple

import numpy as np
from grid_updates import N_ENVS, N_STEPS, Setting, train

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.certificates import finite, tabular
from spi_plugins.certificates.enumerated import NetworkTables, read_model
from spi_plugins.certificates.finite import Abstraction, FiniteMDP
from spi_plugins.certificates.tabular import Pair
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_layout import grid_layout
from spi_plugins.networks.actor_critic import ActorCriticConfig

N_PATH, GAMMA = 3, 0.8  # 1/gamma = 1.25 leaves room
N_UPDATES = 60
SEEDS = list(range(10))
NETWORKS = ActorCriticConfig(encoder="mlp", pi=(64, 64), vf=(64, 64))


class Judged(NamedTuple):
    """Updates and what was certified, ``[seeds, updates]``."""

    change: np.ndarray  # of the exact value of the start
    ratio: np.ndarray  # largest
    theorem: np.ndarray  # lower bound of the change; -inf where it is void
    ours: np.ndarray
    spread: float  # best value minus worst


def problem() -> tuple[Any, FiniteMDP]:
    """The environment, and its tables with episodes that end."""
    env = make_confounding_grid(N_PATH, gamma=GAMMA, size=None)
    assert env.tables is not None
    tables = env.tables(env.params)
    mdp = FiniteMDP(tables.transition, tables.reward, tables.start, GAMMA)
    return env, finite.without_terminal(mdp, tables.terminal)


def learned(found: NetworkTables) -> Abstraction:
    """The agent's latent model after each update."""
    after = NetworkTables(*(None if x is None else x[:, 1:] for x in found))
    return read_model(after, grid_layout(N_PATH).terminal)


def counted(mdp: FiniteMDP, found: NetworkTables, rng: np.random.Generator) -> Abstraction:
    """Instead of it, frequencies and mean rewards of all steps so far: as many steps of each policy as a rollout has.

    What was never tried ends the episode and pays nothing.
    """
    policies = found.policy[:, :-1]
    n_seeds, n_updates, n_states, n_actions = policies.shape
    chances = finite.with_end(mdp.transition)
    counts = np.zeros((n_seeds, n_updates, n_states, n_actions, n_states + 1))
    start, seeds = int(mdp.start.argmax()), np.repeat(np.arange(n_seeds), N_ENVS)
    state = np.full(len(seeds), start)
    for update in range(n_updates):
        for _ in range(N_STEPS):
            action = draw(policies[seeds, update, state], rng)
            after = draw(chances[state, action], rng)
            np.add.at(counts, (seeds, update, state, action, after), 1.0)
            state = np.where(after == n_states, start, after)
    total = counts.cumsum(axis=1)
    tried = total.sum(axis=-1)
    transition = total[..., :n_states] / np.maximum(tried, 1.0)[..., None]
    reward = np.where(tried > 0, mdp.reward, 0.0)  # rewards are not random
    return Abstraction(np.broadcast_to(np.arange(n_states), tried.shape[:-1]), transition, reward)


def draw(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One outcome of each row."""
    above: np.ndarray = rng.random((len(chances), 1)) > chances.cumsum(axis=-1)
    return np.minimum(above.sum(axis=-1), chances.shape[-1] - 1)


def judge(mdp: FiniteMDP, found: NetworkTables, model: Abstraction) -> Judged:
    """Certify each update, from the policies before and after and a model of what happens."""
    old, new = found.policy[:, :-1], found.policy[:, 1:]
    everywhere = FiniteMDP(*(np.broadcast_to(x, (*old.shape[:2], *x.shape)) for x in mdp[:3]), GAMMA)
    arguments = everywhere, model, Pair(old, new)
    bounds = tabular.improvement(*arguments)
    values = finite.value(everywhere, old), finite.value(everywhere, new)
    return Judged(
        values[1] - values[0],
        tabular.ratios(old, new).largest,
        bounds.theorem,
        bounds.visits,
        tabular.value_range(mdp),
    )


def setting(neighborhood: str, rate: float, clip: float) -> Setting:
    config = DeepSPIConfig(
        gamma=GAMMA,
        neighborhood=neighborhood,  # type: ignore[arg-type]
        C="1/gamma" if neighborhood == "strict" else None,
        reward_loss_coef=1.0,
        transition_loss_coef=0.1,
    )
    return Setting(config, networks=NETWORKS, rate=rate, clip=clip)


def row(name: str, judged: Judged) -> str:
    """A line of the table."""
    exists = np.isfinite(judged.theorem)
    wrong = (judged.change < judged.theorem - 1e-9) | (judged.change < judged.ours - 1e-9)
    loss = np.median((judged.change - judged.theorem)[exists]) / judged.spread if exists.any() else np.nan
    ours = np.isfinite(judged.ours)
    our_loss = np.median((judged.change - judged.ours)[ours]) / judged.spread if ours.any() else np.nan
    return (
        f"| {name} | {100 * exists.mean():.0f} % | {100 * ours.mean():.0f} % | {wrong.sum()} of {wrong.size} | "
        f"{judged.ratio.max():.3g} | {100 * (judged.change < -1e-9).mean():.0f} % | "
        f"{100 * (judged.theorem > 0).mean():.0f} %, {100 * (judged.ours > 0).mean():.0f} % | "
        f"{loss:.3g}, {our_loss:.3g} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--updates", type=int, default=N_UPDATES)
    args = parser.parse_args()
    env, mdp = problem()
    write = sys.stdout.write
    write(
        "| neighborhood | theorem holds | ours holds | violated | largest ratio | updates that lower the value | "
        "certified as improvements (theorem, ours) | median loss over the range of values |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    for rate in (3e-4, 3e-3):
        for neighborhood in ("strict", "clip"):
            found = train(env, setting(neighborhood, rate, 0.2), args.seeds, args.updates)
            models = {"learned": learned(found), "counted": counted(mdp, found, np.random.default_rng(0))}
            for kind, model in models.items():
                write(row(f"{neighborhood}, learning rate {rate:g}, {kind}", judge(mdp, found, model)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
