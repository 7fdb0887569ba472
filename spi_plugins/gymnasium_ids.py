"""Importing this registers the environments of other packages' plugins, dreams among them, with Gymnasium.

Gymnasium imports what stands before the colon: ``gymnasium.make("spi_plugins.gymnasium_ids:mine/MyDream-v0")``. The
built-in ones, and dreams that the user registered, need only ``import spi_plugins``, which loads no plugin.
"""

import gymnasium

from spi_plugins import plugins


def register_plugin_envs() -> list[str]:
    """Register every plugin's environments that Gymnasium does not know; families are left out.

    Returns:
        The ids that are new.
    """
    registry = plugins.registry("envs")
    new = [
        name for name in registry.names() if not registry.get(name).family and name not in gymnasium.registry
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
