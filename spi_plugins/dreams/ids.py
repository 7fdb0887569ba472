"""Dreams by name: where a world model's file is, and the functional environment that is dreamt of it.

``register_dream`` makes a Gymnasium id for this process; ``remember_dream`` also keeps it in a file of the user's,
which ``import spi_plugins`` reads. Neither imports JAX.
"""

import json
import os
import pathlib
import warnings
from typing import Any

import gymnasium

#: The dream whose model is an argument.
DREAM_ID = "spi/Dream-v0"
_ENTRY: dict[str, Any] = {
    "entry_point": "spi_wrappers.dream:DreamEnv",
    "vector_entry_point": "spi_wrappers.dream:DreamVectorEnv",
}


def register_dream(name: str, model: str | os.PathLike[str], **options: Any) -> None:
    """Make ``gymnasium.make(name)`` a dream, and ``make_vec`` its vector environment, in this process.

    Args:
        name: as in Gymnasium, ``"MyDream-v0"`` or ``"mine/MyDream-v0"``.
        model: path of the world model's file, which must exist.
        **options: of ``spi_wrappers.DreamEnv``, such as ``horizon=30``; ``gymnasium.make`` may override them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is taken.
        gymnasium.error.Error: the name is no Gymnasium id.
    """
    from spi_plugins.archive import zip_path  # here, because `import spi_plugins` reads this module

    file = zip_path(pathlib.Path(model), for_reading=True)
    if not file.is_file():
        raise FileNotFoundError(f"There is no world model file {file}.")
    _register(name, str(file.resolve()), options)


def _register(name: str, path: str, options: dict[str, Any]) -> None:
    if name in gymnasium.registry:
        held = gymnasium.registry[name].kwargs
        if held == {"model": path, **options}:
            return
        raise ValueError(f"The id {name!r} is taken: {gymnasium.registry[name].entry_point} with {held}.")
    gymnasium.register(id=name, kwargs={"model": path, **options}, **_ENTRY)


def dreams_file() -> pathlib.Path:
    """Where the user's dreams are kept: ``$SPI_DREAMS``, else ``dreams.json`` in the configuration folder."""
    named = os.environ.get("SPI_DREAMS")
    if named:
        return pathlib.Path(named)
    base = pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config")
    return base / "spi-plugins" / "dreams.json"


def remembered_dreams() -> dict[str, dict[str, Any]]:
    """The user's dreams: name to ``{"model": path, **options}``.

    Raises:
        ValueError: the file is no JSON object of objects.
    """
    file = dreams_file()
    if not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is damaged: {error}. Mend or delete it.") from error
    if not isinstance(stored, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("model"), str) for entry in stored.values()
    ):
        raise ValueError(f"{file} must hold an object of objects with a path as 'model'. Mend or delete it.")
    return stored


def remember_dream(name: str, model: str | os.PathLike[str], **options: Any) -> None:
    """``register_dream``, and keep it for later processes; a name that was kept before is replaced.

    Args:
        name: as in ``register_dream``.
        model: as there.
        **options: as there, what JSON can hold.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: something else has the name, or the user's file is damaged.
    """
    kept = remembered_dreams()
    if name in kept:
        gymnasium.registry.pop(name, None)
    register_dream(name, model, **options)
    kept[name] = dict(gymnasium.registry[name].kwargs)
    _write(kept)


def forget_dream(name: str) -> None:
    """Take a dream out of the user's file, and its id out of this process.

    Raises:
        KeyError: there is none of that name.
    """
    kept = remembered_dreams()
    if name not in kept:
        known = ", ".join(sorted(kept)) or "none"
        raise KeyError(f"No dream is kept under the name {name!r}; there is: {known}.")
    del kept[name]
    gymnasium.registry.pop(name, None)
    _write(kept)


def _write(dreams: dict[str, dict[str, Any]]) -> None:
    from spi_plugins.archive import write_atomically

    text = json.dumps(dreams, indent=1, sort_keys=True) + "\n"
    write_atomically(dreams_file(), memoryview(text.encode()))


def register_remembered_dreams() -> None:
    """Register ``DREAM_ID`` and the user's dreams with Gymnasium; a damaged file is a warning."""
    if DREAM_ID not in gymnasium.registry:
        gymnasium.register(id=DREAM_ID, **_ENTRY)
    try:
        for name, entry in remembered_dreams().items():
            options = {key: value for key, value in entry.items() if key != "model"}
            _register(name, entry["model"], options)
    except (ValueError, OSError, gymnasium.error.Error) as error:
        warnings.warn(f"The user's dreams are not all registered: {error}", UserWarning, stacklevel=2)
