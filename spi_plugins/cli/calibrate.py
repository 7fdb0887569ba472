"""``spi calibrate``: whether the world model of a run knows the costs of what the agent does."""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from spi_plugins.archive import write_atomically
from spi_plugins.cli import played
from spi_plugins.cli.arguments import CommandError, positive, to_json
from spi_plugins.errors import MissingDependencyError

_COLUMNS = (
    ("cost", "cost of a step"),
    ("predicted", "predicted"),
    ("return_cost", "discounted sum that came"),
    ("cost_value", "critic Q_c"),
)


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi calibrate``."""
    parser.add_argument(
        "model", metavar="MODEL_ZIP_OR_RUN", type=pathlib.Path, help="a run's folder or a model file of SPOWL"
    )
    parser.add_argument(
        "--n-steps", type=positive, default=20_000, metavar="N", help="steps to take (default: 20000)"
    )
    parser.add_argument(
        "--depth",
        type=positive,
        default=10,
        metavar="N",
        help="costs in a row that make a step deep inside a hazard (default: 10)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=pathlib.Path,
        metavar="PNG",
        help="picture (default: calibration.png in the run)",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    played.add_manner(parser)
    parser.set_defaults(n_episodes=8)  # copies of the environment are made for as many
    return run


def run(args: argparse.Namespace) -> int:
    """Let the agent act, compare expected costs with those that came, print a table and draw it.

    Raises:
        CommandError: there is no such model, or it knows no costs, or the environment reports none.
    """
    algorithm, path, folder, task, trusted = played.read(args)
    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.algorithms.cost_calibration import calibrate_costs
    from spi_plugins.algorithms.planning import PlanningAlgorithm
    from spi_plugins.cli.evaluation import load_model, open_env_of

    with announcing_compilation():
        model = load_model(algorithm, path, trusted=trusted)
        if not isinstance(model, PlanningAlgorithm):
            raise CommandError(
                f"spi calibrate measures the costs of spowl's world model, not of {algorithm}."
            )
        env = open_env_of(model, path, task)
        try:
            found = calibrate_costs(
                model,
                env,
                args.n_steps,
                deterministic=task.deterministic is not False,
                seed=task.seed,
                depth=args.depth,
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        finally:
            env.close()
    groups = {name: each._asdict() for name, each in found.groups.items()}
    told = _plain({**found._asdict(), "groups": groups})
    text = to_json({"model": str(path), **told})
    if folder is not None:
        write_atomically(folder.calibration, f"{text}\n".encode())
    picture = args.output or (None if folder is None else folder.calibration.with_suffix(".png"))
    sys.stdout.write(text + "\n" if args.json else _table(path, told))
    if picture is not None:
        draw_calibration(told, picture)
    return 0


def _plain(value: Any) -> Any:
    """Estimates as value, low and high; what is not a number as ``None``, as JSON has it."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(float(each)) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(path: pathlib.Path, told: dict[str, Any]) -> str:
    lines = [f"Costs in {path}, means with 95 % intervals over episodes:", ""]
    lines.append(f"  {'':<12}{'steps':>8}" + "".join(f"{title:>28}" for _, title in _COLUMNS))
    for name, group in told["groups"].items():
        cells = "".join(f"{_cell(group[column]):>28}" for column, _ in _COLUMNS)
        lines.append(f"  {name:<12}{group['n_steps']:>8}{cells}")
    lines += ["", f"  Costly steps that were predicted: {_cell(told['recall'])}"]
    lines += [f"  Free steps that were taken for costly ones: {_cell(told['false_alarms'])}", ""]
    return "\n".join(lines)


def _cell(estimate: list[float | None]) -> str:
    value, low, high = estimate
    return "-" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def draw_calibration(told: dict[str, Any], path: pathlib.Path) -> None:
    """Draw expected costs next to those that came, by group.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError.named("matplotlib", "Pictures of calibration", "plot") from error
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for axes, columns, title in (
        (panels[0], _COLUMNS[:2], "cost of a step"),
        (panels[1], _COLUMNS[2:], "discounted cost from a step on"),
    ):
        for shift, (column, label) in zip((-0.2, 0.2), columns, strict=True):
            rows = [(i, g[column]) for i, g in enumerate(told["groups"].values()) if g[column][0] is not None]
            heights = [value for _, (value, _, _) in rows]
            below = [value - low for _, (value, low, _) in rows]
            above = [high - value for _, (value, _, high) in rows]
            axes.bar([i + shift for i, _ in rows], heights, 0.4, yerr=[below, above], capsize=3, label=label)
        axes.set(title=title, xticks=range(len(told["groups"])), xticklabels=list(told["groups"]))
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
