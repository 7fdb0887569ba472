"""``spi certify``: what can be said of the step from one model to a later one."""

import argparse
import importlib
import itertools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from spi_plugins.archive import write_atomically
from spi_plugins.cli import played
from spi_plugins.cli.arguments import CommandError, positive, to_json
from spi_plugins.cli.env_recipe import EvaluationTask
from spi_plugins.cli.requests import check_model_file
from spi_plugins.cli.run_folder import RunFolder


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi certify``."""
    parser.add_argument(
        "model",
        metavar="MODEL_ZIP_OR_RUN",
        type=pathlib.Path,
        help="the later model: a run's folder or a file",
    )
    parser.add_argument(
        "--baseline",
        type=pathlib.Path,
        metavar="MODEL_ZIP",
        help="the earlier model, which plays (default: the run's newest checkpoint before the model)",
    )
    parser.add_argument(
        "--n-episodes",
        type=positive,
        default=100,
        metavar="N",
        help="episodes of the earlier model (default: 100)",
    )
    parser.add_argument(
        "--return-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="bounds of an episode's discounted return; without them nothing is a certificate",
    )
    parser.add_argument(
        "--error",
        type=float,
        default=0.05,
        metavar="P",
        help="probability that a bound fails (default: 0.05)",
    )
    played.add_place(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(best=False, deterministic=False)
    return run


def run(args: argparse.Namespace) -> int:
    """Play the earlier model, measure the later one on its episodes, and print what follows and what does not.

    Raises:
        CommandError: there is no such model, or no earlier one, or its algorithm has no update to measure.
    """
    if not 0 < args.error < 1:
        raise CommandError(f"--error must be above 0 and below 1, got {args.error:g}.")
    if args.return_range is not None and not args.return_range[0] < args.return_range[1]:
        raise CommandError("--return-range needs a LOW below its HIGH.")
    if args.n_episodes < 2:
        raise CommandError(f"--n-episodes must be at least 2, got {args.n_episodes}.")
    algorithm, path, folder, task, trusted = played.read(args)
    candidates = [args.baseline] if args.baseline else _earlier(path, folder)
    for each in candidates:
        check_model_file(algorithm, each)

    baseline, entries = _measure(algorithm, candidates, path, task, trusted, args)
    text = to_json({"model": str(path), "baseline": str(baseline), "entries": entries})
    if folder is not None:
        write_atomically(folder.certificate, f"{text}\n".encode())
    sys.stdout.write(text + "\n" if args.json else _table(path, baseline, entries))
    return 0


def _measure(
    algorithm: str,
    candidates: list[pathlib.Path],
    path: pathlib.Path,
    task: EvaluationTask,
    trusted: bool,
    args: argparse.Namespace,
) -> tuple[pathlib.Path, list[dict[str, Any]]]:
    """The earlier model that was chosen, and what was found."""
    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
    from spi_plugins.cli.evaluation import load_model, open_env_of

    reports = importlib.import_module("spi_integrations.stable_baselines3.update_report")
    with announcing_compilation():
        new = load_model(algorithm, path, trusted=trusted)
        if not isinstance(new, OnPolicyAlgorithm):
            raise CommandError(
                f"spi certify measures deep_spi, deep_mdp, ppo and dream_spi, not {algorithm}."
            )
        for baseline in candidates:
            old = load_model(algorithm, baseline, trusted=trusted)
            # The last checkpoint may be the model itself.
            if args.baseline or old.num_timesteps < new.num_timesteps:
                break
        else:
            raise _nothing_earlier(path)
        env = open_env_of(old, baseline, task)
        try:
            found = reports.report(
                new,
                reports.current_parameters(old),
                reports.current_parameters(new),
                env,
                n_episodes=args.n_episodes,
                seed=task.seed,
                return_range=None if args.return_range is None else tuple(args.return_range),
                error=args.error,
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        finally:
            env.close()
    return baseline, reports.told(found)


def _earlier(path: pathlib.Path, folder: RunFolder | None) -> list[pathlib.Path]:
    """The checkpoints that were written before a model, the newest first."""
    checkpoints = [] if folder is None else folder.checkpoints.glob("*.zip")
    written = path.stat().st_mtime_ns
    before = [each for each in checkpoints if each.stat().st_mtime_ns < written]
    if not before:
        raise _nothing_earlier(path)
    return sorted(before, key=lambda each: each.stat().st_mtime_ns, reverse=True)


def _nothing_earlier(path: pathlib.Path) -> CommandError:
    return CommandError(
        f"There is no checkpoint before {path}: name the earlier model with --baseline, or train with --save-freq N."
    )


def _table(path: pathlib.Path, baseline: pathlib.Path, entries: list[dict[str, Any]]) -> str:
    lines = [f"From {baseline} to {path}:", ""]
    for kind, heading in (
        ("certificate", "CERTIFICATES: hold with the stated confidence under their assumptions"),
        ("diagnostic", "DIAGNOSTICS: measured on samples, guarantee nothing"),
    ):
        chosen = [entry for entry in entries if entry["kind"] == kind]
        lines.append(heading if chosen else f"{heading.partition(':')[0]}: none")
        width = max((len(entry["title"]) for entry in chosen), default=0)
        for assumptions, group in itertools.groupby(chosen, lambda entry: entry.get("assumptions")):
            lines += [f"  if {', '.join(assumptions)}:"] if assumptions else []
            lines += [f"  {e['title']:<{width}}  {float(e['value']):>10.4g}  {_claim(e)}" for e in group]
        lines.append("")
    return "\n".join(lines)


def remark(entry: dict[str, Any]) -> str:
    """What a number's reader must know."""
    holds = entry["kind"] == "certificate" and not entry["void"]
    return f"{_claim(entry)}; if {', '.join(entry['assumptions'])}" if holds else _claim(entry)


def _claim(entry: dict[str, Any]) -> str:
    if entry["kind"] == "diagnostic":
        return str(entry["caveat"])
    if entry["void"]:
        return f"void: {entry['void']}"
    vacuous = " (vacuous)" if float(entry["vacuity"] or 0) >= 1 else ""
    return f"confidence {entry['confidence']:g}{vacuous}"
