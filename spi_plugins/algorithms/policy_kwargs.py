"""Values of ``policy_kwargs`` in every form that SB3 takes, as the networks' config has them."""

import functools
import itertools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx
from gymnasium import spaces

from spi_plugins.agents.optimizer import OptimizerConfig
from spi_plugins.checks import check_integer
from spi_plugins.hyperparameters import configured
from spi_plugins.networks.encoders import ConvLayers
from spi_plugins.networks.mlp import ACTIVATIONS

# Names of activations without underscores, as torch's classes have them, and torch's and JAX's second names.
_ACTIVATIONS = {name.replace("_", ""): name for name in ACTIVATIONS}
_ACTIVATIONS |= {"swish": "silu", "hardswish": "hard_silu"}
# The functions of these packages are known by name; another's of the same name may be a different one.
_PACKAGES = ("jax", "jaxlib", "flax", "torch", "optax")
# Of an agent's optimizer; all other keys are of its networks.
OPTIMIZER_KEYS = ("optimizer_class", "optimizer_kwargs")
EXTRACTOR_KEYS = ("features_extractor_class", "features_extractor_kwargs")


def activation_name(value: Any) -> str:
    """``"relu"``, ``torch.nn.ReLU``, ``flax.nnx.relu`` and ``jax.nn.relu`` all mean the same.

    Raises:
        ValueError: it is none of those known.
    """
    found = _ACTIVATIONS.get(_known_name(value))
    if found is None:
        raise ValueError(
            f"activation_fn must be one of {sorted(ACTIVATIONS)}, or JAX's, Flax's or torch's of that name, "
            f"got {value!r}."
        )
    return found


def _known_name(value: Any) -> str:
    """A name, or that of a function or class of a known package, in lower case without underscores."""
    owner = value if hasattr(value, "__name__") else type(value)
    known = isinstance(value, str) or str(owner.__module__).partition(".")[0] in _PACKAGES
    return (value if isinstance(value, str) else owner.__name__).lower().replace("_", "") if known else ""


def optimizer(policy_kwargs: Mapping[str, Any]) -> OptimizerConfig:
    """The settings in SB3's ``optimizer_class`` and ``optimizer_kwargs``, with torch's ``betas`` or optax's names.

    Raises:
        ValueError: another optimizer than Adam, an unknown setting, or one out of range.
    """
    chosen, given = (policy_kwargs.get(name) for name in OPTIMIZER_KEYS)
    kind = "adam" if chosen is None else _known_name(chosen)
    if kind not in ("adam", "adamw"):
        raise ValueError(f"optimizer_class must be torch's or optax's Adam or AdamW, got {chosen!r}.")
    if not isinstance(given, Mapping | None):
        raise ValueError(f"optimizer_kwargs must be a dict, got {given!r}.")
    settings = dict(given or {})
    if "betas" in settings:
        betas = settings.pop("betas")
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise ValueError(f"optimizer_kwargs has betas={betas!r}; it must be two numbers.")
        settings |= zip(("b1", "b2"), betas, strict=True)
    return configured(OptimizerConfig, settings, "optimizer_kwargs", kind=kind)


def own_extractor(encoder: str, policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """``policy_kwargs`` with SB3's arguments of the policies' own extractors under our names.

    Without a class, ``features_extractor_kwargs`` may have ``cnn_output_dim`` (``MultiInputPolicy``) or
    ``features_dim`` (``CnnPolicy``), the width of the first dense layer after the convolutions.

    Raises:
        ValueError: they have anything else.
    """
    given = policy_kwargs.get("features_extractor_kwargs")
    if policy_kwargs.get("features_extractor_class") is not None or not given:
        return dict(policy_kwargs)
    key = {"cnn": "features_dim", "multi_input": "cnn_output_dim"}.get(encoder)
    arch = policy_kwargs.get("net_arch") or ()
    if not isinstance(given, Mapping) or set(given) != {key} or isinstance(arch, Mapping):
        raise ValueError(
            f"features_extractor_kwargs={given!r} need a features_extractor_class. Without one, allowed are "
            "cnn_output_dim with MultiInputPolicy, and features_dim with CnnPolicy unless net_arch is a dict."
        )
    check_integer(f"features_extractor_kwargs has a {key} that", given[key], low=1)
    own = {"net_arch": [given[key], *arch]} if key == "features_dim" else {"image_features": given[key]}
    return {**policy_kwargs, **own}


def features_extractor(
    space: spaces.Space[Any], policy_kwargs: Mapping[str, Any]
) -> Callable[[nnx.Rngs], nnx.Module] | None:
    """What builds SB3's ``features_extractor_class``, here a Flax NNX module; ``None`` for a policy's own.

    Args:
        space: the constructor's first argument.
        policy_kwargs: with the class, and further arguments for it.

    Raises:
        ValueError: it is not such a class.
    """
    cls, given = (policy_kwargs.get(name) for name in EXTRACTOR_KEYS)
    if not isinstance(given, Mapping | None):
        raise ValueError(f"features_extractor_kwargs must be a dict, got {given!r}.")
    if cls is None:
        return None
    if not (isinstance(cls, type) and issubclass(cls, nnx.Module)):
        hint = (
            " A model file has only its name: pass the policy_kwargs again, as load(..., policy_kwargs=...)."
        )
        raise ValueError(
            "features_extractor_class must be a class of Flax NNX modules, made as cls(observation_space, ..., "
            f"rngs=rngs); torch's do not run in JAX. Got {cls!r}.{hint if isinstance(cls, str) else ''}"
        )
    return functools.partial(_build, cls, space, given or {})


def _build(cls: Any, space: spaces.Space[Any], kwargs: Mapping[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    try:
        module: nnx.Module = cls(space, **kwargs, rngs=rngs)
    except TypeError as error:
        raise ValueError(
            f"features_extractor_class cannot be made as {cls.__name__}(observation_space, "
            f"{''.join(f'{name}=..., ' for name in kwargs)}rngs=rngs): {error}"
        ) from error
    return module


def widths(net_arch: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The actor's widths and the critic's: ``None`` where SB3's ``net_arch`` is one list for both.

    A dict has a list for each; a missing one has no layers.

    Raises:
        ValueError: it is neither, or a width is not a positive integer.
    """
    if isinstance(net_arch, list | tuple) and len(net_arch) == 1 and isinstance(net_arch[0], Mapping):
        warnings.warn(
            "net_arch=[dict(pi=..., vf=...)] is how old versions of SB3 had it; pass the dict without the list.",
            stacklevel=2,
        )
        net_arch = net_arch[0]
    if isinstance(net_arch, list | tuple):
        return _integers("net_arch", "pi", net_arch), None
    is_dict = isinstance(net_arch, Mapping) and len(net_arch) > 0 and set(net_arch) <= {"pi", "vf"}
    if not (is_dict and all(isinstance(layers, list | tuple) for layers in net_arch.values())):
        raise ValueError(f"net_arch must be a list of widths or dict(pi=[...], vf=[...]), got {net_arch!r}.")
    pi, vf = (_integers("net_arch", name, net_arch.get(name, ())) for name in ("pi", "vf"))
    return pi, vf


def latent_widths(value: Any) -> tuple[int, ...] | None:
    """``latent_arch``: a list of widths, or ``None``."""
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError(f"latent_arch must be a list of widths, got {value!r}.")
    return None if value is None else _integers("latent_arch", "latent", value)


def _integers(argument: str, name: str, layers: Any) -> tuple[int, ...]:
    try:
        return tuple(map(operator.index, layers))
    except TypeError:
        raise ValueError(f"{argument} needs positive integers, got {name}={tuple(layers)}.") from None


def conv_layers(layers: Any) -> ConvLayers:
    """``conv_layers``: a list of three integers for each layer."""
    try:
        checked = tuple((channels, size, stride) for channels, size, stride in layers)
        for number in itertools.chain(*checked):
            check_integer("conv_layers", number, low=1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"conv_layers must be a list of (channels, kernel size, stride), integers of at least 1, got {layers!r}."
        ) from error
    return checked


def categories(value: Any) -> tuple[int, int]:
    """``categorical_latent``: two integers."""
    try:
        n_categories, classes = value
        check_integer("categorical_latent", n_categories, low=1)
        check_integer("categorical_latent", classes, low=2)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"categorical_latent must be (categories, classes), at least 1 and 2, got {value!r}."
        ) from error
    return int(n_categories), int(classes)
