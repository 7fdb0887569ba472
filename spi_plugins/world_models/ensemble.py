"""An ensemble on one encoder, and a decoder: a latent model of an environment, fitted without an agent.

The latent of numbers is the numbers themselves, standardized by the data; that of discrete values is their one-hots.
Images go through convolutions, and the decoder's loss keeps their latents from collapsing. The members share the
latents and see different batches. A step of the model follows one of them, drawn anew for each row, as in MBPO (Janner
et al., 2019), and their disagreement is the model's uncertainty.

The parameters are a dict with ``members`` (leading axis ``E``), ``statistics``, and for images ``encoder`` and
``decoder``.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.networks.encoders import ConvExtractor, ConvLayers, conv_output_shape, flat_size, flatten
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.normed_mlp import NormedMLP
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec, Params
from spi_plugins.world_models.members import Member, MemberShape, make_member
from spi_plugins.world_models.mixture import Layout, layout_of, numbers
from spi_plugins.world_models.model import Model, ModelSpec, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleConfig(Config):
    """What the model is made of, and two numbers of its fit. Frozen and hashable."""

    latent_dim: int = hyperparameter(64, "Entries of the latent of an image", low=1)
    hidden: tuple[int, ...] = hyperparameter((128, 128), "Widths of transition, reward, cost and termination")
    n_members: int = hyperparameter(5, "Models in the ensemble", low=1)
    n_costs: int = hyperparameter(0, "1 to learn the cost as well, 0 for none", low=0, high=1)
    transition_density: Literal["auto", "deterministic", "normal", "mixture", "categorical"] = hyperparameter(
        "auto",
        'Distribution of the next latent: `"categorical"` for discrete observations, `"mixture"` of normals (and of '
        'categorical distributions, if some entries are discrete), `"normal"`, or `"deterministic"`; `"auto"` is '
        '`"categorical"` or `"mixture"` if all or some entries of an observation are discrete, else `"deterministic"`',
    )
    n_components: int = hyperparameter(
        5, "Components of a mixture, also of a categorical one of several variables", low=1
    )
    residual: bool = hyperparameter(True, "Learn the change of numbers instead of the next ones")
    conv_layers: ConvLayers | None = hyperparameter(
        None, "`(channels, kernel size, stride)` of each convolution; `None` to choose by the image's size"
    )
    batch_size: int = hyperparameter(256, "Steps in a gradient step of the fit, for each member", low=1)
    max_grad_norm: float = hyperparameter(10.0, "Bound on the gradient norm in the fit", above=0)
    gamma: float = hyperparameter(0.99, "Discount per step, for planners", low=0, high=1)


class EnsembleParts(NamedTuple):
    """The settings, specs and networks of one model."""

    config: EnsembleConfig
    observations: ObservationSpec
    actions: ActionSpec
    layout: Layout  # of a latent
    member: Member
    encoder: Network | None  # of images
    decoder: Network | None  # of images
    latent_dim: int


def flat_numbers(spec: ObservationSpec, obs: Observation) -> Float[Array, "N F"]:
    """Flatten observations without images into vectors."""
    if isinstance(spec, ArraySpec):
        return flatten(spec, obs)
    return jnp.concatenate([flatten(part, obs[key]) for key, part in spec], axis=-1)


def _n_numbers(spec: ObservationSpec) -> int:
    parts = [("", spec)] if isinstance(spec, ArraySpec) else list(spec)
    if any(part.kind == "image" for _, part in parts):
        raise ValueError("The world model 'ensemble' takes one image or numbers, not images in a Dict.")
    return sum(flat_size(part) for _, part in parts)


def _image_networks(spec: ArraySpec, config: EnsembleConfig) -> tuple[Network, Network]:
    """Convolutions and dense layers to the latent, and dense layers back to the pixels."""
    features = functional(lambda rngs: ConvExtractor(spec, config.conv_layers, rngs=rngs))
    shape = conv_output_shape(spec, config.conv_layers)
    dense = functional(lambda rngs: NormedMLP(math.prod(shape), (256,), config.latent_dim, rngs=rngs))
    pixels = functional(lambda rngs: NormedMLP(config.latent_dim, (256,), math.prod(spec.shape), rngs=rngs))

    def init(key: Array) -> Params:
        features_key, dense_key = jax.random.split(key)
        return {"features": features.init(features_key), "dense": dense.init(dense_key)}

    def apply(params: Params, obs: Observation) -> Array:
        x = features.apply(params["features"], obs)
        return jnp.tanh(dense.apply(params["dense"], x.reshape(x.shape[0], -1)))

    return Network(init, apply), pixels


def make_parts(observations: ObservationSpec, actions: ActionSpec, config: EnsembleConfig) -> EnsembleParts:
    """Build the networks.

    Raises:
        ValueError: the observation is a Dict with images.
    """
    encoder = decoder = None
    if isinstance(observations, ArraySpec) and observations.kind == "image":
        encoder, decoder = _image_networks(observations, config)
        latent_dim = config.latent_dim
    else:
        latent_dim = _n_numbers(observations)
    density = _resolved(observations, config.transition_density)
    config = dataclasses.replace(config, transition_density=density)
    drawn = encoder is None and density in ("mixture", "categorical")
    layout = layout_of(observations) if drawn else numbers(latent_dim)
    shape = MemberShape(
        layout=layout,
        density=density,
        n_components=config.n_components,
        hidden=config.hidden,
        residual=config.residual,
        with_cost=config.n_costs > 0,
    )
    return EnsembleParts(
        config, observations, actions, layout, make_member(actions, shape), encoder, decoder, latent_dim
    )


def _resolved(observations: ObservationSpec, density: str) -> Any:
    """The density that ``"auto"`` means for these observations.

    Raises:
        ValueError: ``"categorical"``, and some entries are not discrete.
    """
    specs = [observations] if isinstance(observations, ArraySpec) else [part for _, part in observations]
    discrete = [spec.kind in ("discrete", "multi_discrete", "multi_binary") for spec in specs]
    if density == "categorical" and not all(discrete):
        raise ValueError(
            "transition_density='categorical' needs observations that are all discrete; use 'mixture' for these, or "
            "'auto'."
        )
    if density in ("auto", "mixture") and all(discrete):
        return "categorical"
    if density == "auto":
        return "mixture" if any(discrete) else "deterministic"
    return density


def init(parts: EnsembleParts, key: Array) -> Params:
    """Draw initial parameters, with the statistics of standardized data."""
    member_key, encoder_key, decoder_key = jax.random.split(key, 3)

    params = {
        "members": jax.vmap(parts.member.init)(jax.random.split(member_key, parts.config.n_members)),
        "statistics": {
            "mean": jnp.zeros(parts.latent_dim),
            "deviation": jnp.ones(parts.latent_dim),
            "reward_mean": jnp.zeros(()),
            "reward_deviation": jnp.ones(()),
        },
    }
    if parts.encoder is not None and parts.decoder is not None:
        params |= {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}
    return params


def encode(parts: EnsembleParts, params: Params, obs: Observation) -> Float[Array, "N Z"]:
    """Encode observations into latents."""
    if parts.encoder is not None:
        return parts.encoder.apply(params["encoder"], obs)
    statistics = params["statistics"]
    numbers = flat_numbers(parts.observations, obs)
    standardized: Array = (numbers - statistics["mean"][None]) / statistics["deviation"][None]
    return standardized


def decode(parts: EnsembleParts, params: Params, z: Float[Array, "N Z"]) -> Float[Array, " N *O"]:
    """Decode latents into observations in their own units."""
    assert isinstance(parts.observations, ArraySpec)
    shape = (-1, *parts.observations.shape)
    if parts.decoder is not None:
        return (255.0 * jax.nn.sigmoid(parts.decoder.apply(params["decoder"], z))).reshape(shape)
    statistics = params["statistics"]
    numbers: Array = z * statistics["deviation"][None] + statistics["mean"][None]
    return numbers.reshape(shape)


def make_model(parts: EnsembleParts) -> Model:
    """Make the model that planners and dreams see; the cost of a step has a head for each member."""
    config, member = parts.config, parts.member
    decodes = isinstance(parts.observations, ArraySpec) and parts.observations.kind in ("box", "image")

    def shaped(action: Array) -> Array:
        return action.reshape(-1, *parts.actions.shape) if parts.actions.kind == "box" else action

    def expected(members: Params, z: Array, action: Array) -> Float[Array, "E N Z"]:
        return jax.vmap(lambda p: member.mean(p, z, action))(members)

    def likeliest(members: Params, z: Array, action: Array) -> Float[Array, "N Z"]:
        """Of the members' modes, that which all together find the most likely."""
        modes = jax.vmap(lambda p: member.mode(p, z, action))(members)
        score = jax.vmap(
            lambda next_z: jax.nn.logsumexp(
                jax.vmap(lambda p: member.log_prob(p, z, action, next_z))(members), axis=0
            )
        )(modes)
        return jnp.take_along_axis(modes, jnp.argmax(score, axis=0)[None, :, None], axis=0)[0]

    def drawn(members: Params, z: Array, action: Array, key: Array) -> Float[Array, "N Z"]:
        member_key, draw_key = jax.random.split(key)
        keys = jax.random.split(draw_key, config.n_members)
        outcomes = jax.vmap(lambda p, k: member.draw(p, z, action, k))(members, keys)
        chosen = jax.random.randint(member_key, (len(z),), 0, config.n_members)
        return jnp.take_along_axis(outcomes, chosen[None, :, None], axis=0)[0]

    def step(params: Params, z: Float[Array, "N Z"], action: Array, key: Array | None) -> Step:
        action, members, statistics = shaped(action), params["members"], params["statistics"]
        if key is not None:
            next_z = drawn(members, z, action, key)
        elif config.transition_density in ("mixture", "categorical"):
            next_z = likeliest(members, z, action)
        else:
            next_z = jnp.mean(expected(members, z, action), axis=0)
        reward = jnp.mean(jax.vmap(lambda p: member.reward(p, z, action, next_z))(members), axis=0)
        cost = jnp.zeros((0, len(z)))
        if member.cost is not None:
            of_step = member.cost
            cost = jax.vmap(lambda p: of_step(p, z, action, next_z))(members)
        ended = jnp.mean(jax.vmap(lambda p: member.termination(p, next_z))(members), axis=0)
        reward = reward * statistics["reward_deviation"] + statistics["reward_mean"]
        return Step(next_z, reward, cost, ended)

    def uncertainty(params: Params, z: Float[Array, "N Z"], action: Array) -> Float[Array, " N"]:
        spread = jnp.std(expected(params["members"], z, shaped(action)), axis=0)
        return jnp.sqrt(jnp.mean(spread**2, axis=-1))

    bounded = parts.encoder is not None and not config.residual
    low, high = (-1.0, 1.0) if bounded else (-math.inf, math.inf)
    if all(run.values for run in parts.layout):
        low, high = 0.0, 1.0
    spec = ModelSpec(
        latent_shape=(parts.latent_dim,),
        action_size=parts.actions.size,
        horizon=1,
        gamma=config.gamma,
        n_costs=config.n_members if config.n_costs else 0,
        has_termination=True,
        nvec=parts.actions.nvec,
        action_shape=parts.actions.shape if parts.actions.nvec else (),
        latent_low=low,
        latent_high=high,
    )
    return Model(
        spec=spec,
        encode=lambda params, obs: encode(parts, params, obs),
        step=step,
        decode=(lambda params, z: decode(parts, params, z)) if decodes else None,
        uncertainty=uncertainty if config.n_members > 1 else None,
    )
