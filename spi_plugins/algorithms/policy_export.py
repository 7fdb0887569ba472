"""Deterministic policies as files that run without this package: serialized StableHLO, or ONNX."""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from spi_plugins import __version__
from spi_plugins.algorithms.base import JaxAlgorithm
from spi_plugins.algorithms.normalization import Normalization, normalization_of
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.planning import PlanningAlgorithm
from spi_plugins.archive import write_atomically
from spi_plugins.errors import MissingDependencyError
from spi_plugins.types import device_dtype

#: What each suffix of a file stands for.
FORMATS: Mapping[str, str] = {".jaxexport": "jax.export's StableHLO", ".onnx": "ONNX"}
PLATFORMS = ("cpu", "cuda")
_SINGLE = "observation"  # the input's name if observations are not a dict


class ExportedPolicy(NamedTuple):
    """A policy as a pure function, and what goes in and out.

    Attributes:
        decide: from a batch of raw observations, an array or a dict of arrays, to actions of the space.
        inputs: shapes without the batch, and dtypes, by the observation's key; one named ``"observation"`` if it is an
            array.
        action: shape without the batch, and dtype.
    """

    decide: Callable[[Any], jax.Array]
    inputs: dict[str, jax.ShapeDtypeStruct]
    action: jax.ShapeDtypeStruct

    def __str__(self) -> str:
        arrays = ", ".join(_told(name, array) for name, array in self.inputs.items())
        return f"{arrays} -> {_told('action', self.action)}"


def export_policy(
    model: JaxAlgorithm,
    path: str | pathlib.Path,
    *,
    normalization: Normalization | None = None,
    without_planning: bool = False,
) -> ExportedPolicy:
    """Write a model's deterministic policy to a file that needs neither this package nor Stable-Baselines3.

    The file takes a batch of any size of what the environment returns: the statistics of ``VecNormalize`` and the
    scaling of images are in it. 64-bit numbers become 32-bit ones. Action masks are not part of it.

    Args:
        model: of ``PPO``, ``DeepSPI``, ``DeepMDP``, ``DreamSPI`` and their subclasses, or of an algorithm that plans.
        path: ends in ``.onnx``, which needs ``spi-plugins[export]``; or in ``.jaxexport``, which
            ``jax.export.deserialize`` reads, on CPU and CUDA.
        normalization: of the observations; by default that of the ``VecNormalize`` around the model's environment.
        without_planning: of an algorithm that plans, export the policy that its plans start from.

    Returns:
        The policy as it was exported.

    Raises:
        ValueError: another suffix, or a model that plans without ``without_planning``.
        TypeError: a model of another package.
        MissingDependencyError: jax2onnx is not installed.
    """
    path = pathlib.Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"path must end in {' or '.join(FORMATS)}, got {path}.")
    policy = policy_function(model, normalization, without_planning=without_planning)
    to_bytes = _to_onnx if path.suffix == ".onnx" else _to_stable_hlo
    write_atomically(path, to_bytes(policy, type(model).__name__))
    return policy


def policy_function(
    model: JaxAlgorithm, normalization: Normalization | None = None, *, without_planning: bool = False
) -> ExportedPolicy:
    """A model's deterministic policy as a pure function; arguments and errors as of ``export_policy``."""
    if isinstance(model, PlanningAlgorithm):
        if not without_planning:
            raise ValueError(
                f"{type(model).__name__} plans at every step, from its last plan on, which a file cannot: pass "
                "without_planning=True ('--without-planning') for the policy that its plans start from."
            )
    elif not isinstance(model, OnPolicyAlgorithm):
        raise TypeError(f"Only models of spi_plugins can be exported, got a {type(model).__name__}.")
    if normalization is None:
        normalization = normalization_of(model.get_vec_normalize_env())
    choose, space = model.deterministic_policy(), model.observation_space
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {_SINGLE: space}
    scales = {} if normalization is None else _scales(normalization)
    for name, scale in scales.items():
        if scale.mean.shape[1:] != parts[name].shape:
            raise ValueError(
                f"Observations are normalized in {scale.mean.shape[1:]} and then stacked to {parts[name].shape}, with "
                "zeros before an episode's first, which a function of one observation cannot repeat: train without "
                "normalization, or stack inside it."
            )

    def decide(obs: Any) -> jax.Array:
        raw = obs if isinstance(space, spaces.Dict) else {_SINGLE: obs}
        read = {name: _read(part, raw[name], scales.get(name)) for name, part in parts.items()}
        return _to_space(
            model.action_space, choose(read if isinstance(space, spaces.Dict) else read[_SINGLE])
        )

    inputs = {
        name: _struct(part, "float32" if name in scales else part.dtype)
        for name, part in sorted(parts.items())
    }
    return ExportedPolicy(decide, inputs, _struct(model.action_space, model.action_space.dtype))


class _Scale(NamedTuple):
    """What ``VecNormalize`` does to one part of the observations."""

    mean: jax.Array
    deviation: jax.Array
    clip: float


def _scales(normalization: Normalization) -> dict[str, _Scale]:
    def scale(mean: Any, variance: Any) -> _Scale:
        deviation = np.sqrt(variance + normalization.epsilon)[None]
        return _Scale(
            jnp.asarray(mean[None], jnp.float32), jnp.asarray(deviation, jnp.float32), normalization.clip
        )

    return {name or _SINGLE: scale(*moments) for name, moments in normalization.moments.items()}


def _read(space: spaces.Space[Any], raw: jax.Array, scale: _Scale | None) -> jax.Array:
    """Raw observations of one part as the networks take them. Bytes become floats, so that batches have any size."""
    if scale is not None:
        return jnp.clip((raw - scale.mean) / scale.deviation, -scale.clip, scale.clip)
    if isinstance(space, spaces.Box):
        return raw.astype(jnp.float32)
    start = getattr(space, "start", 0)
    return raw - jnp.asarray(start, raw.dtype)[None] if np.any(start) else raw


def _to_space(space: spaces.Space[Any], action: jax.Array) -> jax.Array:
    """Executed actions as actions of the space, see ``actions.to_action``."""
    start = getattr(space, "start", None)
    dtype = device_dtype(space.dtype)
    if start is not None and np.any(start):
        action = action + jnp.asarray(start, action.dtype)[None]
    return action.astype(dtype)


def _struct(space: spaces.Space[Any], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(space.shape or (), device_dtype(dtype))  # type: ignore[no-untyped-call]


def _told(name: str, array: jax.ShapeDtypeStruct) -> str:
    return f"{name} {array.dtype}[{', '.join(map(str, ('batch', *array.shape)))}]"


def _batched(policy: ExportedPolicy, size: Any) -> dict[str, jax.ShapeDtypeStruct]:
    inputs = policy.inputs.items()
    return {name: each.update(shape=(size, *each.shape)) for name, each in inputs}  # type: ignore[no-untyped-call]


def _to_stable_hlo(policy: ExportedPolicy, algorithm: str) -> bytes:
    del algorithm
    (size,) = jax.export.symbolic_shape("batch")
    arrays = _batched(policy, size)
    inputs: Any = arrays[_SINGLE] if list(arrays) == [_SINGLE] else arrays
    exported = jax.export.export(jax.jit(policy.decide), platforms=PLATFORMS)(inputs)
    return bytes(exported.serialize())


def _to_onnx(policy: ExportedPolicy, algorithm: str) -> bytes:
    names = list(policy.inputs)

    def decide(*arrays: jax.Array) -> jax.Array:
        return policy.decide(arrays[0] if names == [_SINGLE] else dict(zip(names, arrays, strict=True)))

    with _silent("jax2onnx", "onnx_ir"):
        try:
            import jax2onnx
            import onnx
        except ImportError as error:
            raise MissingDependencyError.named("jax2onnx", "Exports to ONNX", "export") from error
        proto = jax2onnx.to_onnx(
            decide,
            list(_batched(policy, "batch").values()),
            model_name=algorithm,
            input_names=names,
            output_names=["action"],
        )
    onnx.helper.set_model_props(proto, {"algorithm": algorithm, "spi_plugins": __version__})
    return bytes(proto.SerializeToString())


@contextlib.contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """Keep packages quiet: converting logs a warning for every optional part that cannot be imported."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
