"""Where the steps of ``spi dream`` come from: an environment, and the policy that acts in it as it was trained."""

import argparse
import functools
import importlib
import pathlib
from typing import Any, NamedTuple

import gymnasium

from spi_plugins.cli.arguments import CommandError, add_pairs, seed
from spi_plugins.cli.env_names import check_gymnasium_id
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask
from spi_plugins.cli.played import recipe_of
from spi_plugins.cli.requests import check_policy
from spi_plugins.cli.run_folder import locate_model
from spi_plugins.env_copies import resolve_layers, wrapped
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


class Source(NamedTuple):
    """An environment, and the algorithm and file of the model that acts; ``None`` for uniform actions."""

    recipe: EnvRecipe
    policy: tuple[str, pathlib.Path] | None
    trusted: bool  # whether the model's file may run code


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--env", metavar="ID", help="the real environment (default: that of the run of --policy)"
    )
    add_pairs(
        parser, "--env-kwargs", help="arguments of the environment, Python literals (default: the run's)"
    )
    parser.add_argument(
        "--policy",
        type=pathlib.Path,
        metavar="MODEL_ZIP_OR_RUN",
        help="who acts, under the wrappers and the normalization of its run (default: uniform actions)",
    )
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="import the modules that the policy's run names, and load its file, which may run code",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="(default: 0)")


def read(args: argparse.Namespace, *, otherwise: str = "") -> Source:
    """Check the words as far as possible without JAX and torch; ``otherwise`` is what could stand in for ``--env``.

    Raises:
        SPIError: there is no such environment or model, or it would import a module.
    """
    importlib.import_module("spi_wrappers")  # registers its ids
    policy = check_policy(args.policy, args.algo)
    folder = None if args.policy is None else locate_model(args.policy)[1]
    config = None if folder is None else folder.read_config()
    if args.env is None and config is None:
        raise CommandError(
            f"--env{otherwise} is required, unless --policy names a run (see 'spi dream --help')."
        )
    check_gymnasium_id(args.env or (config.env if config is not None else ""))
    recipe = recipe_of(args, config)
    if recipe.frame_stack is not None:
        raise CommandError(
            f"--policy {args.policy} sees {recipe.frame_stack} observations at once, and a dream is of single ones."
        )
    return Source(recipe._replace(vec_env=None), policy, args.trust_imports)


def make_env(recipe: EnvRecipe) -> Any:
    """One environment in its wrappers.

    Raises:
        SPIError: it cannot be made.
    """
    layers = resolve_layers(recipe.wrappers)
    try:
        return wrapped(gymnasium.make(recipe.env, **recipe.env_kwargs), layers)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise CommandError(f"--env {recipe.env} cannot be made: {describe(error)}") from error


def load_policy(source: Source) -> Any:
    """What acts in the environment of ``make_env``, which normalizes nothing; ``None`` for uniform actions.

    Raises:
        SPIError: the model cannot be loaded, or does not fit the environment.
    """
    if source.policy is None:
        return None
    from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

    from spi_plugins.cli.evaluation import load_model, open_env_of

    algorithm, path = source.policy
    model = load_model(algorithm, path, trusted=source.trusted)
    if source.recipe.normalize is None and not hasattr(model, "wrap_env"):
        return model
    env = open_env_of(model, path, EvaluationTask(source.recipe, 1, None, seed=0, n_envs=1))
    if unwrap_vec_normalize(env) is None:
        return model
    if not isinstance(env, VecNormalize):
        raise CommandError(f"{algorithm} adds to the observations that it normalizes, and a dream cannot.")
    return NormalizingPolicy(model, env)


class NormalizingPolicy:
    """A policy of normalized observations that takes those of the environment.

    Args:
        model: anything with SB3's ``predict``.
        normalization: what the policy was trained in, with its statistics.
    """

    def __init__(self, model: Any, normalization: Any) -> None:
        self.observation_space = normalization.venv.observation_space

        @functools.wraps(model.predict)  # whose signature says whether it takes action masks
        def predict(observation: Any, *args: Any, **kwargs: Any) -> Any:
            return model.predict(normalization.normalize_obs(observation), *args, **kwargs)

        self.predict = predict
