"""The repository keeps its own rules: versions agree, files stay small, nobody's machine shows."""

import ast
import inspect
import pathlib
import re
import subprocess
import tomllib

import pytest
from stable_baselines3.common import base_class

import spi_integrations
import spi_plugins
import spi_wrappers

ROOT = pathlib.Path(__file__).parents[1]
OURS = ("spi_plugins", "wrappers", "integrations", "tests", "benchmarks", "examples", "docs", "tools", ".ci")
TOPS = (
    "*.md",
    "*.toml",
    "*.txt",
    "*.yml",
    "*.cff",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    ".importlinter",
    ".gitignore",
    ".pre-commit-config.yaml",
)


def our_files():
    """Every file of ours, whether git is there (a checkout) or not (an unpacked sdist)."""
    tops = [path for pattern in TOPS for path in ROOT.glob(pattern)]
    nested = [path for folder in OURS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path for path in (*tops, *nested) if "__pycache__" not in path.parts]


def name(path):
    return path.relative_to(ROOT).as_posix()


def texts():
    for path in our_files():
        if path.suffix not in (".npz", ".png", ".gif", ".zip", ".pyc"):
            yield path, path.read_text()


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert project["version"] == spi_plugins.__version__ == newest[1]


def test_no_file_of_code_is_longer_than_400_lines():
    lengths = {name(path): text.count("\n") for path, text in texts() if path.suffix == ".py"}
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_no_path_of_a_machine_is_in_the_tree():
    machine = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|tmp)/[\w.]")
    assert [name(path) for path, text in texts() if machine.search(text)] == []


def test_no_line_ends_in_space_and_every_file_in_a_line():
    faulty = [name(path) for path, text in texts() if re.search(r"[ \t]$", text, re.MULTILINE)]
    faulty += [name(path) for path, text in texts() if text and not text.endswith("\n")]
    assert faulty == []


@pytest.mark.parametrize("package", [spi_plugins, spi_wrappers, spi_integrations])
def test_every_package_says_that_it_is_typed(package):
    assert (pathlib.Path(package.__file__).parent / "py.typed").is_file()


def test_all_public_names_of_the_package_are_there_and_listed():
    assert sorted(spi_plugins.__all__) == sorted(set(spi_plugins.__all__))
    assert [public for public in spi_plugins.__all__ if not hasattr(spi_plugins, public)] == []
    assert set(spi_plugins.__all__) <= set(dir(spi_plugins))


# Extras that the development set leaves out.
OWN_ENVIRONMENTS = {"brax", "crax", "cuda", "playground"}


def test_the_pins_hold_what_the_project_asks_for():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {re.sub(r"[-_.]+", "-", pin).lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(line for extra in extras if extra not in OWN_ENVIRONMENTS for line in extras[extra]),
    ]
    names = {re.split(r"[\[<>=;!~ ]", line)[0].lower().replace("_", "-") for line in asked} - {"spi-plugins"}
    assert names - pinned == set()
    assert pins["torch"] == "2.13.0"


def test_every_make_target_is_described_and_phony():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert targets == described == phony


@pytest.mark.parametrize("script", [".ci/run", ".ci/wheel-test"])
def test_the_scripts_can_be_run_and_parse(script):
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ROOT / script], check=True)


# Of libraries that offer no public way: Gymnasium's SyncVectorEnv, and the task of Safety-Gymnasium.
FOREIGN = {"_env_obs", "_viewers"}
NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_field_defaults", "_make"}


def private(name):
    return name.startswith("_") and not name.startswith("__")


def private_definitions(tree):
    """Names with one underscore that a module defines, or assigns to an object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and private(node.name):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and private(node.attr):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and private(node.id):
            yield node.id


def private_reads(tree):
    """Attributes with one underscore of anything but ``self`` and ``cls``, and where they are read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in NAMED_TUPLES:
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            inherited = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if not own and not inherited:
                yield node.attr, node.lineno


def test_no_attribute_with_an_underscore_is_read_outside_its_package():
    sb3 = set(private_definitions(ast.parse(inspect.getsource(base_class))))
    faulty = []
    for top in ("spi_plugins", "wrappers/spi_wrappers", "integrations/spi_integrations"):
        for package in sorted({path.parent for path in (ROOT / top).rglob("*.py")}):
            trees = {path: ast.parse(path.read_text()) for path in package.glob("*.py")}
            own = {
                attribute for tree in trees.values() for attribute in private_definitions(tree)
            } - sb3 | FOREIGN
            reads = ((path, *read) for path, tree in trees.items() for read in private_reads(tree))
            faulty += [f"{name(path)}:{line} {attr}" for path, attr, line in reads if attr not in own]
    assert faulty == []
