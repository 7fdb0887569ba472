import types

import pytest
import torch

from spi_plugins import hookimpl
from spi_plugins.cli import main
from spi_plugins.testing import plugin_sandbox

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
