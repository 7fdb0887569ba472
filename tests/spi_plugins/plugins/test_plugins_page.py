"""The page about plugins says what is there, and its examples run."""

import inspect
import pathlib
import re
import types

import pytest

import spi_plugins
from spi_plugins import errors, testing
from spi_plugins.plugins.discovery import Switches
from spi_plugins.testing import plugin_sandbox

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_compiles(block):
    compile(block, "docs/plugins.md", "exec")


@pytest.mark.parametrize("block", [block for block in BLOCKS if "@hookimpl" in block])
def test_every_example_of_a_hook_loads(block):
    module = types.ModuleType("page_example")
    module.hookimpl = spi_plugins.hookimpl
    exec(block, module.__dict__)
    with plugin_sandbox(module) as host:
        assert host.records()[-1].status == "loaded"


def test_every_public_name_that_the_page_uses_exists():
    for name in re.findall(r"`spi_plugins\.(\w+)[(`]", PAGE):
        assert hasattr(spi_plugins, name), name


def test_every_check_of_the_suite_is_on_the_page_with_its_arguments():
    for name in set(testing.__all__) - {"ConformanceError"}:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}("))
        for parameter in re.findall(r"\w+", row.split("(")[1].split(")")[0]):
            known = set(inspect.signature(getattr(testing, name)).parameters) | {"None", "hyperparameters"}
            assert parameter in known, (name, parameter)


def test_every_error_on_the_page_exists_with_its_base():
    rows = re.findall(r"^\| `(\w+Error)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for name, base in rows:
        error = getattr(errors, name)
        assert issubclass(error, errors.SPIError)
        assert base in [parent.__name__ for parent in error.__mro__]


def test_every_environment_variable_is_on_the_page():
    for name in re.findall(r"SPI_\w+", inspect.getsource(Switches)):
        assert f"`{name}=" in PAGE


def test_the_tree_of_errors_shows_every_error_under_its_parent():
    lines = errors.__doc__.partition("::\n")[2].splitlines()

    def depth(name):
        line = next(line for line in lines if re.search(rf"\b{name}\b", line))
        return line.index(name)

    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.SPIError) and error is not errors.SPIError:
            assert depth(name) == depth(error.__mro__[1].__name__) + 4, name
