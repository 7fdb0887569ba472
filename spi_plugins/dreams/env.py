"""A learned world as a functional environment: it starts in the latent of a real state and steps the model.

The parameters of the environment are ``DreamParams``, arrays that can be swapped without a retrace while the model
trains. Its compiled functions depend on ``DreamConfig`` and the model's functions only.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.actions import model_action
from spi_plugins.dreams.render import draw_dream
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.hyperparameters import Config, check_below, hyperparameter
from spi_plugins.types import (
    ActionSpec,
    ArraySpec,
    Observation,
    ObservationSpec,
    Params,
    PyTree,
    device_dtype,
)
from spi_plugins.world_models.model import FittedModel, Model

DreamObservation = Literal["latent", "decoded"]
Termination = Literal["model", "none"]
# Steps that a frame's curves reach back.
HISTORY = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamConfig(Config):
    """How a model is dreamt. Frozen and hashable."""

    horizon: int = hyperparameter(15, "Steps until truncation", low=1)
    observation: DreamObservation = hyperparameter(
        "latent", 'What is observed: `"latent"`, or `"decoded"` into what the real environment shows'
    )
    stochastic: bool = hyperparameter(
        True,
        "Sample the next latent and termination; otherwise take the model's mean or most likely outcome, and terminate "
        "where the probability is above one half",
    )
    termination: Termination = hyperparameter("model", '`"model"`: as predicted; `"none"`: never')
    uncertainty_penalty: float = hyperparameter(0.0, "Reward lost per unit of the model's uncertainty", low=0)
    cost: bool = hyperparameter(True, "Report the model's cost; `False` reports 0")
    latent_low: float = hyperparameter(-1.0, "Lower bound to which latents are clipped")
    latent_high: float = hyperparameter(1.0, "Upper bound to which latents are clipped")
    history: bool = hyperparameter(False, "Keep the last rewards and costs in the state, for rendering")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_low", "latent_high"):
            # As float32, in which latents are compared.
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))
        check_below(self, "latent_low", "latent_high")


class DreamParams(NamedTuple):
    """What may change without a retrace."""

    model: Params  # the world model's parameters
    starts: Float[Array, " S *Z"]  # latents ``[S, *Z]`` of real states, in one of which each episode starts
    # Lower bound of a decoded observation, broadcastable to it; unused otherwise
    obs_low: Float[Array, " *o"]
    obs_high: Float[Array, " *o"]  # upper bound


class History(NamedTuple):
    """The last steps of the running episode, the newest last; NaN before its start."""

    reward: Float[Array, " K"]
    cost: Float[Array, " K"]


class DreamState(NamedTuple):
    """One dream between two steps."""

    z: Float[Array, " *Z"]
    reward: Float[Array, ""]  # of the step that led here, after the penalty
    cost: Float[Array, ""]
    terminated: Bool[Array, ""]
    uncertainty: Float[Array, ""]
    step: Int[Array, ""]
    history: History | None


def check_dream(model: Model, config: DreamConfig, actions: ActionSpec) -> None:
    """Refuse options that need a part which the model lacks.

    Raises:
        ValueError: the message names the option, and the parts that the model has.
    """
    parts = ", ".join(sorted(model.parts)) or "a reward only"
    if config.observation == "decoded" and model.decode is None:
        raise ValueError(
            f"observation='decoded' needs a model with a decoder; this one has {parts}. Use observation='latent', and "
            "LatentObservation around the real environment."
        )
    if config.uncertainty_penalty > 0 and model.uncertainty is None:
        raise ValueError(
            f"uncertainty_penalty={config.uncertainty_penalty} needs a model with uncertainty, an ensemble; this one "
            f"has {parts}."
        )
    if model.spec.continuous != (actions.kind == "box"):
        raise ValueError(f"The model's actions do not fit an environment of {actions.kind} actions.")


def latent_spec(model: Model, config: DreamConfig) -> ArraySpec:
    """The spec of a latent as an observation: float32 within the configured bounds."""
    return ArraySpec(
        kind="box",
        shape=model.spec.latent_shape,
        dtype="float32",
        low=config.latent_low,
        high=config.latent_high,
    )


def clip_latent(config: DreamConfig, z: Float[Array, " *Z"]) -> Float[Array, " *Z"]:
    """Clip a latent to the bounds; NaN becomes the lower one."""
    clipped: Array = jnp.clip(jnp.nan_to_num(z, nan=config.latent_low), config.latent_low, config.latent_high)
    return clipped


def make_dream(
    fitted: FittedModel,
    starts: Float[Array, " S *Z"],
    config: DreamConfig,
    *,
    obs_low: npt.ArrayLike = -np.inf,
    obs_high: npt.ArrayLike = np.inf,
    name: str = "Dream",
) -> FunctionalEnv:
    """Make a functional environment that starts in one of the latents ``starts`` of real states.

    An episode terminates by the model's prediction, or is truncated after ``horizon`` steps. The bounds are those of
    the real observation, for decoded ones.

    Raises:
        ValueError: the model lacks a part that the settings need, or the starts are not latents of the model.
    """
    model = fitted.model
    check_dream(model, config, fitted.actions)
    starts = jnp.asarray(starts, jnp.float32)
    if starts.ndim < 1 or starts.shape[1:] != model.spec.latent_shape or not len(starts):
        raise ValueError(
            f"starts must be at least one latent, [S, {', '.join(map(str, model.spec.latent_shape))}], got "
            f"{list(starts.shape)}."
        )
    bounds = (jnp.asarray(np.nan_to_num(np.asarray(x, np.float32))) for x in (obs_low, obs_high))
    functions = _functions(model, fitted.observations, fitted.actions, config)
    return functions._replace(params=DreamParams(fitted.params, starts, *bounds), name=name)


# Cached, so that equal dreams, such as copies in a vector environment, share one compilation.
@functools.lru_cache(maxsize=64)
def _functions(
    model: Model, observations: ObservationSpec, actions: ActionSpec, config: DreamConfig
) -> FunctionalEnv:
    """Make the environment without its parameters."""
    observe, observed = _observation(model, observations, config)
    info_dtypes: tuple[tuple[str, str], ...] = (("dream_step", "int64"),)
    if model.uncertainty is not None:
        info_dtypes += (("model_uncertainty", "float64"),)

    def initial(key: Array, params: DreamParams) -> DreamState:
        index = jax.random.randint(key, (), 0, len(params.starts))
        history = None
        if config.history:
            history = History(jnp.full(HISTORY, jnp.nan), jnp.full(HISTORY, jnp.nan))
        zero = jnp.zeros(())
        z = clip_latent(config, params.starts[index])
        return DreamState(z, zero, zero, jnp.zeros((), bool), zero, jnp.zeros((), jnp.int32), history)

    def transition(state: DreamState, action: Array, key: Array, params: DreamParams) -> DreamState:
        step_key, end_key = jax.random.split(key)
        z, taken = state.z[None], model_action(actions, action[None])
        step = model.step(params.model, z, taken, step_key if config.stochastic else None)
        uncertainty = jnp.zeros(())
        if model.uncertainty is not None:
            uncertainty = model.uncertainty(params.model, z, taken)[0]
        reward = step.reward[0] - config.uncertainty_penalty * uncertainty
        cost = jnp.zeros(())
        if config.cost and model.spec.n_costs:
            cost = jnp.maximum(jnp.mean(step.cost[:, 0]), 0.0)
        return DreamState(
            z=clip_latent(config, step.next_z[0]),
            reward=jnp.nan_to_num(reward),
            cost=jnp.nan_to_num(cost),
            terminated=_ends(config, step.terminated[0], end_key),
            uncertainty=jnp.nan_to_num(uncertainty),
            step=state.step + 1,
            history=_with_step(state.history, reward, cost),
        )

    def info(state: DreamState, params: DreamParams) -> dict[str, Array]:
        del params
        values = {"dream_step": state.step.astype(jnp.float32), "model_uncertainty": state.uncertainty}
        return {name: values[name] for name, _ in info_dtypes}

    def render(state: DreamState, params: DreamParams) -> npt.NDArray[np.uint8]:
        frame = None
        if model.decode is not None and isinstance(observations, ArraySpec) and observations.kind == "image":
            frame = np.asarray(model.decode(params.model, jnp.asarray(state.z)[None])[0])
            frame = frame if not observations.channels_first else np.moveaxis(frame, 0, -1)
        curves = None if state.history is None else (np.asarray(x) for x in state.history)
        starts = np.asarray(params.starts)
        return draw_dream(np.asarray(state.z), (starts.min().item(), starts.max().item()), frame, curves)

    return FunctionalEnv(
        observation_spec=observed,
        action_spec=actions,
        params=(),
        initial=initial,
        observation=observe,
        transition=transition,
        reward=lambda state, action, after, params: after.reward,
        cost=lambda state, action, after, params: after.cost,
        terminal=lambda state, params: state.terminated,
        max_episode_steps=config.horizon,
        render=render,
        info=info,
        info_dtypes=info_dtypes,
    )


def _observation(
    model: Model, observations: ObservationSpec, config: DreamConfig
) -> tuple[Callable[[PyTree, PyTree], Observation], ObservationSpec]:
    """The observation function, and its spec."""
    if config.observation == "latent":
        return lambda state, params: state.z, latent_spec(model, config)
    assert isinstance(observations, ArraySpec)
    decode = model.decode
    assert decode is not None
    integer = np.dtype(observations.dtype).kind in "iub"
    dtype = device_dtype(observations.dtype)

    def observe(state: DreamState, params: DreamParams) -> Observation:
        decoded = jnp.clip(
            jnp.nan_to_num(decode(params.model, state.z[None])[0]), params.obs_low, params.obs_high
        )
        return (jnp.round(decoded) if integer else decoded).astype(dtype)

    return observe, observations


def _ends(config: DreamConfig, probability: Float[Array, ""], key: Array) -> Bool[Array, ""]:
    if config.termination == "none":
        return jnp.zeros((), bool)
    if config.stochastic:
        return jax.random.bernoulli(key, jnp.clip(probability, 0.0, 1.0))
    return probability > 0.5


def _with_step(history: History | None, reward: PyTree, cost: PyTree) -> History | None:
    if history is None:
        return None
    return History(*(jnp.append(row[1:], x) for row, x in zip(history, (reward, cost), strict=True)))
