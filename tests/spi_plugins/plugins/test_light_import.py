"""What an import costs, each in a fresh Python."""

import json
import os
import subprocess
import sys

import pytest
from plugin_packages import install

import spi_plugins

HEAVY = ("jax", "jaxlib", "flax", "torch", "stable_baselines3", "envpool", "matplotlib")


def run(code, **environ):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    "use",
    [
        "",
        "spi_plugins.list_algorithms(); spi_plugins.list_envs(); spi_plugins.list_planners()",
        "spi_plugins.list_world_models(); spi_plugins.list_wrappers()",
        "from spi_plugins.plugins import current_host; current_host().records()",
        "dir(spi_plugins)",
    ],
    ids=["import", "algorithms", "world models", "records", "dir"],
)
def test_listing_imports_neither_jax_nor_torch(use):
    code = f"import spi_plugins, sys\n{use}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_importing_loads_no_plugin(tmp_path):
    install(tmp_path, "eager", "raise RuntimeError('loaded too early')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = run("import spi_plugins; print('imported'); spi_plugins.list_algorithms()", PYTHONPATH=path)
    assert done.stdout.strip() == "imported"
    assert (
        "PluginWarning: Plugin 'eager' (eager 1.0) is broken: RuntimeError: loaded too early" in done.stderr
    )


def test_importing_registers_the_gymnasium_ids_also_when_it_is_reloaded():
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import importlib, json, sys, gymnasium, spi_plugins\n"
        "importlib.reload(spi_plugins)\n"
        "del sys.modules['spi_plugins']; import spi_plugins\n"
        "print(json.dumps([gymnasium.spec(i).to_json() for i in ('spi/CartPole-v0', 'spi/PixelGoal-v0')]))"
    )
    specs = [json.loads(text) for text in json.loads(run(code).stdout)]
    assert [spec["kwargs"] for spec in specs] == [{"env": "spi/CartPole-v0"}, {"env": "spi/PixelGoal-v0"}]
    assert {spec["entry_point"] for spec in specs} == {"spi_wrappers.functional:FunctionalGymEnv"}


def test_an_attribute_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'spi_plugins' has no attribute 'DeepSPY'"):
        _ = spi_plugins.DeepSPY


def test_all_is_what_is_public():
    public = {name for name in vars(spi_plugins) if not name.startswith("_")}
    submodules = {name for name in public if f"spi_plugins.{name}" in sys.modules}
    imports = {
        "annotations",
        "TYPE_CHECKING",
        "Any",
        "gymnasium",
        "importlib",
        "inspect",
        "register_remembered_dreams",
    }
    lazy = {
        *("DeepMDP", "DeepSPI", "DreamSPI", "PPO", "PlannerPolicy", "SPOWL", "TDMPC2"),
        *(
            "calibrate_costs",
            "distill_plans",
            "export_policy",
            "fit_world_model",
            "learn_together",
            "load_world_model",
            "open_dream",
        ),
    }
    expected = (public - submodules - imports) | lazy | {"__version__"}
    assert set(spi_plugins.__all__) == expected
    assert len(spi_plugins.__all__) == len(set(spi_plugins.__all__))


def test_the_lazy_names_resolve():
    for name in spi_plugins.__all__:
        assert getattr(spi_plugins, name) is not None
