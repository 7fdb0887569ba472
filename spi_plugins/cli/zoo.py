"""``spi zoo``: the scripts of rl_zoo3, with every registered algorithm under ``--algo``."""

import argparse
import importlib
import importlib.util
import pathlib
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.requests import require_package

# Those that take --algo; rl_zoo3's plots need nothing from us.
_SCRIPTS = ("train", "enjoy", "record_video", "push_to_hub", "load_from_hub")
# They take PPO's arguments, so PPO's configurations are a start where --conf-file names no other.
_LIKE_PPO = ("deep_spi", "deep_mdp")


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], None]:
    """Add the arguments of ``spi zoo``: a script, and the rest for rl_zoo3 to parse."""
    parser.add_argument("script", metavar="SCRIPT", help=", ".join(_SCRIPTS))
    parser.add_argument(
        "words", metavar="...", nargs=argparse.REMAINDER, help="its arguments; see 'spi zoo SCRIPT --help'"
    )
    return run


def run(args: argparse.Namespace) -> None:
    """Run a script of rl_zoo3. Names that both have, such as ``ppo``, mean ours.

    Raises:
        SPIError: rl_zoo3 is missing, or does not take the arguments.
    """
    script, words = args.script, list(args.words)
    if script not in _SCRIPTS:
        hint = plugins.did_you_mean(script, _SCRIPTS)
        raise CommandError(f"SCRIPT {script!r} is unknown.{hint} Allowed: {', '.join(_SCRIPTS)}.")
    require_package("rl_zoo3", "The scripts of rl_zoo3", "zoo")
    algorithm = None
    if not {"-h", "--help"}.intersection(words):
        algorithm, missing = _check_algorithm(script, words)
        words += missing
    _register(algorithm)
    _call(script, words)


def _check_algorithm(script: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """The algorithm that ``words`` ask for, and what they lack to train it; without importing rl_zoo3."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("-conf", "--conf-file")
    options, _ = parser.parse_known_args(words)
    spec = importlib.util.find_spec("rl_zoo3")
    assert spec is not None, spec
    assert spec.origin is not None, spec
    configurations = pathlib.Path(spec.origin).with_name("hyperparams")
    tuned = {path.stem for path in configurations.glob("*.yml")}
    known = tuned.union(plugins.registry("algorithms").names())
    if options.algo not in known:
        raise CommandError(plugins.unknown_name("algorithm", options.algo, known))
    if script != "train" or options.conf_file is not None or options.algo in tuned:
        return options.algo, []
    if options.algo in _LIKE_PPO:
        return options.algo, ["--conf-file", str(configurations / "ppo.yml")]
    raise CommandError(
        f"rl_zoo3 has no hyperparameters for --algo {options.algo}; name a file that has some with --conf-file."
    )


def _register(algorithm: str | None) -> None:
    """Add our names to rl_zoo3's, and import the one that is asked for."""
    algorithms = importlib.import_module("rl_zoo3").ALGOS
    ours = plugins.registry("algorithms").names()
    algorithms.update(dict.fromkeys(ours))  # the parsers take the names as choices
    if algorithm in ours:
        algorithms[algorithm] = plugins.resolve("algorithms", algorithm)
        if not hasattr(algorithms[algorithm], "load"):
            raise CommandError(f"--algo {algorithm} is a function, and rl_zoo3 needs a class with 'load'.")


def _call(script: str, words: Sequence[str]) -> None:
    """Run the script; errors that rl_zoo3 itself raises become one line, others keep their traceback."""
    before, sys.argv = sys.argv, [f"spi zoo {script}", *words]
    try:
        runpy.run_module(f"rl_zoo3.{script}", run_name="__main__")
    except (AssertionError, ValueError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if "rl_zoo3" not in pathlib.Path(raised_in).parts:
            raise
        raise RunError(f"rl_zoo3: {error}") from error
    finally:
        sys.argv = before
