"""The page about planners lists every planner, setting and metric, with the right defaults."""

import ast
import dataclasses
import importlib
import pathlib
import re

import pytest

import spi_plugins
from spi_plugins.plugins import registry

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "planners.md").read_text()
NAMES = [
    name for name in registry("planners").names() if registry("planners").get(name).owner.plugin == "builtins"
]


def config_of(name):
    module = importlib.import_module(f"spi_plugins.planners.{name}")
    return next(
        cls
        for cls in vars(module).values()
        if dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_of_every_planner_are_listed_with_their_defaults(name):
    section = PAGE.partition(f"\n### `{name}`\n")[2].partition("\n#")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section, re.MULTILINE))
    defaults = {field.name: field.default for field in dataclasses.fields(config_of(name))}
    assert {setting: ast.literal_eval(value) for setting, value in rows.items()} == defaults


@pytest.mark.parametrize("name", NAMES)
def test_the_needs_of_every_planner_are_in_the_first_table(name):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    needs = row.strip(" |").split("|")[-1] if row.count("|") > 4 else ""
    assert set(re.findall(r"`(\w+)`", needs)) == set(spi_plugins.get_planner(name)().requires)
