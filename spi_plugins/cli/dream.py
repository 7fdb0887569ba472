"""``spi dream``: fit, register and check world models and their dreams."""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from spi_plugins import plugins
from spi_plugins.cli import dream_source
from spi_plugins.cli.arguments import CommandError, RunError, add_pairs, copies, parse_pairs, positive
from spi_plugins.cli.env_recipe import EnvRecipe
from spi_plugins.cli.requests import check_target, require_package
from spi_plugins.dreams.ids import (
    check_dream_name,
    dreams_file,
    forget_dream,
    locate_world_model,
    remember_dream,
    remembered_dreams,
)
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the subcommands of ``spi dream``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=type(parser))
    _configure_fit(actions.add_parser("fit", help="fit a world model to the steps of a policy"))
    _configure_eval(actions.add_parser("eval", help="compare a dream with the real environment"))
    register = actions.add_parser("register", help="store a dream under a Gymnasium id")
    register.add_argument("name", metavar="NAME", help="such as MyDream-v0")
    register.add_argument("model", metavar="PATH", type=pathlib.Path, help="file of a world model")
    add_pairs(register, "--options", help="arguments of the dream, such as horizon=30")
    register.set_defaults(action=_register)
    forget = actions.add_parser("forget", help="remove a stored dream")
    forget.add_argument("name", metavar="NAME")
    forget.set_defaults(action=_forget)
    actions.add_parser("list", help="list the stored dreams").set_defaults(action=_list)
    return run


def _configure_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=pathlib.Path, help="file to write")
    dream_source.add_options(parser)
    parser.add_argument(
        "--dataset",
        metavar="ID_OR_PATH",
        help="a local Minari dataset instead of an environment and a policy",
    )
    parser.add_argument(
        *("-n", "--n-steps"),
        type=positive,
        metavar="N",
        help="(default: 20000; of a dataset all)",
    )
    parser.add_argument("--n-updates", type=positive, default=5_000, metavar="N", help="(default: 5000)")
    parser.add_argument("--n-envs", type=copies, metavar="N", help="copies of the environment")
    parser.add_argument("--kind", default="ensemble", metavar="KIND", help="(default: ensemble)")
    parser.add_argument(
        "--transition-density",
        choices=("auto", "deterministic", "normal", "mixture", "categorical"),
        help="how an ensemble draws the next state (default: auto, categorical for discrete observations)",
    )
    add_pairs(parser, "-p", "--params", help="settings of the kind, Python literals")
    parser.add_argument("--progress", action="store_true", help="show a progress bar")
    parser.set_defaults(action=_fit)


def _configure_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="file of a world model, or a dream's name")
    dream_source.add_options(parser)
    parser.add_argument("--n-episodes", type=positive, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--horizon", type=positive, default=15, metavar="K", help="steps ahead (default: 15)")
    parser.add_argument("--png", type=pathlib.Path, metavar="PATH", help="also draw the report")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(action=_eval)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action.

    Raises:
        CommandError: an argument is wrong.
    """
    try:
        return int(args.action(args))
    except SPIError:
        raise
    except (ValueError, TypeError, OSError, KeyError, gymnasium.error.Error) as error:
        raise CommandError(str(error.args[0]) if isinstance(error, KeyError) else str(error)) from error
    except Exception as error:  # environments raise all kinds
        raise RunError(f"'spi dream' failed: {describe(error)}") from error


def _fit(args: argparse.Namespace) -> int:
    source = _check_source(args)
    plugins.registry("world_models").get(args.kind)
    settings = parse_pairs("--params", args.params)
    if args.transition_density is not None:
        settings["transition_density"] = args.transition_density
    check_target("PATH", args.path)
    if args.progress:
        require_package("rich", "Progress bars")

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.algorithms.fit_world_model import fit_world_model

    policy = None if source is None else dream_source.load_policy(source)
    env = None if source is None else _env_to_step(args, source.recipe)
    with announcing_compilation():
        stored = fit_world_model(
            env,
            policy,
            dataset=args.dataset,
            n_steps=args.n_steps,
            kind=args.kind,
            n_updates=args.n_updates,
            n_envs=args.n_envs,
            seed=args.seed,
            progress_bar=args.progress,
            **settings,
        )
    if source is not None and source.policy is not None:
        stored.report["policy"] = source.policy[0]  # under whatever it is wrapped in
    stored.save(args.path)
    sys.stdout.write(_told(args.path, stored.report))
    return 0


def _env_to_step(args: argparse.Namespace, recipe: EnvRecipe) -> Any:
    """What ``fit_world_model`` steps: the id, of which it makes copies, or the copies if the id does not say it all."""
    dream_source.make_env(recipe).close()  # reports what is wrong with it
    if not (recipe.env_kwargs or recipe.wrappers):
        return recipe.env
    from spi_plugins.cli.environments import build_env

    return build_env(recipe, n_envs=args.n_envs or 1, seed=args.seed)


def _check_source(args: argparse.Namespace) -> dream_source.Source | None:
    """Where the steps come from; ``None`` for a dataset."""
    if args.dataset is None:
        return dream_source.read(args, otherwise=" or --dataset")
    given = {
        "--env": args.env,
        "--env-kwargs": args.env_kwargs,
        "--policy": args.policy,
        "--n-envs": args.n_envs,
    }
    for option, value in given.items():
        if value is not None:
            raise CommandError(f"{option} contradicts --dataset, whose steps have been taken already.")
    require_package("minari", "Datasets", "minari")
    return None


def _told(path: pathlib.Path, report: Mapping[str, Any]) -> str:
    from spi_plugins.fitting import randomness
    from spi_plugins.fitting.open_loop import in_words

    if "dataset" in report:
        actions = f"the Minari dataset {report['dataset']}"
    else:
        actions = "uniform actions" if report["policy"] == "uniform" else f"{report['policy']}'s actions"
    episodes, mean = report["n_episodes"], report["mean_return"]
    played = f"{episodes:,} episodes" + ("" if mean is None else f" with a mean return of {mean:.4g}")
    losses = ", ".join(f"{name.removesuffix('_loss')} {loss:.3g}" for name, loss in report["losses"].items())
    lines = [
        f"Wrote {path}, fitted to {report['n_steps']:,} steps of {actions}, {played}.",
        f"Last losses: {losses}.",
    ]
    if report["held_out"] is not None:
        lines.append(f"On steps that were held out: {in_words(report['held_out'])}")
    if report["randomness"] is not None and (words := randomness.in_words(report["randomness"])):
        lines.append(words)
    return "".join(f"{line}\n" for line in lines)


def _eval(args: argparse.Namespace) -> int:
    source = dream_source.read(args)
    locate_world_model(args.model)
    if args.png is not None:
        check_target("--png", args.png)
    from spi_plugins.algorithms.compile_cache import keep_compiled_programs
    from spi_plugins.algorithms.compile_notice import announcing_compilation

    env, policy = dream_source.make_env(source.recipe), dream_source.load_policy(source)
    # By name, because wrappers stand above the core.
    check = importlib.import_module("spi_wrappers").DreamCheck(env, args.model, policy, horizon=args.horizon)
    keep_compiled_programs()
    with announcing_compilation():
        report = check.run(args.n_episodes, args.seed)
    env.close()
    if args.png is not None:
        report.save_png(args.png)
    sys.stdout.write((report.json() if args.json else report.text()) + "\n")
    return 0


def _register(args: argparse.Namespace) -> int:
    options = parse_pairs("--options", args.options)
    check_dream_name(args.name)
    locate_world_model(args.model)

    from spi_plugins.dreams.opening import open_dream

    open_dream(args.model, **options)  # reports wrong options now rather than in the first make
    remember_dream(args.name, args.model, **options)
    sys.stdout.write(f"{args.name} is stored in {dreams_file()}; import spi_plugins registers it.\n")
    return 0


def _forget(args: argparse.Namespace) -> int:
    forget_dream(args.name)
    sys.stdout.write(f"{args.name} is removed.\n")
    return 0


def _list(args: argparse.Namespace) -> int:
    del args
    for name, entry in sorted(remembered_dreams().items()):
        options = " ".join(f"{key}={value!r}" for key, value in entry.items() if key != "model")
        sys.stdout.write(f"{name}  {entry['model']}  {options}".rstrip() + "\n")
    return 0
