"""What is said where safety-gymnasium, or a picture, cannot be had."""

import ctypes.util
import importlib.metadata
import importlib.util
import os
import subprocess
import sys

import gymnasium as gym
import pytest

from spi_integrations.safety_gymnasium import installation, make_env
from spi_plugins.errors import MissingDependencyError

HIDDEN = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")


def run(code, **environ):
    """A fresh Python without a display."""
    env = {key: value for key, value in os.environ.items() if key not in HIDDEN} | environ
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)


def test_a_fresh_process_makes_a_task_by_module_and_id_or_after_either_import():
    code = (
        "import sys, gymnasium\n"
        "{}\n"
        "heavy = [name for name in ('jax', 'torch', 'mujoco', 'safety_gymnasium', 'yaml') if name in sys.modules]\n"
        "print(heavy, gymnasium.make('{}spi/SafetyPointGoal1-v0').reset(seed=0)[1])"
    )
    told = "[] {'cost': 0.0, 'cost_terms': {'hazards': 0.0}}\n"
    assert run(code.format("", "spi_integrations.safety_gymnasium:")).stdout == told
    for package in ("spi_plugins", "spi_wrappers", "spi_integrations.safety_gymnasium"):
        assert run(code.format(f"import {package}", "")).stdout == told


def test_a_missing_safety_gymnasium_is_an_error_with_both_commands():
    code = (
        "import sys; sys.modules['safety_gymnasium'] = None\n"
        "import gymnasium, spi_wrappers; gymnasium.make('spi/SafetyPointGoal1-v0')"
    )
    error = run(code).stderr
    assert "MissingDependencyError: SafetyPointGoal1-v0 needs safety-gymnasium 1.0.0" in error
    assert 'pip install "spi-plugins[safety]"\n' in error
    assert "pip install --no-deps safety-gymnasium==1.0.0" in error


def test_a_damaged_safety_gymnasium_is_an_error_with_both_commands(tmp_path):
    tmp_path.joinpath("safety_gymnasium").mkdir()
    tmp_path.joinpath("safety_gymnasium", "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import gymnasium, spi_wrappers; gymnasium.make('spi/SafetyPointGoal1-v0')"
    )
    error = run(code).stderr
    assert "MissingDependencyError: The installed safety-gymnasium cannot be imported" in error
    assert "pip install --no-deps safety-gymnasium==1.0.0" in error


def test_a_missing_companion_is_an_error_with_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xmltodict" else find(name))
    with pytest.raises(MissingDependencyError, match=r'needs xmltodict.*pip install "spi-plugins\[safety\]"'):
        make_env("SafetyPointGoal1-v0")


@pytest.fixture
def versions(monkeypatch):
    """Pretend that other versions are installed."""
    version = importlib.metadata.version

    def pretend(**pretended):
        names = {name.replace("_", "-"): number for name, number in pretended.items()}
        monkeypatch.setattr(importlib.metadata, "version", lambda name: names.get(name) or version(name))

    return pretend


def test_a_mujoco_that_corrupts_arrays_is_refused(versions):
    versions(mujoco="3.1.3", numpy="2.0.0")
    with pytest.raises(MissingDependencyError, match=r"MuJoCo 3\.1\.3 silently corrupts NumPy 2's arrays"):
        installation.check("SafetyPointGoal1-v0")
    versions(mujoco="3.1.4", numpy="2.0.0")
    installation.check("SafetyPointGoal1-v0")
    versions(mujoco="2.3.3", numpy="1.26.4")
    installation.check("SafetyPointGoal1-v0")


def test_a_racecar_that_drives_farther_is_warned_of(versions):
    versions(mujoco="3.15.0")
    installation.check("SafetyPointGoal1-v0")
    with pytest.warns(UserWarning, match=r"SafetyRacecarGoal1-v0: since MuJoCo 3\.15.*mujoco<3\.15"):
        installation.check("SafetyRacecarGoal1-v0")


def test_another_version_of_safety_gymnasium_is_warned_of(versions):
    versions(safety_gymnasium="1.2.0")
    with pytest.warns(UserWarning, match=r"safety-gymnasium 1\.2\.0 is untested.*--no-deps"):
        installation.check("SafetyPointGoal1-v0")


def test_upstreams_own_interface_says_what_to_use_instead():
    make_env("SafetyPointGoal1-v0")
    import safety_gymnasium

    with pytest.raises(
        AttributeError, match=r"safety_gymnasium\.make: .*gymnasium\.make\(\"spi/SafetyPointGoal1-v0"
    ):
        _ = safety_gymnasium.make
    assert importlib.util.find_spec("safety_gymnasium.builder") is not None
    assert not hasattr(safety_gymnasium, "__version__")


DRAW = """
import gymnasium, numpy, spi_wrappers
for name, kwargs in (
    ("spi/SafetyPointGoal1-v0", {"camera_name": "fixedfar"}), ("spi/SafetyHopperVelocity-v1", {}),
):
    env = gymnasium.make(name, render_mode="rgb_array", width=96, height=64, **kwargs)
    pictures = []
    for seed in (0, 1):
        env.reset(seed=seed)
        for _ in range(3):
            env.step(numpy.ones(env.action_space.shape))
        pictures.append(env.render())
    env.close()
    env.close()
    differ = not numpy.array_equal(*pictures)
    print(pictures[0].shape, pictures[0].dtype, pictures[0].flags.c_contiguous, differ, pictures[1].std() > 1)
env = gymnasium.make("spi/SafetyPointRace1Vision-v0")
observation, _ = env.reset(seed=0)
print(env.observation_space.contains(observation), observation["vision"].std() > 1)
env.close()
"""


def test_pictures_are_drawn_without_a_display():
    done = run(DRAW, MUJOCO_GL="egl")
    if ctypes.util.find_library("EGL") is None:
        assert "No picture can be drawn" in done.stderr
        return
    assert done.stdout == "(64, 96, 3) uint8 True True True\n" * 2 + "True True\n", done.stderr


@pytest.mark.parametrize("task", ["SafetyPointGoal1-v0", "SafetyHopperVelocity-v1"])
def test_without_a_display_the_error_names_the_variable_to_set(task):
    code = (
        "import gymnasium, spi_wrappers\n"
        f"env = gymnasium.make('spi/{task}', render_mode='rgb_array', disable_env_checker=True)\n"
        "env.reset(seed=0); env.render()"
    )
    error = run(code).stderr
    assert "RuntimeError: No picture can be drawn" in error
    assert "MUJOCO_GL=egl" in error
    assert "MUJOCO_GL is not set" in error


def test_lists_of_pictures_are_offered():
    env = gym.make("spi/SafetyPointGoal1-v0", render_mode="rgb_array_list")
    assert (env.render_mode, env.unwrapped.render_mode) == ("rgb_array_list", "rgb_array")
