"""The documentation is true: its Python runs, its commands parse, its tables and links are right."""

import argparse
import ast
import contextlib
import functools
import importlib
import inspect
import io
import pathlib
import re
import runpy
import shlex
import sys
import tomllib
import types
from typing import NamedTuple

import pytest

import spi_integrations.envpool
import spi_plugins
from spi_plugins import plugins
from spi_plugins.algorithms import environments
from spi_plugins.algorithms.clipped import ClippedAlgorithm
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.planning import PlanningAlgorithm
from spi_plugins.algorithms.vec_envs.functional import FunctionalVecEnv
from spi_plugins.cli.dispatch import Parser
from spi_plugins.testing import plugin_sandbox

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block, and the line of its page that it begins on."""

    language: str
    text: str
    line: int


def blocks(page, *languages):
    text = page.read_text()
    found = [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]
    return [block for block in found if block.language in languages]


def pages_with(*languages):
    chosen = [page for page in PAGES if blocks(page, *languages)]
    return pytest.mark.parametrize("page", chosen, ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.fixture
def small(monkeypatch, tmp_path, own_dreams):
    """Pages say what people should type: 128 games, millions of steps. Here sizes are cut, and nothing else.

    Learning stops after at most 256 steps, rollouts have 16 steps and default ones 64 transitions, updates 2 epochs,
    functional environments 8 copies, pools of games 4, and episodes of Point Goal 10 steps. Files are written into an
    empty folder.
    """
    make_vec, make_env = spi_integrations.envpool.make_vec, spi_plugins.make_env

    def learn_little(learn):
        def learn_instead(self, total_timesteps=None, *args, **kwargs):
            return learn(self, min(total_timesteps or 256, 256), *args, **kwargs)

        return learn_instead

    def choose_little(choose):
        def choose_instead(self):
            self.n_epochs = min(self.n_epochs, 2)
            if self.n_steps is not None:
                self.n_steps = min(self.n_steps, 16)
                if self.batch_size is not None:
                    self.batch_size = min(self.batch_size, self.n_steps * self.n_envs)
            choose(self)

        return choose_instead

    def few_copies(env, n_envs, **kwargs):
        return FunctionalVecEnv(env, min(n_envs, 8), **kwargs)

    def small_sizes(rule):
        def rule_instead(self, name):
            return (lambda n_envs: max(64 // n_envs, 1)) if name == "n_steps" else rule(self, name)

        return rule_instead

    def make_short(name, **kwargs):
        limit = {"max_episode_steps": 10} if name == "spi/PointGoal-v0" else {}
        return make_env(name, **{**limit, **kwargs})

    def make_few(env_id, num_envs=128, **kwargs):
        return make_vec(env_id, min(num_envs, 4), **kwargs)

    monkeypatch.chdir(tmp_path)
    for base in (OnPolicyAlgorithm, PlanningAlgorithm):
        monkeypatch.setattr(base, "learn", learn_little(base.learn))
    monkeypatch.setattr(ClippedAlgorithm, "_choose_batches", choose_little(ClippedAlgorithm._choose_batches))
    monkeypatch.setattr(environments, "FunctionalVecEnv", few_copies)
    monkeypatch.setattr(ClippedAlgorithm, "_rule", small_sizes(ClippedAlgorithm._rule))
    monkeypatch.setattr(spi_integrations.envpool, "make_vec", make_few)
    monkeypatch.setattr(spi_plugins, "make_env", make_short)


@pytest.fixture
def my_package(monkeypatch):
    """The package that the pages show: its algorithm, and the files that a page prints of it."""
    algorithm = types.ModuleType("my_package.algorithm")
    algorithm.MySPI = type("MySPI", (spi_plugins.PPO,), {})
    package = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", package)
    monkeypatch.setitem(sys.modules, "my_package.algorithm", algorithm)

    def add(path, namespace):
        name = path.removesuffix(".py").replace("/", ".")
        module = types.ModuleType(name)
        vars(module).update({key: value for key, value in namespace.items() if key != "__builtins__"})
        monkeypatch.setitem(sys.modules, name, module)
        setattr(package, name.rpartition(".")[2], module)
        return module

    return add


# Their programs take minutes to compile; other pages show the same calls.
SLOW_PAGES = {"docs/spowl.md", "docs/dream_spi.md"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=pytest.mark.slow if name in SLOW_PAGES else ())
        for page, name in [
            (page, page.relative_to(ROOT).as_posix()) for page in PAGES if blocks(page, "python")
        ]
    ],
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, small, my_package):
    namespace = {"__name__": "page"}
    with plugin_sandbox() as host:
        for block in blocks(page, "python"):
            before = set(namespace)
            exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)
            path = re.match(r"# (my_package/\w+\.py)\n", block.text)
            if path:
                module = my_package(path[1], namespace)
                if path[1].endswith("plugin.py"):
                    host.register(module, "my-package")
            for name in set(namespace) - before:
                if name.startswith("test_"):
                    namespace[name]()


@pages_with("toml")
def test_the_toml_of_a_page_is_valid(page):
    for block in blocks(page, "toml"):
        tomllib.loads(block.text)


def commands(page):
    for block in blocks(page, "bash", "console", "sh"):
        for line in block.text.splitlines():
            if block.language != "console" or line.startswith("$ "):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words:
                    yield words


def check_make(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert all(word in targets for word in words if "=" not in word), words


def check_spi(words):
    parser = Parser(prog=f"spi {words[0]}")
    plugins.registry("commands").resolve(words[0])(parser)
    parser.parse_args(words[1:])


def check_pip(words):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        extra.strip() for group in re.findall(r"\[(.*?)\]", " ".join(words)) for extra in group.split(",")
    }
    assert words[0] == "install"
    assert extras <= set(project["optional-dependencies"])


@functools.cache
def help_of(script):
    """What a script prints with ``--help``, in this process, whose imports it shares."""
    path, argv, printed = sys.path[:], sys.argv, io.StringIO()
    sys.path.insert(0, str((ROOT / script).parent))
    sys.argv = [script, "--help"]
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / script), run_name="__main__")
    finally:
        sys.path[:], sys.argv = path, argv
    assert not ended.value.code, script
    return printed.getvalue()


def check_python(words):
    """A benchmark: its help must name every option that the page uses."""
    script, *arguments = words
    assert (ROOT / script).exists(), script
    help_text = help_of(script)
    for word in arguments:
        assert not word.startswith("--") or word in help_text, word


CHECKS = {"make": check_make, "spi": check_spi, "pip": check_pip, "python": check_python}


@pages_with("bash", "console", "sh")
def test_the_commands_of_a_page_exist_with_their_options(page):
    for program, *words in commands(page):
        assert program in CHECKS, f"how is {program!r} to be checked?"
        CHECKS[program](words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\((?!https?://)([^)#]*)[^)]*\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_files_that_a_page_names_exist(page):
    text = FENCE.sub("", page.read_text())
    ours = r"`((?:spi_plugins|wrappers|integrations|tests|docs|benchmarks|examples)/[\w./-]*)`"
    for name in re.findall(ours, text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def tree():
    """Paths of the tree on the page of the layout, folders with a slash at the end."""
    page = ROOT / "docs/layout.md"
    (block,) = blocks(page, "text")
    parents, paths = [], []
    for line in block.text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        paths.append("".join(parents))
    return paths


def test_the_tree_of_the_layout_names_nothing_that_is_missing():
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_the_tree_of_the_layout_has_every_package_and_every_module_at_the_top():
    core = ROOT / "spi_plugins"
    packages = [core, ROOT / "wrappers/spi_wrappers", ROOT / "integrations/spi_integrations"]
    rooms = [init.parent for package in packages for init in package.rglob("__init__.py")]
    modules = [path for path in core.glob("*.py") if path.stem != "__init__"]
    expected = {f"{path.relative_to(ROOT).as_posix()}/" for path in rooms}
    expected |= {path.relative_to(ROOT).as_posix() for path in modules}
    assert expected - set(tree()) == set()


# Decisions also name what was not done.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name != "decisions"], ids=lambda page: page.stem
)
def test_the_dotted_names_of_a_page_can_be_imported(page):
    text = FENCE.sub("", page.read_text())
    for name in re.findall(r"`((?:spi_plugins|spi_wrappers|spi_integrations)(?:\.\w+)+)", text):
        assert resolves(name), f"{page.name} names {name}"


def test_the_renamed_modules_of_the_changelog_exist_under_their_new_names_only():
    section = (
        (ROOT / "CHANGELOG.md").read_text().partition("Relative to `spi_plugins`:")[2].partition("###")[0]
    )
    rows = [re.findall(r"`([\w.]+)`", line) for line in section.splitlines() if line.startswith("  | `")]
    assert len(rows) > 10
    for names in rows:
        for new in names[len(names) // 2 :]:
            assert resolves(f"spi_plugins.{new}"), new
        for old in names[: len(names) // 2]:
            found = ROOT / "spi_plugins" / f"{old.replace('.', '/')}.py"
            assert not found.exists(), old


def resolves(name):
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def table(page, heading):
    """First two cells of each row of the tables under a heading, without backquotes."""
    section = page.read_text().partition(f"\n{heading}\n")[2]
    section = re.split(r"\n#+ ", section)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    return {name: value.strip("`") for name, value in rows}


PPO_TABLE = ("deep_spi.md", "### Of all three")
DEEP_SPI_TABLE = ("deep_spi.md", "### Of DeepSPI and DeepMDP")
DREAM_SPI_TABLE = ("dream_spi.md", "### Of DreamSPI")


@pytest.mark.parametrize(
    ("of", "tables"),
    [
        (spi_plugins.PPO, [PPO_TABLE]),
        (spi_plugins.DeepSPI, [PPO_TABLE, DEEP_SPI_TABLE]),
        (spi_plugins.DreamSPI, [PPO_TABLE, DEEP_SPI_TABLE, DREAM_SPI_TABLE]),
    ],
)
def test_the_tables_of_arguments_are_complete_and_have_the_right_defaults(of, tables):
    *inherited, own = (table(ROOT / "docs" / page, heading) for page, heading in tables)
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(of).parameters.items()
        if name not in ("policy", "env") and not name.startswith("_")
    }
    assert own
    assert own.keys() <= parameters.keys()
    documented = {name: value for rows in (*inherited, own) for name, value in rows.items()}
    assert parameters.keys() <= documented.keys()
    for name, default in parameters.items():
        by_policy = of.hyperparameters[name].by_policy
        if by_policy is not None:
            assert documented[name] == by_policy.texts[0].replace("'", '"').strip("`"), name
        elif not callable(default):
            assert ast.literal_eval(documented[name]) == default, name


def test_the_table_of_the_world_model_is_complete_and_has_the_right_defaults():
    from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

    documented = table(ROOT / "docs/deep_spi.md", "### `world_model_kwargs`")
    own = ("transition_density", "lipschitz", "termination", "cost")
    fields = {name: f.default for name, f in DeepMDPConfig.__dataclass_fields__.items() if name not in own}
    assert {name: ast.literal_eval(value) for name, value in documented.items()} == fields


@pytest.mark.parametrize("command", ["train", "eval", "video", "export", "doctor", "sweep", "tune"])
def test_every_option_of_a_command_is_documented(command):
    text = (ROOT / "docs/cli.md").read_text()
    parser = Parser(prog="spi")
    plugins.registry("commands").resolve(command)(parser)
    options = {
        option
        for option, action in parser.options.items()
        if action.help != argparse.SUPPRESS  # rl_zoo3's spellings, and what 'spi train ALGO --help' lists
    }
    undocumented = {option for option in options if not re.search(f"`{option}[` ]", text)}
    assert undocumented == {"-h", "--help"}
