"""Copies and pickles of models and policies, through the model file: no environment, no replay buffer, no memory."""

import io
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from spi_plugins import plugins
from spi_plugins.algorithms.devices import resolve_devices
from spi_plugins.algorithms.model_file import read_model_file
from spi_plugins.archive import PathOrFile
from spi_plugins.errors import ModelFileError
from spi_plugins.planners.planner import Planner

if TYPE_CHECKING:
    from spi_plugins.algorithms.base import JaxAlgorithm


def reduce_model(model: "JaxAlgorithm") -> tuple[Any, ...]:
    """What ``copy`` and ``pickle`` store of a model: its file, and the objects that a file cannot hold."""
    objects: dict[str, Any] = {
        name: getattr(model, name)
        for name in model.stored_arguments
        if (name in model.schedules and callable(getattr(model, name)))
        or isinstance(getattr(model, name), Planner)
    }
    file = io.BytesIO()
    model.save(file, exclude=objects)
    if model.policy_class not in model.policy_aliases.values():
        objects["policy"] = model.policy_class
    devices, first = model.devices, model.devices.first
    device = f"{first.platform}:{first.id}" if devices.mesh is None else str(devices.number)
    return _restored_model, (type(model), file.getvalue(), objects, device, model.prediction_state())


def _restored_model(
    cls: "type[JaxAlgorithm]", file: bytes, objects: dict[str, Any], device: str, key: np.ndarray[Any, Any]
) -> "JaxAlgorithm":
    try:
        place: Any = resolve_devices(device)
    except ValueError:  # pickled on another machine
        place = "auto"
    model = cls.load(io.BytesIO(file), device=place, **objects)
    model.set_prediction_state(key)
    return model


def load_policy(cls: type[Any], path: PathOrFile, device: Any) -> Any:
    """The policy in a model file, without its algorithm's class at hand.

    Args:
        cls: the policy's class.
        path: the file.
        device: as in an algorithm's constructor.

    Raises:
        ModelFileError: the file is damaged, of an algorithm that is not registered, or holds another policy.
    """
    data = read_model_file(path).data
    names = [str(data.get("algorithm")), *map(str, data.get("parents", ()))]
    algorithm = next((found for found in map(_registered, names) if found is not None), None)
    if algorithm is None:
        raise ModelFileError(
            f"{path} holds the policy of a {names[0]}, which is not a registered algorithm; load the model with its "
            "class and take its policy."
        )
    own = {} if data.get("policy") in algorithm.policy_aliases else {"policy": cls}
    policy = algorithm.load(path, device=device, **own).policy
    if not isinstance(policy, cls):
        raise ModelFileError(f"{path} holds a {type(policy).__name__}, not a {cls.__name__}.")
    return policy


def _registered(class_name: str) -> Any:
    """The registered algorithm whose class has that name; ``None`` without one."""
    registry = plugins.registry("algorithms")
    for name in registry.names():
        target = registry.peek(name).target
        found = target.rpartition(":")[2] if isinstance(target, str) else target.__name__
        if found == class_name:
            return registry.resolve(name)
    return None


def copied_arrays(tree: Any) -> Any:
    """Arrays of their own, which no update consumes."""
    return jax.tree.map(jax.numpy.copy, tree)
