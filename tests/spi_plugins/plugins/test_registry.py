import contextlib
import json
import threading

import pytest

from spi_plugins.errors import (
    DuplicatePluginError,
    MissingDependencyError,
    PluginError,
    PluginLoadError,
    SPIError,
    UnknownPluginError,
)
from spi_plugins.plugins.registry import BUILTINS, Owner, Registration, Registry, resolve_target, unknown_name

OURS = Owner("mine", "my-package", "1.2")
THEIRS = Owner("theirs", "their-package", "0.3")


def entry(name="mppi", target="json:dumps", owner=OURS, **details):
    return Registration("planners", name, target, owner, **details)


@pytest.fixture
def registry():
    return Registry("planners")


def test_a_target_is_imported_when_it_is_resolved_and_not_before(registry):
    registry.add(entry(target="no_such_module:thing"))
    assert registry.names() == ("mppi",)
    with pytest.raises(PluginLoadError, match="no_such_module"):
        registry.resolve("mppi")


def test_a_string_target_resolves_to_the_attribute(registry):
    registry.add(entry(target="json:JSONDecoder.decode"))
    assert registry.resolve("mppi") is json.JSONDecoder.decode


def test_an_object_stands_for_itself(registry):
    registry.add(entry(target=sorted))
    assert registry.resolve("mppi") is sorted


def test_an_old_name_finds_what_it_is_called_now_with_a_warning_that_names_both():
    registry = Registry("planners", renamed={"mppi_1": "mppi"})
    registry.add(entry())
    with pytest.warns(DeprecationWarning, match="The planner 'mppi_1' is now called 'mppi'"):
        assert registry.get("mppi_1") is registry.get("mppi")
    assert registry.names() == ("mppi",)


def test_an_old_name_that_a_plugin_registers_is_that_plugins():
    registry = Registry("planners", renamed={"mppi_1": "mppi"})
    registry.add(entry("mppi_1", owner=THEIRS))
    assert registry.get("mppi_1").owner == THEIRS


def test_an_unknown_name_gets_the_closest_and_all_known_ones(registry):
    registry.add(entry("mppi"))
    registry.add(entry("cem"))
    with pytest.raises(UnknownPluginError) as caught:
        registry.get("mpii")
    assert str(caught.value) == (
        "No planner named 'mpii'. Did you mean 'mppi'? Known: cem, mppi. "
        "A missing one may come with a package that is not installed."
    )
    assert isinstance(caught.value, KeyError)


def test_close_names_are_found_whatever_their_case():
    assert "Did you mean 'spi/CartPole-v0'?" in unknown_name(
        "environment", "SPI/cartpole-v0", ["spi/CartPole-v0"]
    )


def test_nothing_registered_is_said_plainly():
    assert "None is registered." in unknown_name("planner", "cem", [])


def test_two_plugins_may_not_share_a_name_and_both_are_named(registry):
    registry.add(entry())
    with pytest.raises(DuplicatePluginError) as caught:
        registry.add(entry(owner=THEIRS))
    for part in ("'mine' (my-package 1.2)", "'theirs' (their-package 0.3)", "planner 'mppi'"):
        assert part in str(caught.value)


def test_one_plugin_may_not_register_a_name_twice(registry):
    registry.add(entry())
    with pytest.raises(DuplicatePluginError, match="'mppi' twice"):
        registry.add(entry())


def test_a_contested_name_belongs_to_nobody(registry):
    registry.add(entry())
    registry.contest("mppi", DuplicatePluginError("both want it"))
    with pytest.raises(DuplicatePluginError, match="both want it"):
        registry.get("mppi")


def test_a_built_in_name_cannot_be_contested(registry):
    registry.add(entry(owner=Owner(BUILTINS)))
    registry.contest("mppi", DuplicatePluginError("I want it"))
    assert registry.get("mppi").owner.plugin == BUILTINS


def test_a_discarded_name_is_free_again(registry):
    registry.add(entry())
    registry.discard(["mppi"])
    registry.add(entry(owner=THEIRS))
    assert registry.get("mppi").owner == THEIRS


@pytest.mark.parametrize("name", ["", "two words", "a:b", "a/b", "../up", "-x", ".x", "a\x1b[2J", None, 3])
def test_a_malformed_name_is_refused_and_its_owner_named(registry, name):
    with pytest.raises(PluginError, match=r"my-package 1\.2.*without spaces, colons and slashes"):
        registry.add(entry(name))


@pytest.mark.parametrize(("name", "good"), [("mine/E-v0", True), ("../E-v0", False), ("a/b/E-v0", False)])
def test_an_environments_name_has_at_most_one_namespace(name, good):
    registry = Registry("envs")
    with contextlib.nullcontext() if good else pytest.raises(PluginError):
        registry.add(Registration("envs", name, "json:dumps", OURS))
    assert (name in registry.names()) == good


@pytest.mark.parametrize("source", ["thing = 3", "import sys; sys.exit('no')", "raise BaseException('no')"])
def test_a_target_that_is_not_callable_or_leaves_on_import_names_the_owner(tmp_path, monkeypatch, source):
    module = f"odd_target_{abs(hash(source))}"
    tmp_path.joinpath(f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginLoadError, match=r"plugin 'mine' \(my-package 1\.2\) cannot be loaded"):
        resolve_target(entry(), f"{module}:thing")


@pytest.mark.parametrize("target", ["json", "json.dumps", "json:", ":dumps", "json:a:b", "not a module:x", 3])
@pytest.mark.parametrize("slot", ["target", "vector"])
def test_a_malformed_target_is_refused_and_its_owner_named(registry, target, slot):
    with pytest.raises(PluginError, match=r"my-package 1\.2.*package\.module:attribute"):
        registry.add(entry(**{slot: target}))


def test_a_target_without_its_attribute_names_the_owner():
    with pytest.raises(
        PluginLoadError, match=r"planner 'mppi' of plugin 'mine' \(my-package 1\.2\).*nothing"
    ):
        resolve_target(entry(), "json:nothing")


def test_a_missing_optional_package_keeps_its_pip_command(tmp_path, monkeypatch):
    tmp_path.joinpath("needs_more.py").write_text(
        "from spi_plugins.errors import MissingDependencyError\n"
        "raise MissingDependencyError.named('envpool', 'Atari environments', 'envpool')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"pip install 'spi-plugins\[envpool\]'") as caught:
        resolve_target(entry(), "needs_more:thing")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, SPIError)
    assert caught.value.name == "envpool"


def test_of_many_threads_that_want_one_name_exactly_one_gets_it(registry):
    barrier = threading.Barrier(16)
    outcomes = []

    def claim(number):
        barrier.wait()
        try:
            registry.add(entry(owner=Owner(f"plugin-{number}")))
            outcomes.append("won")
        except DuplicatePluginError:
            outcomes.append("lost")

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 15 + ["won"]
