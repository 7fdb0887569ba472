import os
import pathlib
import shutil
import signal
import types

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins import hookimpl
from spi_plugins.cli import main
from spi_plugins.testing import plugin_sandbox

RUN = pathlib.Path("runs/sb3_ppo/CartPole-v1_1")
# Tiny networks on many threads wait for one another most of the time.
torch.set_num_threads(1)


def make_plugin(name="test_plugin", **hooks):
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    return module


@pytest.fixture
def spi(capsys, tmp_path, monkeypatch):
    """Runs ``spi`` in an empty folder with the given plugins; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words, plugins=()):
        with plugin_sandbox(*plugins):
            code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return types.SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def plugin():
    """Builds a plugin object from hook functions."""
    return make_plugin


class PressCtrlC(BaseCallback):
    def __init__(self, at, times=1):
        super().__init__()
        self.at, self.times = at, times

    def _on_step(self):
        if self.n_calls == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return True


class Fail(BaseCallback):
    """Breaks a run at a step, in one of several ways."""

    def __init__(self, at, how):
        super().__init__()
        self.at, self.how = at, how

    def _on_step(self):
        if self.n_calls == self.at:
            if self.how == "folder":
                shutil.rmtree(RUN)
            else:
                raise {
                    "disk": OSError(28, "No space left on device"),
                    "worker": EOFError(),
                    "exit": SystemExit("no host"),
                    "own": BaseException("mine"),
                }[self.how]
        return True


@pytest.fixture
def train(spi, plugin):
    """``spi`` with Stable-Baselines3's PPO as ``sb3_ppo``, and callbacks that press Ctrl-C or fail."""

    def register_callbacks(register):
        register("ctrl_c", PressCtrlC)
        register("fail", Fail)
        register("odd", lambda: 3)

    module = plugin(
        register_algorithms=lambda register: register("sb3_ppo", "stable_baselines3:PPO"),
        register_callbacks=register_callbacks,
    )
    return lambda *words, plugins=(): spi(*words, plugins=[module, *plugins])
