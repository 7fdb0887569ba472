"""Plugins: modules with hooks, and distributions as pip would leave them in a folder."""

import types

from spi_plugins import hookimpl


def plugin(**hooks):
    """A module with the given functions as hook implementations."""
    module = types.ModuleType("test_plugin")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def install(folder, name, source, *, version="1.0", module=None, entry_points=None):
    """Write a module and the metadata that lets plugins be discovered; the folder must be on Python's path."""
    module = module or name.replace("-", "_")
    folder.joinpath(f"{module}.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    info.joinpath("entry_points.txt").write_text(entry_points or f"[spi_plugins]\n{name} = {module}\n")
