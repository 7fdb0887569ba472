"""Importing this module registers the environments of all plugins, dreams included, with Gymnasium.

Gymnasium imports the module before a colon: ``gymnasium.make("spi_plugins.gymnasium_ids:mine/MyDream-v0")``. Built-in
environments and the user's own dreams need only ``import spi_plugins``, which loads no plugin.
"""

import gymnasium

from spi_plugins import plugins


def register_plugin_envs() -> list[str]:
    """Register every plugin's environments that Gymnasium does not know yet, except families; return the new ids."""
    registry = plugins.registry("envs")
    new = [
        name for name in registry.names() if not registry.peek(name).family and name not in gymnasium.registry
    ]
    for name in new:
        gymnasium.register(
            id=name,
            entry_point="spi_wrappers.functional:make_registered",
            vector_entry_point="spi_wrappers.functional:make_registered_vec",
            kwargs={"env": name},
        )
    return new


register_plugin_envs()
