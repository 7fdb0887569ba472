"""``spi train --seeds N``: the same run with several seeds, in one program or one after the other, in one folder."""

import argparse
import contextlib
import copy
import json
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from spi_plugins.algorithms.joint_training import memory_reason, separate_reason
from spi_plugins.cli.dispatch import INTERRUPTED
from spi_plugins.cli.preparation import Preparation, prepare
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.requests import DEFAULT_FOLDER
from spi_plugins.cli.run_folder import RunFolder, new_run_folder, steps_at
from spi_plugins.cli.seeds_folder import SeedsFolder
from spi_plugins.cli.training import (
    evaluate_run,
    program,
    train,
    train_prepared,
    train_together,
    words_of_trust,
)
from spi_plugins.statistics import estimate, mean

_RETURN = "rollout/ep_rew_mean"


def train_seeds(args: argparse.Namespace, stored: SeedsFolder | None) -> int:
    """Train the runs that have not finished, and print what all came to.

    Args:
        args: as for one run.
        stored: runs to go on with; ``None`` for new ones.

    Returns:
        0, or 130 if Ctrl-C ended one of them.
    """
    group = stored or _new(args)
    try:
        code, ready = (0, None) if stored is not None else _train_together(args, group)
        if code == INTERRUPTED:
            _say_how_to_go_on(group)
            return INTERRUPTED
        for number, seed in enumerate(group.seeds, 1):
            done = group.finished.get(seed)
            state = f"finished with {_words(done)}" if done else f"{number} of {len(group.seeds)}"
            _say(f"Seed {seed}: {state}.")
            if done is None and _train_one(args, group, seed, ready) == INTERRUPTED:
                _say_how_to_go_on(group)
                return INTERRUPTED
            ready = None
    except BaseException:
        _abandon_or_keep(group)
        raise
    _summarize(group)
    return 0


def _new(args: argparse.Namespace) -> SeedsFolder:
    first = args.seed or 0
    folder = new_run_folder(args.log_folder or DEFAULT_FOLDER, args.algo, args.env)
    return SeedsFolder(folder.path, tuple(range(first, first + args.seeds)))


def _of_seed(args: argparse.Namespace, group: SeedsFolder, seed: int) -> argparse.Namespace:
    own = copy.copy(args)
    own.seed, own.group, own.resume = seed, group, None
    return own


def _train_together(args: argparse.Namespace, group: SeedsFolder) -> tuple[int, Preparation | None]:
    """Train all runs in one program, if they are of a kind that can be.

    Returns:
        130 if Ctrl-C ended them, else 0; and the first run, if each has to be trained alone.
    """
    if args.profile or args.callback or args.seeds == 1:
        return 0, None
    own = [_of_seed(args, group, seed) for seed in group.seeds]
    first = prepare(own[0])
    if separate_reason([first.model]) is not None or not _pays(first.model):
        return 0, first
    too_large = memory_reason(first.model, len(own))
    if too_large is not None:
        _say(f"{too_large}: they are trained one after the other.")
        return 0, first
    codes = train_together([first, *map(prepare, own[1:])], own[0])
    return _close(group, max(codes), group.seeds), None


def _pays(model: BaseAlgorithm) -> bool:
    """Whether one program for all seeds is faster: not on a CPU."""
    device: Any = getattr(model, "jax_device", None)
    return device is not None and device.platform != "cpu"


def _close(group: SeedsFolder, code: int, seeds: Sequence[int]) -> int:
    """Write down what runs came to, if they were not interrupted."""
    if code == 0:
        for seed in seeds:
            group.finished[seed] = _result(group.run(seed))
        group.write()
    return code


def _train_one(args: argparse.Namespace, group: SeedsFolder, seed: int, ready: Preparation | None) -> int:
    """Start or continue one run, which may be ready, and write down what it came to."""
    folder, own = group.run(seed), _of_seed(args, group, seed)
    code = 0
    if ready is not None:
        code = train_prepared(ready, own)
    elif not (folder.model.is_file() or any(folder.checkpoints.glob("*.zip"))):
        code = train(own)
    elif steps_taken(folder) < folder.read_config().n_timesteps:
        own.resume, own.n_timesteps = folder.path, None
        code = train(own)
    elif folder.read_config().eval_episodes:  # it was stopped in its evaluation
        evaluate_run(folder, folder.read_config())
    return _close(group, code, [seed])


def steps_taken(folder: RunFolder) -> int:
    """Steps of the final model, read from its description without loading it."""
    return steps_at(folder.model) if folder.model.is_file() else 0


def _result(folder: RunFolder) -> dict[str, float]:
    """Means over the episodes of the evaluation, or of the last ones in training if there was none."""
    if folder.evaluation.is_file():
        stored: Mapping[str, object] = json.loads(folder.evaluation.read_text("utf-8"))
        kept = ("mean_return", "mean_cost")
        return {key: float(value) for key in kept if isinstance(value := stored.get(key), int | float)}
    returns = [float(row[_RETURN]) for row in read_progress(folder.progress) if _RETURN in row]
    return {"mean_return": returns[-1]} if returns else {}


def _summarize(group: SeedsFolder) -> None:
    found = {}
    for name in ("mean_return", "mean_cost"):
        values = [result[name] for result in group.finished.values() if name in result]
        if values:
            found[name] = [float(each) for each in estimate(mean, [np.array(values)])]
    group.write(
        summary={name: dict(zip(("mean", "low", "high"), each, strict=True)) for name, each in found.items()}
    )
    words = ", ".join(
        f"{name.removeprefix('mean_')} {value:.2f} [{low:.2f}, {high:.2f}]"
        for name, (value, low, high) in found.items()
    )
    if words:
        _say(f"{len(group.finished)} seeds: {words}, mean with its 95% bootstrap interval.")
    _say(f"The runs are in {group.path}")


def _words(result: Mapping[str, float]) -> str:
    return (
        ", ".join(f"{name.removeprefix('mean_')} {value:.2f}" for name, value in result.items())
        or "no episode"
    )


def _say_how_to_go_on(group: SeedsFolder) -> None:
    started = [run for seed in group.seeds if (run := group.run(seed)).config.is_file()]
    trust = words_of_trust(started[0].read_config()) if started else []
    _say(f"Go on with all seeds: {shlex.join([program(), 'train', '--resume', str(group.path), *trust])}")


def _abandon_or_keep(group: SeedsFolder) -> None:
    """Say how to go on with runs, or remove the folder that has none: a mistake leaves nothing behind."""
    if any(group.run(seed).path.exists() for seed in group.seeds):
        _say_how_to_go_on(group)
        return
    for folder in (group.path, group.path.parent, group.path.parent.parent):
        with contextlib.suppress(OSError):  # it has other runs
            (folder / "seeds.json").unlink(missing_ok=True)
            pathlib.Path(folder).rmdir()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
