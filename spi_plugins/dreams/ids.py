"""Dreams by name: Gymnasium ids for world-model files.

``register_dream`` makes an id for this process; ``remember_dream`` also writes it to the user's ``dreams.json``, which
``import spi_plugins`` reads. Neither imports JAX.
"""

import json
import os
import pathlib
import warnings
from typing import Any

import gymnasium

from spi_plugins.archive import existing_file, write_atomically

#: The dream that takes its model as an argument.
DREAM_ID = "spi/Dream-v0"
# No list of names and paths is that long.
_MAX_BYTES = 2**24
DREAM_ENTRY = "spi_wrappers.dream:DreamEnv"
_ENTRY: dict[str, Any] = {
    "entry_point": DREAM_ENTRY,
    "vector_entry_point": "spi_wrappers.dream:DreamVectorEnv",
}


def register_dream(name: str, model: str | os.PathLike[str], **options: Any) -> None:
    """Register a dream with Gymnasium for this process, so that ``make`` and ``make_vec`` find it.

    Args:
        name: a Gymnasium id, such as ``"MyDream-v0"`` or ``"mine/MyDream-v0"``.
        model: path of the world-model file, which must exist.
        **options: arguments of ``spi_wrappers.DreamEnv``, such as ``horizon=30``; ``gymnasium.make`` may override them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name is taken.
        gymnasium.error.Error: the name is not a Gymnasium id.
    """
    _register(name, str(existing_file(model, "world model").resolve()), options)


def check_dream_name(name: str) -> None:
    """Refuse a name that ``remember_dream`` cannot register.

    Raises:
        ValueError: the name belongs to something else, or is not a Gymnasium id.
    """
    try:
        gymnasium.envs.registration.parse_env_id(name)
    except gymnasium.error.Error as error:
        raise ValueError(f"The name {name!r} is not a Gymnasium id such as 'MyDream-v0': {error}") from error
    if name in gymnasium.registry and name not in remembered_dreams():
        raise ValueError(f"The id {name!r} is taken by {gymnasium.registry[name].entry_point}.")


def locate_world_model(model: str | os.PathLike[str]) -> pathlib.Path:
    """The file that a path or the name of a registered dream stands for.

    Raises:
        FileNotFoundError: ``model`` is neither.
    """
    spec = gymnasium.registry.get(str(model))
    if spec is not None and "model" in spec.kwargs:
        return pathlib.Path(spec.kwargs["model"])
    try:
        return existing_file(model, "world model")
    except FileNotFoundError as error:
        dreams = (name for name, spec in gymnasium.registry.items() if spec.entry_point == DREAM_ENTRY)
        names = sorted(name for name in dreams if name != DREAM_ID)
        raise FileNotFoundError(
            f"model={str(model)!r} is neither a world-model file nor a registered dream; registered: "
            f"{', '.join(names) or 'none'}."
        ) from error


def _register(name: str, path: str, options: dict[str, Any]) -> None:
    if name in gymnasium.registry:
        held = gymnasium.registry[name].kwargs
        if held == {"model": path, **options}:
            return
        raise ValueError(f"The id {name!r} is taken: {gymnasium.registry[name].entry_point} with {held}.")
    gymnasium.register(id=name, kwargs={"model": path, **options}, **_ENTRY)


def dreams_file() -> pathlib.Path:
    """The file of the user's dreams: ``$SPI_DREAMS``, or ``dreams.json`` in the configuration folder.

    Raises:
        FileNotFoundError: the user has no home folder, and no environment variable names another place.
    """
    named = os.environ.get("SPI_DREAMS")
    if named:
        return pathlib.Path(named)
    try:
        base = pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config")
    except RuntimeError as error:  # containers run as users without a home folder
        raise FileNotFoundError(
            "No home folder to keep dreams in: set SPI_DREAMS or XDG_CONFIG_HOME."
        ) from error
    return base / "spi-plugins" / "dreams.json"


def remembered_dreams() -> dict[str, dict[str, Any]]:
    """The user's dreams: each name with its ``{"model": path, **options}``.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        file = dreams_file()
    except FileNotFoundError:
        return {}
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        stored = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}. Fix or delete it.") from error
    if not isinstance(stored, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("model"), str) for entry in stored.values()
    ):
        raise ValueError(
            f"{dreams_file()} must hold an object of objects, each with a path as its 'model'. Fix or delete it."
        )
    return stored


def remember_dream(name: str, model: str | os.PathLike[str], **options: Any) -> None:
    """Register a dream for this process and later ones, in place of any dream remembered under the same name.

    Args:
        name: as in ``register_dream``.
        model: as in ``register_dream``.
        **options: as in ``register_dream``, but only JSON values.

    Raises:
        FileNotFoundError: the world-model file does not exist.
        ValueError: the name belongs to something else, or the file of dreams is damaged.
    """
    kept = remembered_dreams()
    if name in kept:
        gymnasium.registry.pop(name, None)
    register_dream(name, model, **options)
    kept[name] = dict(gymnasium.registry[name].kwargs)
    _write(kept)


def forget_dream(name: str) -> None:
    """Remove a dream from the user's file and from this process.

    Raises:
        KeyError: no dream is remembered under that name.
    """
    kept = remembered_dreams()
    if name not in kept:
        known = ", ".join(sorted(kept)) or "none"
        raise KeyError(f"No dream is remembered under the name {name!r}; remembered: {known}.")
    del kept[name]
    gymnasium.registry.pop(name, None)
    _write(kept)


def _write(dreams: dict[str, dict[str, Any]]) -> None:
    text = json.dumps(dreams, indent=1, sort_keys=True) + "\n"
    write_atomically(dreams_file(), text.encode())


def register_remembered_dreams() -> None:
    """Register ``DREAM_ID`` and the user's dreams with Gymnasium; warn of a damaged file or entry."""
    if DREAM_ID not in gymnasium.registry:
        gymnasium.register(id=DREAM_ID, **_ENTRY)
    problems, dreams = [], {}
    try:
        dreams = remembered_dreams()
    except (ValueError, OSError) as error:
        problems.append(str(error))
    for name, entry in dreams.items():
        try:
            _register(name, entry["model"], {key: value for key, value in entry.items() if key != "model"})
        except Exception as error:  # whatever is in the user's file, the package can be imported
            problems.append(f"{name!r}: {error}")
    if problems:
        shown = " ".join(problems[:5]) + (f" And {len(problems) - 5} more." if len(problems) > 5 else "")
        warnings.warn(
            f"The dreams in {dreams_file()} are not all registered: {shown}", UserWarning, stacklevel=2
        )
