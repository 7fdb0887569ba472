"""``spi doctor``: packages, plugins, GPU and cache, with the commands that mend them."""

import importlib.metadata
import json
import types

import pytest

from spi_plugins import plugins
from spi_plugins.cli import doctor

REQUIRES = [
    "gymnasium>=1,<2",
    "numpy>=2",
    "mujoco>=3; extra == 'safety'",
    "huggingface_hub>=1,<3; extra == 'hub'",
    "never; extra == 'hub' and sys_platform == 'amiga'",
    "pytest; extra == 'dev'",
]
VERSIONS = {"gymnasium": "1.4.0", "numpy": "2.1.0", "mujoco": "3.2.0", "huggingface_hub": "1.2"}


@pytest.fixture
def installed(monkeypatch):
    """Replace the installed packages; returns their versions by name, to be changed."""
    versions = dict(VERSIONS)

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    def metadata(name):
        return types.SimpleNamespace(get_all=lambda key: ["safety", "hub", "dev"])

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(importlib.metadata, "metadata", metadata)
    return versions


def test_the_second_step_of_safety_gymnasium_is_told(installed):
    core, safety, hub = doctor.installed_parts()
    assert core.is_sound
    assert hub.is_sound
    assert safety.commands == ["pip install --no-deps safety-gymnasium==1.0.0"]
    assert [str(package) for package in safety.packages] == ["mujoco 3.2.0", "safety-gymnasium is missing"]
    installed["safety-gymnasium"] = "1.0.0"
    assert doctor.installed_parts()[1].commands == []
    del installed["mujoco"]
    assert doctor.installed_parts()[1].commands == ["pip install 'spi-plugins[safety]'"]


def test_a_missing_extra_leaves_the_core_sound_and_a_wrong_version_does_not(spi, installed):
    del installed["huggingface_hub"]
    done = spi("doctor")
    assert done.code == 0, done.err
    assert "missing  hub      'spi hub': huggingface_hub is missing\n" in done.out
    assert "           pip install 'spi-plugins[hub]'\n" in done.out
    installed["numpy"] = "1.26.4"
    done = spi("doctor")
    assert done.code == 1
    assert "wrong    numpy 1.26.4 must be >=2\n           pip install -U spi-plugins\n" in done.out


def test_json_has_everything_and_failed_plugins_are_named(spi, monkeypatch):
    record = plugins.PluginRecord("broken", "spi-broken", "0.3", "broken", "RuntimeError: no planner today")
    monkeypatch.setattr(plugins.PluginHost, "records", lambda host: [record])
    assert "  broken  plugin 'broken' (spi-broken 0.3): RuntimeError: no planner today\n" in spi("doctor").out
    done = spi("doctor", "--json")
    report = json.loads(done.out)
    assert {package["name"] for package in report["core"]["packages"]} >= {"jax", "gymnasium", "flax"}
    assert all(package["version"] for package in report["core"]["packages"])
    (failed,) = report["plugins"]
    assert "no planner today" in failed["error"]
    assert report["jax"]["devices"]
    assert report["jax"]["gpu"] or report["jax"]["why"]
    assert report["compile_cache"]["bytes"] >= 0


def test_a_broken_jax_is_reported_and_fails(spi, monkeypatch):
    broken = {"version": None, "devices": [], "gpu": False, "why": "no driver", "error": "jaxlib is too old"}
    monkeypatch.setattr(doctor, "probe_jax", lambda: broken)
    done = spi("doctor")
    assert done.code == 1
    assert "  broken   jaxlib is too old\n  no GPU   no driver\n" in done.out


@pytest.mark.parametrize(
    ("environment", "packages", "reason"),
    [
        ({"JAX_PLATFORMS": "cpu"}, {}, "JAX_PLATFORMS=cpu allows none: unset JAX_PLATFORMS"),
        ({"CUDA_VISIBLE_DEVICES": ""}, {}, "CUDA_VISIBLE_DEVICES hides all"),
        ({}, {"jaxlib": "0.10"}, "jaxlib has no CUDA plugin: pip install -U 'spi-plugins[cuda]'"),
        (
            {},
            {"jaxlib": "0.10", "jax-cuda12-plugin": "0.9"},
            "jax-cuda12-plugin 0.9 does not fit jaxlib 0.10",
        ),
        ({"JAX_PLATFORMS": "cuda,cpu"}, {"jaxlib": "1", "jax-cuda12-plugin": "1"}, "CUDA did not start"),
    ],
)
def test_why_there_is_no_gpu(installed, monkeypatch, environment, packages, reason):
    installed.update(packages)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert reason in doctor.why_no_gpu(environment)


def test_without_a_driver_that_is_the_reason(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.pathlib.Path, "exists", lambda path: False)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor.why_no_gpu({}) == "this machine has no NVIDIA driver"


def test_every_extra_for_users_is_explained(request):
    import tomllib

    project = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())["project"]
    assert set(doctor._PURPOSES) == set(project["optional-dependencies"]) - {"cuda", "dev"}
