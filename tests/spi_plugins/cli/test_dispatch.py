import os
import subprocess
import sys

import pytest
from plugin_packages import install

import spi_plugins


def test_help_lists_the_commands_with_their_summaries(spi):
    done = spi("--help")
    assert done.code == 0
    for command, summary in (
        ("train", "Train an algorithm"),
        ("eval", "Evaluate"),
        ("list", "List"),
        ("plugins", "Show"),
    ):
        assert f"{command} " in done.out
        assert summary in done.out


def test_version_is_the_packages(spi):
    assert spi("--version").out == f"spi-plugins {spi_plugins.__version__}\n"


@pytest.mark.parametrize("command", ["train", "eval", "list", "plugins"])
def test_every_command_has_help(spi, command):
    done = spi(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: spi {command}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "No command named 'trian'. Did you mean 'train'?"),
        (["list", "algoritms"], "KIND 'algoritms' is unknown. Did you mean 'algorithms'?"),
        (["list"], "the following arguments are required: KIND (see 'spi list --help')"),
        ([], "the following arguments are required: COMMAND (see 'spi --help')"),
        (["plugins", "--jso"], "unrecognized arguments: --jso"),
        (["--frob"], "required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(spi, words, message):
    done = spi(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("spi: error: ")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_a_plugin_adds_a_command(spi, plugin):
    def configure(parser):
        parser.add_argument("name")
        return lambda args: 7 * bool(sys.stdout.write(f"Hello, {args.name}.\n"))

    greeter = plugin(register_commands=lambda register: register("hello", configure, summary="100% kind"))
    assert "100% kind" in spi("--help", plugins=[greeter]).out
    done = spi("hello", "Ada", plugins=[greeter])
    assert (done.code, done.out) == (7, "Hello, Ada.\n")


def test_only_the_chosen_commands_target_is_imported(spi, plugin):
    broken = plugin(register_commands=lambda register: register("broken", "no_such_module:configure"))
    assert spi("list", "envs", plugins=[broken]).code == 0
    done = spi("broken", plugins=[broken])
    assert done.code == 2
    assert "The command 'broken' of plugin 'test_plugin' cannot be loaded" in done.err


def test_an_unexpected_exception_of_a_command_is_not_hidden(spi, plugin):
    def configure(parser):
        def run(args):
            raise ZeroDivisionError("a bug")

        return run

    with pytest.raises(ZeroDivisionError):
        spi("bug", plugins=[plugin(register_commands=lambda register: register("bug", configure))])


def test_a_command_that_exits_with_text_prints_it(spi, plugin):
    def configure(parser):
        return lambda args: sys.exit("no such host")

    done = spi("hello", plugins=[plugin(register_commands=lambda register: register("hello", configure))])
    assert (done.code, done.err) == (1, "no such host\n")


def run_process(*words, path=""):
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")])),
    }
    return subprocess.run(
        [sys.executable, "-m", "spi_plugins.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ,
    )


@pytest.mark.parametrize(
    "words",
    ["['--help']", "['train', '--help']", "['eval', '--help']", "['list', 'envs']", "['plugins', '--json']"],
)
def test_help_and_listing_import_neither_jax_nor_torch(words):
    code = (
        f"import sys; from spi_plugins.cli import main; assert main({words}) == 0\n"
        "heavy = [m for m in ('jax', 'torch', 'stable_baselines3', 'matplotlib') if m in sys.modules]\n"
        "assert heavy == [], heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_plugin_is_one_warning_and_the_command_works(tmp_path):
    named = "[spi_plugins]\nbroken = broken_plugin\n"
    install(tmp_path, "broken-plugin", "raise RuntimeError('no')\n", version="3.1", entry_points=named)
    done = run_process("list", "algorithms", path=str(tmp_path))
    assert done.returncode == 0
    assert "deep_spi" in done.stdout
    assert done.stderr == "spi: warning: Plugin 'broken' (broken-plugin 3.1) is broken: RuntimeError: no\n"
