"""``spi new-plugin``: writes a package with a working planner as a starting point."""

import argparse
import importlib.resources
import importlib.util
import pathlib
import re
import sys
from collections.abc import Callable
from string import Template

from spi_plugins import __version__, plugins
from spi_plugins.cli.arguments import CommandError

# Templates of ``name`` (the distribution), ``module`` (package and planner) and ``version`` (ours). Their names end in
# .txt, so that no tool takes them for code; the folder ``module`` gets the module's name.
_SKELETON = importlib.resources.files("spi_plugins.cli") / "skeleton"
_FILES = ("pyproject.toml", "README.md", "module/__init__.py", "module/planner.py", "tests/test_planner.py")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi new-plugin``."""
    parser.add_argument("name", metavar="NAME", help="name of the package, such as my-planner")
    parser.add_argument(
        "--path",
        type=pathlib.Path,
        default=pathlib.Path(),
        metavar="DIR",
        help="where to write it (default: here)",
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Write the package into a new folder of its name.

    Raises:
        CommandError: the name is malformed or taken, or the folder cannot be made.
    """
    module = _module(args.name)
    folder = _folder(args.path, args.name)
    words = {"name": args.name, "module": module, "version": __version__}
    try:
        for path in _FILES:
            text = (_SKELETON / f"{path}.txt").read_text(encoding="utf-8")
            target = folder / path.replace("module/", f"{module}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{folder} cannot be written: {error}.") from error
    sys.stdout.write(
        f"Wrote {folder}, a package with the planner {module!r}. Next:\n"
        f"  cd {folder}\n"
        f"  pip install -e '.[test]'\n"
        f"  pytest\n"
        f"Then put your planner into {module}/planner.py.\n"
    )
    return 0


def _module(name: str) -> str:
    """The name of package and planner, if it is free."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"NAME must be lower-case words and digits joined by '-', such as my-planner, got {name!r}."
        )
    module = name.replace("-", "_")
    if module in plugins.registry("planners").names():
        raise CommandError(f"NAME {name!r} is taken: there is a planner {module!r}.")
    if importlib.util.find_spec(module) is not None:
        raise CommandError(f"NAME {name!r} is taken: this Python has a package or module {module!r}.")
    return module


def _folder(parent: pathlib.Path, name: str) -> pathlib.Path:
    if not parent.is_dir():
        raise CommandError(f"--path {parent} is not a folder.")
    folder = parent / name
    if folder.exists():
        raise CommandError(f"{folder} exists already; choose another NAME or --path.")
    return folder
