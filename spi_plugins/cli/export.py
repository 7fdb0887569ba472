"""``spi export``: a run's policy as a file for ONNX or JAX alone."""

import argparse
import pathlib
import sys
from collections.abc import Callable

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.requests import algorithm_of, check_model_file, check_target, require_package
from spi_plugins.cli.run_folder import locate_model

# The package that each kind of file needs.
_PACKAGES = {".onnx": "jax2onnx", ".jaxexport": "jax"}


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi export``."""
    parser.add_argument(
        "model", metavar="MODEL_ZIP_OR_RUN", type=pathlib.Path, help="a run's folder or a model file"
    )
    parser.add_argument(
        *("-o", "--output"),
        type=pathlib.Path,
        required=True,
        metavar="FILE",
        help="FILE.onnx, or FILE.jaxexport for jax.export.deserialize",
    )
    parser.add_argument(
        *("--best", "--load-best"),
        action="store_true",
        dest="best",
        help="the best model of the evaluations during training instead of the newest",
    )
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument(
        "--without-planning",
        action="store_true",
        help="of SPOWL and TDMPC2, export the policy that plans start from",
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Write the file.

    Raises:
        SPIError: there is no such model, it cannot be exported, or a package is missing.
    """
    output: pathlib.Path = args.output
    if output.suffix not in _PACKAGES:
        raise CommandError(f"-o must end in {' or '.join(_PACKAGES)}, got {output}.")
    path, folder = locate_model(args.model, best=args.best)
    algorithm = algorithm_of(path, folder, args.algo)
    if algorithm is None:
        raise CommandError(f"{path} does not belong to a run: name its algorithm with --algo.")
    check_model_file(algorithm, path)
    require_package(_PACKAGES[output.suffix], "Exports to ONNX", "export")
    check_target("-o", output)
    normalize = None if folder is None else folder.read_config().normalize

    from spi_plugins.algorithms.base import JaxAlgorithm
    from spi_plugins.algorithms.model_file import read_model_file
    from spi_plugins.algorithms.normalization import stored_normalization
    from spi_plugins.algorithms.policy_export import export_policy
    from spi_plugins.cli.evaluation import find_algorithm, load_model

    if not issubclass(find_algorithm(algorithm), JaxAlgorithm):
        raise CommandError(f"Only spi_plugins' own algorithms can be exported, and {algorithm} is not.")
    model = load_model(algorithm, path, trusted=False)
    assert isinstance(model, JaxAlgorithm)
    normalization = stored_normalization(read_model_file(path), normalize or {})
    try:
        policy = export_policy(
            model, output, normalization=normalization, without_planning=args.without_planning
        )
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(f"Wrote {output}, the deterministic policy of {path}:\n  {policy}\n")
    return 0
