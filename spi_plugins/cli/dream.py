"""``spi dream``: fit, register and check world models and their dreams."""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError, RunError, add_pairs, copies, parse_pairs, positive, seed
from spi_plugins.cli.env_names import check_gymnasium_id
from spi_plugins.cli.requests import check_policy, check_target, require_package
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


def _add_policy(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--env", required=required, metavar="ID", help="the real environment")
    add_pairs(parser, "--env-kwargs", help="arguments of the environment, Python literals")
    parser.add_argument(
        "--policy", type=pathlib.Path, metavar="MODEL_ZIP_OR_RUN", help="who acts (default: uniform actions)"
    )
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument("--trust-imports", action="store_true", help="load a policy's file that may run code")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="(default: 0)")


def _configure_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=pathlib.Path, help="file to write")
    _add_policy(parser, required=False)
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
    add_pairs(parser, "-p", "--params", help="settings of the kind, Python literals")
    parser.add_argument("--progress", action="store_true", help="show a progress bar")
    parser.set_defaults(action=_fit)


def _configure_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="file of a world model, or a dream's name")
    _add_policy(parser, required=True)
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


def _check_env(args: argparse.Namespace) -> None:
    _wrappers()
    check_gymnasium_id(args.env)
    parse_pairs("--env-kwargs", args.env_kwargs)


def _make_env(args: argparse.Namespace) -> Any:
    try:
        return gymnasium.make(args.env, **parse_pairs("--env-kwargs", args.env_kwargs))
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise CommandError(f"--env {args.env} cannot be made: {describe(error)}") from error


def _wrappers() -> Any:
    """By name, because wrappers stand above the core; importing them registers all ids."""
    return importlib.import_module("spi_wrappers")


def _policy(named: tuple[str, pathlib.Path] | None, trusted: bool) -> Any:
    if named is None:
        return None
    from spi_plugins.cli.evaluation import load_model

    return load_model(*named, trusted=trusted)


def _fit(args: argparse.Namespace) -> int:
    policy = _check_source(args)
    plugins.registry("world_models").get(args.kind)
    settings = parse_pairs("--params", args.params)
    check_target("PATH", args.path)
    if args.progress:
        require_package("rich", "Progress bars")

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.algorithms.fit_world_model import fit_world_model

    env: Any = None if args.env is None else _make_env(args)
    if env is not None and not args.env_kwargs:  # by its id, so that it can be copied; it exists
        env.close()
        env = args.env
    with announcing_compilation():
        stored = fit_world_model(
            env,
            _policy(policy, args.trust_imports),
            dataset=args.dataset,
            n_steps=args.n_steps,
            kind=args.kind,
            n_updates=args.n_updates,
            n_envs=args.n_envs,
            seed=args.seed,
            progress_bar=args.progress,
            **settings,
        )
    stored.save(args.path)
    sys.stdout.write(_told(args.path, stored.report))
    return 0


def _check_source(args: argparse.Namespace) -> tuple[str, pathlib.Path] | None:
    """Check where the steps come from; the policy's algorithm and file, if there is one."""
    if args.dataset is None:
        if args.env is None:
            raise CommandError("--env or --dataset is required (see 'spi dream fit --help').")
        _check_env(args)
        return check_policy(args.policy, args.algo)
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
    return "".join(f"{line}\n" for line in lines)


def _eval(args: argparse.Namespace) -> int:
    _check_env(args)
    policy = check_policy(args.policy, args.algo)
    locate_world_model(args.model)
    if args.png is not None:
        check_target("--png", args.png)
    from spi_plugins.algorithms.compile_cache import keep_compiled_programs
    from spi_plugins.algorithms.compile_notice import announcing_compilation

    env = _make_env(args)
    model = _policy(policy, args.trust_imports)
    check = _wrappers().DreamCheck(env, args.model, model, horizon=args.horizon)
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
