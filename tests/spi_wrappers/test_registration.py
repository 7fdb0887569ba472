"""Gymnasium's registry after ``import spi_wrappers``, each time in a fresh Python."""

import json
import subprocess
import sys

import gymnasium

import spi_plugins
import spi_wrappers
from spi_integrations.jax_families import JAX_FAMILIES
from spi_wrappers.cost.velocity_envs import VELOCITY_IDS
from spi_wrappers.registration import FUNCTIONAL_IDS, register_ids

# A stand-in for a machine without JAX and torch: importing either fails.
BLOCK = """
import sys
for name in ("jax", "jaxlib", "flax", "optax", "torch", "stable_baselines3"):
    sys.modules[name] = None
"""
SPECS = """
import gymnasium, json
print(json.dumps({name: spec.to_json() for name, spec in gymnasium.registry.items() if name.startswith("spi/")}))
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ids_are_registered_without_jax_and_torch():
    specs = json.loads(run(f"{BLOCK}\nimport spi_wrappers\n{SPECS}"))
    assert set(FUNCTIONAL_IDS) <= set(specs)
    for name in FUNCTIONAL_IDS:
        spec = json.loads(specs[name])
        assert spec["entry_point"] == "spi_wrappers.functional:FunctionalGymEnv"
        assert spec["vector_entry_point"] == "spi_wrappers.functional:FunctionalVectorEnv"
        assert spec["kwargs"] == {"env": name}


def test_spi_plugins_registers_the_functional_ones_in_the_same_way():
    by_plugins = json.loads(run(f"import spi_plugins\n{SPECS}"))
    by_wrappers = json.loads(run(f"import spi_wrappers\n{SPECS}"))
    assert set(FUNCTIONAL_IDS) <= set(by_plugins)
    assert by_plugins.items() <= by_wrappers.items()


def test_both_registries_know_the_tasks_of_one_table():
    families = {"envpool", *JAX_FAMILIES}
    assert set(FUNCTIONAL_IDS) | set(VELOCITY_IDS.values()) | families == set(spi_plugins.list_envs())


def test_both_packages_may_be_imported_in_either_order_and_again():
    for code in (
        "import spi_plugins, spi_wrappers",
        "import spi_wrappers, spi_plugins",
        "import importlib, spi_wrappers; importlib.reload(spi_wrappers)",
    ):
        assert json.loads(run(f"{code}\n{SPECS}"))


def test_ids_that_are_there_are_left_alone():
    assert spi_wrappers.__doc__
    before = {name: gymnasium.spec(name) for name in FUNCTIONAL_IDS}
    register_ids()
    assert all(gymnasium.spec(name) is spec for name, spec in before.items())


def test_a_fresh_process_makes_them_by_module_and_id():
    code = (
        "import gymnasium\n"
        "print(gymnasium.make('spi_wrappers:spi/CostCartPole-v0', threshold=1.0).reset(seed=0)[1])"
    )
    assert run(code) == "{'cost': 0.0}"
