"""``spi dream``: fit, register and check world models that are dreamt of."""

import argparse
import importlib
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from spi_plugins.cli.arguments import CommandError, parse_pairs, positive, whole


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the subcommands of ``spi dream``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=type(parser))
    _configure_fit(actions.add_parser("fit", help="fit a world model to random or a policy's steps"))
    _configure_eval(actions.add_parser("eval", help="compare a dream with the real environment"))
    _configure_register(actions.add_parser("register", help="keep a dream under a Gymnasium id"))
    forget = actions.add_parser("forget", help="forget a dream that was kept")
    forget.add_argument("name", metavar="NAME")
    forget.set_defaults(action=_forget)
    actions.add_parser("list", help="list the dreams that are kept").set_defaults(action=_list)
    return run


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", required=True, metavar="ID", help="the real environment")
    parser.add_argument(
        "--env-kwargs", nargs="+", action="extend", metavar="KEY=VALUE", help="arguments of it"
    )
    parser.add_argument(
        "--policy", type=pathlib.Path, metavar="MODEL_ZIP_OR_RUN", help="who acts (default: uniform actions)"
    )
    parser.add_argument("--algo", metavar="ALGO", help="of a model file outside a run")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="(default: 0)")


def _configure_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=pathlib.Path, help="file to write")
    _add_policy(parser)
    parser.add_argument(
        "-n", "--n-steps", type=positive, default=20_000, metavar="N", help="(default: 20000)"
    )
    parser.add_argument("--n-updates", type=positive, default=5_000, metavar="N", help="(default: 5000)")
    parser.add_argument("--n-envs", type=positive, metavar="N", help="copies of the environment")
    parser.add_argument("--kind", default="ensemble", metavar="KIND", help="(default: ensemble)")
    parser.add_argument("-p", "--params", nargs="+", action="extend", metavar="KEY=VALUE", help="of the kind")
    parser.add_argument("--progress", action="store_true", help="show a progress bar")
    parser.set_defaults(action=_fit)


def _configure_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a world model's file, or a dream's name")
    _add_policy(parser)
    parser.add_argument("--n-episodes", type=positive, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--horizon", type=positive, default=15, metavar="K", help="steps ahead (default: 15)")
    parser.add_argument("--png", type=pathlib.Path, metavar="PATH", help="draw it, too")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(action=_eval)


def _configure_register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="such as MyDream-v0")
    parser.add_argument("model", metavar="PATH", type=pathlib.Path, help="a world model's file")
    parser.add_argument(
        "--options", nargs="+", action="extend", metavar="KEY=VALUE", help="of the dream, such as horizon=30"
    )
    parser.set_defaults(action=_register)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action.

    Raises:
        CommandError: an argument is wrong.
    """
    try:
        return int(args.action(args))
    except (ValueError, TypeError, FileNotFoundError, KeyError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise CommandError(text) from error


def _make_env(args: argparse.Namespace) -> Any:
    import gymnasium

    _wrappers()
    try:
        return gymnasium.make(args.env, **parse_pairs("--env-kwargs", args.env_kwargs or ()))
    except gymnasium.error.Error as error:
        raise CommandError(f"--env {args.env}: {error}") from error


def _wrappers() -> Any:
    """By name, since wrappers stand above the core; importing them registers all ids."""
    return importlib.import_module("spi_wrappers")


def _policy(args: argparse.Namespace) -> Any:
    if args.policy is None:
        return None
    from spi_plugins.cli.evaluation import load_model
    from spi_plugins.cli.run_folder import locate_model

    path, folder = locate_model(args.policy)
    algorithm = args.algo or (folder and folder.read_config().algorithm)
    if not algorithm:
        raise CommandError(f"{path} belongs to no run: name its algorithm with --algo.")
    return load_model(algorithm, path)


def _fit(args: argparse.Namespace) -> int:
    from spi_plugins.algorithms.fit_world_model import fit_world_model
    from spi_plugins.cli.compile_cache import keep_compiled_programs

    keep_compiled_programs()
    env: Any = args.env if not args.env_kwargs else _make_env(args)
    if isinstance(env, str):
        _make_env(args).close()  # an unknown id is an error here, not inside
    stored = fit_world_model(
        env,
        _policy(args),
        n_steps=args.n_steps,
        kind=args.kind,
        n_updates=args.n_updates,
        n_envs=args.n_envs,
        seed=args.seed,
        progress_bar=args.progress,
        **parse_pairs("--params", args.params or ()),
    )
    stored.save(args.path)
    sys.stdout.write(f"Wrote {args.path}. {json.dumps(stored.report['losses'])}\n")
    return 0


def _eval(args: argparse.Namespace) -> int:
    env = _make_env(args)
    report = (
        _wrappers()
        .DreamCheck(env, args.model, _policy(args), horizon=args.horizon)
        .run(args.n_episodes, args.seed)
    )
    env.close()
    if args.png is not None:
        report.save_png(args.png)
    sys.stdout.write((report.json() if args.json else report.text()) + "\n")
    return 0


def _register(args: argparse.Namespace) -> int:
    import spi_plugins  # noqa: F401 - registers the kept ones first
    from spi_plugins.dreams.ids import dreams_file, remember_dream
    from spi_plugins.dreams.opening import open_dream

    options = parse_pairs("--options", args.options or ())
    open_dream(args.model, **options)  # wrong options are told now, not by the first make
    remember_dream(args.name, args.model, **options)
    sys.stdout.write(f"{args.name} is kept in {dreams_file()}; import spi_plugins registers it.\n")
    return 0


def _forget(args: argparse.Namespace) -> int:
    from spi_plugins.dreams.ids import forget_dream

    forget_dream(args.name)
    sys.stdout.write(f"{args.name} is forgotten.\n")
    return 0


def _list(args: argparse.Namespace) -> int:
    del args
    from spi_plugins.dreams.ids import remembered_dreams

    for name, entry in sorted(remembered_dreams().items()):
        options = " ".join(f"{key}={value!r}" for key, value in entry.items() if key != "model")
        sys.stdout.write(f"{name}  {entry['model']}  {options}".rstrip() + "\n")
    return 0
