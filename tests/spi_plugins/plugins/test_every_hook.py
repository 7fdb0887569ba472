"""Meta-tests: whatever hook there is, it is documented, shown in the docs, and works."""

import inspect
import json
import pathlib
import types

import pytest

from spi_plugins import builtins, hookimpl, hookspecs
from spi_plugins.plugins import KINDS
from spi_plugins.testing import plugin_sandbox

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("register_"))
DOCS = pathlib.Path(__file__).parents[3] / "docs" / "plugins.md"


def test_there_is_one_hook_for_each_kind():
    assert sorted(f"register_{kind}" for kind in KINDS) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_a_third_partys_example(hook):
    doc = inspect.getdoc(getattr(hookspecs, hook))
    example = doc.partition("Example:")[2]
    assert "Args:" in doc
    assert "from spi_plugins import hookimpl" in example
    assert f"def {hook}(register):" in example


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_runs_and_registers_what_it_says(hook):
    kind = hook.removeprefix("register_")
    doc = inspect.getdoc(getattr(hookspecs, hook))
    lines = doc.partition("::\n")[2].splitlines()
    start = next(number for number, line in enumerate(lines) if "from spi_plugins import hookimpl" in line)
    body = []
    for line in lines[start:]:
        if line.strip() and not line.startswith("        ") and not line.startswith("    "):
            break
        if body and line.strip().startswith("#"):  # the next file of the example
            break
        body.append(line)
    module = types.ModuleType("example")
    exec(inspect.cleandoc("\n".join(body)), module.__dict__)
    with plugin_sandbox(module) as host:
        record = host.records()[-1]
        assert record.status == "loaded"
        assert record.hooks == (hook,)
        assert record.provides
        for entry in record.provides:
            registration = host.registry(kind).get(entry.removeprefix(f"{kind}:"))
            assert registration.summary
            assert f'"{registration.target}"' in doc


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_registers_by_name_and_resolves(hook):
    module = types.ModuleType("minimal")
    setattr(module, hook, hookimpl(lambda register: register("a_name", "json:dumps", summary="one line")))
    with plugin_sandbox(module) as host:
        registry = host.registry(hook.removeprefix("register_"))
        assert "a_name" in registry.names()
        assert registry.resolve("a_name") is json.dumps


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_section_in_the_docs_with_an_example(hook):
    section = DOCS.read_text().partition(f"### `{hook}(register)`")[2].partition("\n### ")[0]
    assert f"def {hook}(register):" in section


def test_every_built_in_target_resolves():
    with plugin_sandbox() as host:
        targets = [entry.split(":", 1) for entry in host.records()[0].provides]
        assert targets
        for kind, name in targets:
            assert callable(host.registry(kind).resolve(name)), (kind, name)


def test_every_built_in_has_a_summary_and_every_built_in_hook_a_docstring():
    with plugin_sandbox() as host:
        for entry in host.records()[0].provides:
            kind, name = entry.split(":", 1)
            assert host.registry(kind).get(name).summary, entry
        for hook in host.records()[0].hooks:
            assert getattr(builtins, hook).__doc__
