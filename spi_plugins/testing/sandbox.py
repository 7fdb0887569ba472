"""A plugin host for a test, independent of what else is installed."""

import contextlib
from collections.abc import Iterator

from spi_plugins.plugins import PluginHost, use_host


@contextlib.contextmanager
def plugin_sandbox(*plugins: object) -> Iterator[PluginHost]:
    """Run a block with the built-ins and the given plugins, and no installed ones.

    Inside the block ``spi_plugins.make``, ``spi_plugins.list_algorithms``, the ``spi`` command and the like
    see what the plugins offer; afterwards everything is restored. As a pytest fixture::

        @pytest.fixture
        def my_plugin():
            with plugin_sandbox(my_package.plugin) as host:
                yield host

    Args:
        *plugins: modules or objects with functions marked by ``@hookimpl``.

    Yields:
        The host; its ``records()`` and ``registry(kind)`` show what was registered.

    Raises:
        PluginLoadError: a plugin has an unknown hook, a hook that raises, or no hook at all.
        DuplicatePluginError: a name is taken.
    """
    host = PluginHost(discover=False, environ={})
    for number, plugin in enumerate(plugins):
        host.register(plugin, getattr(plugin, "__name__", f"{type(plugin).__name__}-{number}"))
    with use_host(host):
        yield host
