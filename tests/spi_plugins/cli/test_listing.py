import json

import gymnasium

from spi_plugins import builtins


def test_algorithms_come_with_summary_and_plugin(spi):
    lines = spi("list", "algorithms").out.splitlines()
    assert lines[0].split() == ["NAME", "SUMMARY", "PLUGIN"]
    assert any(line.startswith("deep_spi ") and line.endswith("builtins") for line in lines)


def test_a_family_shows_that_an_id_follows(spi):
    assert "envpool:... " in spi("list", "envs").out


def test_families_show_how_many_ids_they_have_and_list_them(spi, own_dreams):
    gymnasium.register(
        "mine/Cart-v0", entry_point="spi_wrappers.dream:DreamEnv", kwargs={"model": "cart.zip"}
    )
    rows = {line.split()[0]: line.split()[1:] for line in spi("list", "envs").out.splitlines() if line}
    assert rows["safety"] == ["232", "spi/SafetyPointGoal0-v0"]
    assert rows["dreams"] == ["1", "mine/Cart-v0"]
    assert rows["classic_control"][1] == "CartPole-v1"
    assert rows["atari"][0] == "57"
    assert spi("list", "envs", "dreams").out == "mine/Cart-v0\n"
    assert "envpool:Breakout-v5" in json.loads(spi("list", "envs", "atari", "--json").out)


def test_json_has_every_field(spi):
    entries = json.loads(spi("list", "envs", "--json").out)
    assert {"name", "summary", "target", "plugin", "family"} == set(entries[0])
    assert {entry["name"]: entry["family"] for entry in entries}["envpool"] is True


def test_what_nobody_registers_is_said_to_be_none(spi, plugin, monkeypatch):
    only_commands = plugin("builtins", register_commands=builtins.register_commands)
    monkeypatch.setattr("spi_plugins.plugins.host.builtins", only_commands)
    assert spi("list", "planners").out == "No planners are registered.\n"
    assert json.loads(spi("list", "planners", "--json").out) == []


def test_a_plugins_planners_wrappers_world_models_and_callbacks_are_listed(spi, plugin):
    mine = plugin(
        register_planners=lambda register: register("my_cem", "json:dumps", summary="Searches"),
        register_wrappers=lambda register: register("my_wrapper", "json:dumps"),
        register_world_models=lambda register: register("my_rssm", "json:dumps"),
        register_callbacks=lambda register: register("my_callback", len),
    )
    for kind, name in (
        ("planners", "my_cem"),
        ("wrappers", "my_wrapper"),
        ("world-models", "my_rssm"),
        ("callbacks", "my_callback"),
    ):
        assert name in spi("list", kind, plugins=[mine]).out
        assert name in [
            entry["name"] for entry in json.loads(spi("list", kind, "--json", plugins=[mine]).out)
        ]


def test_plugins_show_package_status_and_what_they_provide(spi, plugin):
    mine = plugin(register_planners=lambda register: register("my_cem", "json:dumps"))
    lines = spi("plugins", plugins=[mine]).out.splitlines()
    assert lines[1].startswith("builtins")
    assert lines[2].split() == ["test_plugin", "-", "loaded", "planners:my_cem"]


def test_plugins_as_json_are_the_records(spi, plugin):
    mine = plugin(register_planners=lambda register: register("my_cem", "json:dumps"))
    record = json.loads(spi("plugins", "--json", plugins=[mine]).out)[-1]
    assert record == {
        "name": "test_plugin",
        "distribution": None,
        "version": None,
        "status": "loaded",
        "error": "",
        "hooks": ["register_planners"],
        "provides": ["planners:my_cem"],
    }
