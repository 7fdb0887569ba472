"""Certificates of every update on the confounding grid, judged by exact values: strict neighborhood against clip.

python benchmarks/certified_updates.py
"""

import argparse
import sys
from typing import Any, NamedTuple

import numpy as np
from grid_updates import Setting, train

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.certificates import finite, tabular
from spi_plugins.certificates.enumerated import NetworkTables, read_model
from spi_plugins.certificates.finite import FiniteMDP
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


def judge(mdp: FiniteMDP, found: NetworkTables) -> Judged:
    """Certify each update, from the policies before and after and the latent model after."""
    terminal = grid_layout(N_PATH).terminal
    old, new = found.policy[:, :-1], found.policy[:, 1:]
    after = NetworkTables(*(None if x is None else x[:, 1:] for x in found))
    everywhere = FiniteMDP(*(np.broadcast_to(x, (*old.shape[:2], *x.shape)) for x in mdp[:3]), GAMMA)
    arguments = everywhere, read_model(after, terminal), Pair(old, new)
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
            write(row(f"{neighborhood}, learning rate {rate:g}", judge(mdp, found)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
