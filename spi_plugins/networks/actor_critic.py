"""Actor and critic on a shared or separate encoder, as a struct of pure functions.

The latent state ``z`` that a world model predicts is always on the actor's side:

* ``cnn``: ``z`` is the last feature map; actor and critic share a dense trunk on it (or have one each).
* ``mlp`` and ``multi_input``: ``z`` is the actor's last hidden layer; the critic has its own layers.

With ``latent`` widths, ``z`` is the last of those layers instead, and actor and critic read ``z`` alone: they can then
act and evaluate in a dream, where there are no observations.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.networks.categorical import CategoricalLatent
from spi_plugins.networks.dense import DenseTrunk
from spi_plugins.networks.encoders import ConvLayers, CustomExtractor, Extractor, make_extractor
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.mlp import ACTIVATIONS, MLP, Dense
from spi_plugins.networks.spectral import dense_norm_bound
from spi_plugins.networks.state_noise import action_log_std, deviations, draw_matrices
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params

EncoderKind = Literal["mlp", "cnn", "multi_input"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(Config):
    """Sizes of the networks. Frozen and hashable."""

    encoder: EncoderKind  # which observations are read and where the latent lies, see the module's docstring
    pi: tuple[int, ...]  # widths of the actor's dense layers
    vf: tuple[int, ...] | None  # widths of the critic's dense layers; ``None`` shares the actor's
    # Widths of the dense layers between features and ``z``, none for the features themselves; given, the layers of
    # actor and critic are on ``z``. ``None`` leaves ``z`` where the module's docstring has it.
    latent: tuple[int, ...] | None = None
    activation: str = "tanh"  # name in ``networks.mlp.ACTIVATIONS``, after every dense layer
    features_extractor: Callable[[nnx.Rngs], nnx.Module] | None = None  # instead of the encoder's own
    use_sde: bool = False  # explore by state-dependent noise, see ``networks.state_noise``
    full_std: bool = hyperparameter(True, "With `use_sde`, a deviation for each feature and action")
    use_expln: bool = hyperparameter(False, "With `use_sde`, deviations that cannot grow exponentially")
    squash_output: bool = hyperparameter(
        False, "With `use_sde`, map actions into their bounds by tanh instead of clipping them"
    )
    ortho_init: bool = hyperparameter(True, "Orthogonal kernels of the dense layers; `False`: LeCun-normal")
    log_std_init: float = hyperparameter(0.0, "First log standard deviation of actions", low=-20, high=20)
    share_features_extractor: bool = hyperparameter(True, "Let the critic read the actor's convolutions")
    conv_layers: ConvLayers | None = hyperparameter(
        None, "`(channels, kernel size, stride)` of each convolution; `None` to choose by the image's size"
    )
    image_features: int = hyperparameter(256, "Width of an image's features within a Dict", low=1)
    normalize_images: bool = hyperparameter(True, "Divide pixels by 255")
    categorical_latent: tuple[int, int] | None = hyperparameter(
        None, "`(categories, classes)` of a straight-through one-hot latent; `None` for a real one"
    )
    actor_lipschitz: float | None = hyperparameter(
        None,
        "Certified bound on how fast the logits of discrete actions change with the latent: the actor's layers on it "
        "get norms of at most 1 and GroupSort instead of `activation_fn`, its head a norm of at most this; `None` for "
        "free layers",
        above=0,
    )

    @property
    def own_extractor(self) -> bool:
        """Whether the critic has one, for flattening has no parameters to share."""
        has_parameters = self.encoder != "mlp" or self.features_extractor is not None
        return has_parameters and not self.share_features_extractor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation_fn must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}.")
        for name, argument in (("pi", "net_arch"), ("vf", "net_arch"), ("latent", "latent_arch")):
            widths = getattr(self, name) or ()
            if any(not isinstance(width, int) or width < 1 for width in widths):
                raise ValueError(f"{argument} needs positive integers, got {name}={widths}.")


class Evaluation(NamedTuple):
    """Outputs of actor and critic for a batch."""

    parameters: Float[Array, "B P"]  # of the action distribution
    value: Float[Array, " B"]
    hidden: Float[Array, "B H"] | None = None  # the actor's last layer, for state-dependent noise
    cost_value: Float[Array, "B K"] | None = None  # of the cost critic, if there is one


class ActorCritic(NamedTuple):
    """Pure functions of the policy's parameters.

    Attributes:
        init: ``(key) -> params``, a dict of parts.
        features: ``(params, obs) -> features``; ``latent`` and ``evaluate`` start from them.
        latent: ``(params, features) -> z``, ``[B, *latent_shape]``.
        evaluate: ``(params, obs, features, z) -> Evaluation``.
        value: ``(params, obs) -> [B]``, the critic alone.
        actor: ``(params, z) -> parameters``, the actor alone.
        judge: ``(params, z) -> Evaluation`` from latent states; ``None`` if the critic needs the observation.
        draw_noise: ``(params, key, n_envs) -> [n_envs, H, A]``, matrices of state-dependent noise; ``None`` without.
    """

    init: Callable[[Array], Params]
    features: Callable[[Params, Observation], Array]
    latent: Callable[[Params, Array], Array]
    evaluate: Callable[[Params, Observation, Array, Array], Evaluation]
    value: Callable[[Params, Observation], Array]
    actor: Callable[[Params, Array], Array]
    latent_shape: tuple[int, ...]
    judge: Callable[[Params, Array], Evaluation] | None
    draw_noise: Callable[[Params, Array, int], Array] | None = None
    activation: str = "identity"  # after every dense layer
    lipschitz: float | None = None  # bound on the logits' Lipschitz constant in ``z``, if one was asked for


class _ActorHead(nnx.Module):
    """Logits, or mean and log standard deviation; the latter depends on the state only with ``use_sde``."""

    def __init__(self, n_in: int, spec: ActionSpec, config: ActorCriticConfig, *, rngs: nnx.Rngs):
        self.gaussian = spec.kind == "box"
        self.use_sde, self.use_expln = config.use_sde, config.use_expln
        n_out = math.prod(spec.shape) if self.gaussian else sum(spec.nvec)
        self.dense, self.lipschitz = Dense(n_in, n_out, gain=0.01, rngs=rngs), config.actor_lipschitz
        if self.gaussian:
            shape = (n_in, n_out if config.full_std else 1) if self.use_sde else (n_out,)
            self.log_std = nnx.Param(jnp.full(shape, config.log_std_init, jnp.float32))

    def __call__(self, hidden: Float[Array, "B I"]) -> Float[Array, "B P"]:
        if self.lipschitz is not None:  # only scaled down: a policy may be less steep than its bound
            kernel = self.dense.kernel[...]
            share = jnp.minimum(1.0, self.lipschitz / dense_norm_bound(kernel))
            return hidden @ (share * kernel) + self.dense.bias[...][None, :]
        out = self.dense(hidden)
        if not self.gaussian:
            return out
        if self.use_sde:
            std = deviations(self.log_std[...], out.shape[-1], use_expln=self.use_expln)
            log_std = action_log_std(hidden, std)
        else:
            log_std = jnp.broadcast_to(self.log_std[...][None, :], out.shape)
        return jnp.concatenate([out, log_std], axis=-1)


def _rows(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def build_extractor(spec: ObservationSpec, config: ActorCriticConfig) -> tuple[Network, tuple[int, ...]]:
    """The network that reads observations, and the shape of its features."""
    custom, normalize = config.features_extractor, config.normalize_images

    def build(rngs: nnx.Rngs) -> Extractor | CustomExtractor:
        if custom is not None:
            return CustomExtractor(spec, custom, normalize=normalize, rngs=rngs)
        return make_extractor(
            spec,
            config.conv_layers,
            config.image_features,
            convolve=config.encoder == "cnn",
            normalize=normalize,
            rngs=rngs,
        )

    shape = nnx.eval_shape(lambda: build(nnx.Rngs(0))).features_shape
    return functional(build), shape


class _Parts(NamedTuple):
    """The networks of a policy; a part without layers is the identity."""

    extractor: Network
    latent: Network  # between features and z
    pi: Network  # between z and the actor's head
    vf_extractor: Network | None  # the critic's own, if it shares none
    vf: Network | None  # between features (or z) and the critic's head; None shares the actor's hidden layer
    actor: Network
    critic: Network


def _build_parts(
    spec: ObservationSpec, actions: ActionSpec, config: ActorCriticConfig
) -> tuple[_Parts, tuple[int, ...]]:
    extractor, features_shape = build_extractor(spec, config)
    n_features = math.prod(features_shape)

    def mlp(n_in: int, widths: tuple[int, ...]) -> Network:
        activation, orthogonal = config.activation, config.ortho_init
        return functional(
            lambda rngs: MLP(n_in, widths, activation=activation, orthogonal=orthogonal, rngs=rngs)
        )

    def lipschitz(n_in: int, widths: tuple[int, ...]) -> Network:
        return functional(lambda rngs: DenseTrunk(n_in, 0, widths, lipschitz=True, rngs=rngs))

    on_latent = config.latent is not None or config.encoder == "cnn"
    widths = (config.latent or ()) if on_latent else config.pi
    latent = mlp(n_features, widths)
    latent_shape = (widths[-1],) if widths else features_shape
    if config.categorical_latent is not None:
        n_in, categories = math.prod(latent_shape), config.categorical_latent
        latent_shape = categories
        before = latent
        head = functional(lambda rngs: CategoricalLatent(n_in, *categories, rngs=rngs))
        latent = Network(
            lambda key: {
                "mlp": before.init(jax.random.split(key)[0]),
                "head": head.init(jax.random.split(key)[1]),
            },
            lambda params, x: head.apply(params["head"], before.apply(params["mlp"], x)),
        )
    n_latent = math.prod(latent_shape)
    pi_widths = config.pi if on_latent else ()
    n_hidden = (n_latent, *pi_widths)[-1]
    n_vf = n_features if config.latent is None else n_latent
    n_critic = n_hidden if config.vf is None else (n_vf, *config.vf)[-1]
    return _Parts(
        extractor=extractor,
        latent=latent,
        pi=mlp(n_latent, pi_widths) if config.actor_lipschitz is None else lipschitz(n_latent, pi_widths),
        vf_extractor=extractor if config.own_extractor else None,
        vf=None if config.vf is None else mlp(n_vf, config.vf),
        actor=functional(lambda rngs: _ActorHead(n_hidden, actions, config, rngs=rngs)),
        critic=functional(lambda rngs: Dense(n_critic, 1, gain=1.0, rngs=rngs)),
    ), latent_shape


def make_actor_critic(spec: ObservationSpec, actions: ActionSpec, config: ActorCriticConfig) -> ActorCritic:
    """Build the networks for an observation and an action space.

    Raises:
        ValueError: the critic would need its own extractor but shares the actor's layers
            (``share_features_extractor=False`` with a shared ``net_arch``) or reads the latent, or an image is too
            small.
    """
    if config.own_extractor and config.vf is None:
        raise ValueError(
            "share_features_extractor=False needs separate layers: net_arch=dict(pi=[...], vf=[...]), "
            f"got the shared net_arch={list(config.pi)}."
        )
    if config.own_extractor and config.latent is not None:
        raise ValueError(
            "share_features_extractor=False needs a critic that reads the observation, but with "
            f"latent_arch={list(config.latent)} it reads the latent alone."
        )
    if config.use_sde and actions.kind != "box":
        raise ValueError(f"use_sde=True needs actions in a Box, got {actions.kind} actions.")
    if config.squash_output and not config.use_sde:
        raise ValueError("squash_output=True needs use_sde=True, as in Stable-Baselines3.")
    if config.actor_lipschitz is not None and actions.kind == "box":
        raise ValueError(
            f"actor_lipschitz={config.actor_lipschitz:g} needs discrete actions, got a Box: for Gaussian policies "
            "there is no theorem that could use it."
        )
    parts, latent_shape = _build_parts(spec, actions, config)
    networks = {name: part for name, part in parts._asdict().items() if part is not None}

    def init(key: Array) -> Params:
        # A constant folded in for each part keeps the others' weights when one is added.
        return {
            name: networks[name].init(jax.random.fold_in(key, _Parts._fields.index(name)))
            for name in networks
        }

    def features(params: Params, obs: Observation) -> Array:
        return parts.extractor.apply(params["extractor"], obs)

    def latent(params: Params, x: Array) -> Array:
        if len(latent_shape) == 3:  # the feature map itself
            return x
        return parts.latent.apply(params["latent"], _rows(x))

    def critic_hidden(params: Params, obs: Observation, x: Array, z: Array) -> Array:
        assert parts.vf is not None
        if config.latent is not None:
            x = z
        elif parts.vf_extractor is not None:
            x = parts.vf_extractor.apply(params["vf_extractor"], obs)
        return parts.vf.apply(params["vf"], _rows(x))

    def actor(params: Params, z: Array) -> Array:
        return parts.actor.apply(params["actor"], parts.pi.apply(params["pi"], _rows(z)))

    def evaluate(params: Params, obs: Observation, x: Array, z: Array) -> Evaluation:
        hidden = parts.pi.apply(params["pi"], _rows(z))
        critic_in = hidden if parts.vf is None else critic_hidden(params, obs, x, z)
        return Evaluation(
            parameters=parts.actor.apply(params["actor"], hidden),
            value=parts.critic.apply(params["critic"], critic_in)[:, 0],
            hidden=hidden if config.use_sde else None,
        )

    def value(params: Params, obs: Observation) -> Array:
        x = features(params, obs)
        return evaluate(params, obs, x, latent(params, x)).value

    def judge(params: Params, z: Array) -> Evaluation:
        return evaluate(params, None, z, z)

    def draw_noise(params: Params, key: Array, n_envs: int) -> Array:
        std = deviations(params["actor"]["log_std"], math.prod(actions.shape), use_expln=config.use_expln)
        return draw_matrices(std, n_envs, key)

    needs_obs = parts.vf is not None and config.latent is None
    return ActorCritic(
        init,
        features,
        latent,
        evaluate,
        value,
        actor,
        latent_shape,
        judge=None if needs_obs else judge,
        draw_noise=draw_noise if config.use_sde else None,
        activation=config.activation,
        lipschitz=config.actor_lipschitz,
    )
