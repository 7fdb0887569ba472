import json
import sys
import threading

import pytest
from plugin_packages import install, plugin

import spi_plugins
from spi_plugins import hookimpl
from spi_plugins.errors import DuplicatePluginError, PluginLoadError, PluginWarning
from spi_plugins.plugins import PluginHost, Registration, current_host, use_host
from spi_plugins.plugins.registry import Owner
from spi_plugins.testing import plugin_sandbox


@pytest.fixture
def host():
    return PluginHost(discover=False, environ={})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that installs fake distributions, next to whatever else is installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def install_module(name, source, **metadata):
        modules.append(name.replace("-", "_") + "_module")
        install(tmp_path, name, source, module=modules[-1], **metadata)

    yield install_module
    for module in modules:
        sys.modules.pop(module, None)


GOOD = """
from spi_plugins import hookimpl

@hookimpl
def register_planners(register):
    register("{name}", "json:dumps", summary="A test")
"""
BROKEN_IMPORT = "import a_package_that_nobody_has\n"
BROKEN_EXIT = "raise SystemExit(3)\n"
BROKEN_SYNTAX = "def broken(:\n"
BROKEN_HOOK = GOOD.format(name="half") + "\n@hookimpl\ndef register_envs(register):\n    1 / 0\n"


def in_hook(body):
    return f"from spi_plugins import hookimpl\n\n@hookimpl\ndef register_planners(register):\n    {body}\n"


MISSPELLED = GOOD.format(name="spelled") + "\n@hookimpl\ndef register_algoritms(register):\n    pass\n"


def record_of(host, name):
    return next(record for record in host.records() if record.name == name)


def planners_of_others(host):
    """Those that are not built in."""
    planners = host.registry("planners")
    return tuple(name for name in planners.names() if planners.get(name).owner.plugin != "builtins")


def load(**environ):
    host = PluginHost(environ=environ)
    host.records()
    return host


def test_built_ins_come_first_and_through_the_hooks(host):
    record = host.records()[0]
    assert record.name == "builtins"
    assert record.status == "loaded"
    assert "register_algorithms" in record.hooks
    assert "algorithms:deep_spi" in record.provides


def test_a_good_plugin_is_recorded_with_its_distribution(installed):
    installed("spi-cem", GOOD.format(name="shooting"), version="2.5")
    host = load()
    record = record_of(host, "spi-cem")
    assert record == (
        "spi-cem",
        "spi-cem",
        "2.5",
        "loaded",
        "",
        ("register_planners",),
        ("planners:shooting",),
    )
    assert host.registry("planners").get("shooting").summary == "A test"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (BROKEN_IMPORT, "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        (BROKEN_EXIT, "SystemExit: 3"),
        (BROKEN_SYNTAX, "SyntaxError"),
        (
            "from spi_plugins import hookimpl\n",
            "implements no hook; are its functions marked with @hookimpl?",
        ),
        ("from spi_plugins import hookimpl\n@hookimpl\ndef register_envs(wrong): ...\n", "wrong"),
        ("SPI_PLUGIN_API = 99\n", "needs version 99 of the plugin API"),
        ("SPI_PLUGIN_API = '1'\n", "SPI_PLUGIN_API must be an integer, got '1'"),
        ("import sys; sys.exit('no host')", "SystemExit: no host"),
        ("import asyncio; raise asyncio.CancelledError('c')", "CancelledError: c"),
        (
            "class Own(BaseException):\n    def __str__(self): 1 / 0\nraise Own",
            "Own: (its message cannot be read)",
        ),
        (in_hook("raise BaseException('b')"), "BaseException: b"),
        (in_hook("import sys; sys.exit('s')"), "SystemExit: s"),
        (in_hook("register('odd', 'json:dumps', summary=3)"), "summary must be a string, got 3"),
        (in_hook("register(['odd'], 'json:dumps')"), "offers the planner ['odd']"),
        (in_hook("register('odd', None)"), "with the target None"),
    ],
)
def test_a_broken_plugin_is_reported_with_name_version_and_reason_and_the_others_load(
    installed, source, reason
):
    installed("a-broken", source, version="0.7")
    installed("b-good", GOOD.format(name="shooting"))
    with pytest.warns(PluginWarning) as caught:
        host = load()
    assert len(caught) == 1
    for part in ("'a-broken' (a-broken 0.7)", "broken", reason):
        assert part in str(caught[0].message)
    record = record_of(host, "a-broken")
    assert record.status == "broken"
    assert reason in record.error
    assert "\n" not in record.error
    assert "shooting" in host.registry("planners").names()
    assert "deep_spi" in host.registry("algorithms").names()


def test_a_broken_plugin_is_reported_once(installed):
    installed("a-broken", BROKEN_IMPORT)
    with pytest.warns(PluginWarning):
        host = load()
    host.records()  # a second warning would be an error here
    host.registry("planners")


def test_a_hook_that_raises_adds_nothing_and_leaves_the_plugins_other_hooks_in_use(installed):
    installed("half", BROKEN_HOOK)
    with pytest.warns(PluginWarning, match="ZeroDivisionError"):
        host = load()
    record = record_of(host, "half")
    assert record.status == "incomplete"
    assert record.provides == ("planners:half",)


def test_a_hook_that_fails_halfway_takes_back_what_it_registered(host):
    def register_planners(register):
        register("first", "json:dumps")
        raise RuntimeError("halfway")

    with pytest.raises(PluginLoadError, match="halfway"):
        host.register(plugin(register_planners=register_planners), "halfway")
    assert planners_of_others(host) == ()


def test_a_misspelled_hook_is_the_plugins_status_and_the_right_name_is_given(installed):
    installed("typo", MISSPELLED)
    with pytest.warns(PluginWarning, match=r"'register_algoritms'; did you mean 'register_algorithms'\?"):
        host = load()
    record = record_of(host, "typo")
    assert record.status == "incomplete"
    assert record.hooks == ("register_algoritms", "register_planners")
    assert record.provides == ("planners:spelled",)


def test_an_optional_hook_of_a_newer_version_is_no_fault(host):
    module = plugin(register_planners=lambda register: register("shooting", "json:dumps"))
    module.register_dreams = hookimpl(optionalhook=True)(lambda register: None)
    assert host.register(module, "newer").status == "loaded"


def test_an_argument_that_a_hooks_register_does_not_have_is_refused(host):
    module = plugin(register_planners=lambda register: register("shooting", "json:dumps", family=True))
    with pytest.raises(PluginLoadError, match=r"register_planners's register.. takes no argument family"):
        host.register(module, "odd")


def test_two_third_parties_that_want_one_name_are_both_named_and_neither_gets_it(installed):
    installed("a-first", GOOD.format(name="shooting"), version="1.1")
    installed("b-second", GOOD.format(name="shooting"), version="2.2")
    with pytest.warns(PluginWarning, match=r"b-second 2.2"):
        host = load()
    with pytest.raises(
        DuplicatePluginError, match=r"'a-first' \(a-first 1\.1\).*'b-second' \(b-second 2\.2\)"
    ):
        host.registry("planners").resolve("shooting")


def test_a_third_party_cannot_take_a_built_in_name(installed):
    source = GOOD.replace("register_planners", "register_algorithms").format(name="ppo")
    installed("usurper", source)
    with pytest.warns(PluginWarning, match=r"Plugin 'builtins'.*usurper 1\.0.*algorithm 'ppo'"):
        host = load()
    assert host.registry("algorithms").get("ppo").owner.plugin == "builtins"
    assert record_of(host, "usurper").status == "broken"


def test_two_distributions_with_a_plugin_of_one_name_are_both_named(installed):
    installed("dist-a", GOOD.format(name="one"), entry_points="[spi_plugins]\nsame = dist_a_module\n")
    installed("dist-b", GOOD.format(name="two"), entry_points="[spi_plugins]\nsame = dist_b_module\n")
    with pytest.warns(PluginWarning, match=r"dist-a 1\.0.*dist-b 1\.0.*same name"):
        host = load()
    assert planners_of_others(host) == ("one",)


def test_malformed_metadata_of_one_distribution_hides_no_other(installed):
    installed("a-mangled", "", entry_points="[spi_plugins]\nthis line has no equals sign\n")
    installed("b-good", GOOD.format(name="shooting"))
    with pytest.warns(PluginWarning, match="a-mangled"):
        host = load()
    assert "shooting" in host.registry("planners").names()


def test_an_entry_point_that_names_no_module_is_reported_with_its_distribution(installed):
    installed("a-mangled", "", entry_points="[spi_plugins]\na-mangled = not a module!\n")
    installed("b-good", GOOD.format(name="shooting"))
    with pytest.warns(PluginWarning, match=r"a-mangled 1\.0.*'package\.module:object', got 'not a module!'"):
        host = load()
    assert record_of(host, "a-mangled").status == "broken"
    assert "shooting" in host.registry("planners").names()


def test_entry_points_that_are_not_text_are_reported_with_their_distribution(installed, tmp_path):
    installed("a-binary", "")
    (tmp_path / "a_binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"[spi_plugins]\nx = \xff\xfe\n")
    installed("b-good", GOOD.format(name="shooting"))
    with pytest.warns(PluginWarning, match=r"a-binary 1\.0.*UnicodeDecodeError"):
        host = load()
    assert "shooting" in host.registry("planners").names()


def test_a_contested_family_takes_no_other_environment_down():
    def register_envs(register):
        register("arcade", lambda env_id, **kwargs: env_id, family=True)

    with plugin_sandbox(plugin(register_envs=register_envs)) as host:
        host.registry("envs").add(Registration("envs", "mine", "json:dumps", Owner("other"), family=True))
        host.registry("envs").contest("mine", DuplicatePluginError("both want it"))
        assert spi_plugins.make_env("arcade:Pong-v5") == "Pong-v5"


def test_a_distribution_that_is_found_twice_is_loaded_once(installed, tmp_path, monkeypatch):
    installed("spi-cem", GOOD.format(name="shooting"))
    again = tmp_path / "again"
    again.mkdir()
    (again / "spi_cem-0.1.dist-info").mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = (tmp_path / "spi_cem-1.0.dist-info" / name).read_text()
        (again / "spi_cem-0.1.dist-info" / name).write_text(text)
    monkeypatch.syspath_prepend(str(again))
    assert [record.name for record in load().records()].count("spi-cem") == 1


def test_plugins_are_switched_off_by_name_or_by_distribution(installed):
    installed("dist-a", GOOD.format(name="one"), entry_points="[spi_plugins]\nplugin-a = dist_a_module\n")
    installed("dist-b", GOOD.format(name="two"))
    installed("dist-c", GOOD.format(name="three"))
    host = load(SPI_DISABLE_PLUGINS=" dist-a , dist-b ")
    assert planners_of_others(host) == ("three",)
    record = record_of(host, "plugin-a")
    assert (record.status, record.error) == ("disabled", "switched off by SPI_DISABLE_PLUGINS")


def test_a_plugin_that_is_switched_off_is_not_even_imported(installed):
    installed("a-broken", BROKEN_IMPORT)
    assert record_of(load(SPI_DISABLE_PLUGINS="a-broken"), "a-broken").status == "disabled"


def test_only_the_named_plugins_are_loaded(installed):
    installed("dist-a", GOOD.format(name="one"))
    installed("dist-b", GOOD.format(name="two"))
    assert planners_of_others(load(SPI_LOAD_PLUGINS="dist-b")) == ("two",)


def test_an_empty_list_of_plugins_loads_none_but_the_built_ins(installed):
    installed("dist-a", GOOD.format(name="one"))
    host = load(SPI_LOAD_PLUGINS="")
    assert planners_of_others(host) == ()
    assert "deep_spi" in host.registry("algorithms").names()


def test_a_wanted_plugin_that_is_not_installed_is_reported():
    with pytest.warns(PluginWarning, match=r"'no-such'.*no such plugin is installed"):
        load(SPI_LOAD_PLUGINS="no-such")


def test_strict_raises_for_a_broken_plugin_and_again_for_the_next_question(installed):
    installed("a-broken", BROKEN_IMPORT)
    host = PluginHost(environ={"SPI_STRICT_PLUGINS": "1"})
    for _ in range(2):
        with pytest.raises(PluginLoadError, match=r"a-broken 1.0"):
            host.registry("algorithms")


def test_strict_raises_for_duplicates(installed):
    installed("a-first", GOOD.format(name="shooting"))
    installed("b-second", GOOD.format(name="shooting"))
    with pytest.raises(DuplicatePluginError, match=r"a-first.*b-second"):
        load(SPI_STRICT_PLUGINS="1")


def test_a_malformed_switch_is_an_error():
    with pytest.raises(ValueError, match="SPI_STRICT_PLUGINS must be 0 or 1, got 'yes'"):
        load(SPI_STRICT_PLUGINS="yes")


def test_a_plugin_added_by_hand_raises_for_a_duplicate_and_leaves_nothing(host):
    host.register(plugin(register_planners=lambda register: register("shooting", "json:dumps")), "first")
    second = plugin(
        register_planners=lambda register: register("shooting", "json:loads"),
        register_envs=lambda register: register("mine/E-v0", "json:loads"),
    )
    with pytest.raises(DuplicatePluginError, match="'first' and plugin 'second'"):
        host.register(second, "second")
    assert "mine/E-v0" not in host.registry("envs").names()
    assert host.registry("planners").get("shooting").owner.plugin == "first"
    assert [record.name for record in host.records()] == ["builtins", "first"]


def test_nothing_is_loaded_before_the_first_question(installed, tmp_path):
    installed(
        "spi-cem", f"open({str(tmp_path / 'imported')!r}, 'w').close()\n" + GOOD.format(name="shooting")
    )
    host = PluginHost(environ={})
    assert not (tmp_path / "imported").exists()
    host.registry("planners")
    assert (tmp_path / "imported").exists()


def test_a_plugin_may_list_names_while_it_is_imported(installed):
    installed("curious", "import spi_plugins\nspi_plugins.list_algorithms()\n" + GOOD.format(name="shooting"))
    with use_host(PluginHost(environ={})) as host:
        assert record_of(host, "curious").status == "loaded"


def test_many_threads_load_the_plugins_once(installed):
    installed("spi-cem", "import time; time.sleep(0.05)\n" + GOOD.format(name="shooting"))
    host = PluginHost(environ={})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(planners_of_others(host))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [("shooting",)] * 8


def test_a_sandbox_shows_its_plugins_and_ends():
    before = current_host()
    with plugin_sandbox(
        plugin(register_planners=lambda register: register("shooting", "json:dumps"))
    ) as host:
        assert current_host() is host
        assert "shooting" in spi_plugins.list_planners()
        assert spi_plugins.get_planner("shooting") is json.dumps
    assert current_host() is before
