r"""The implicit world model of SPOWL and TD-MPC2: latent dynamics without a decoder, as pure functions.

Encoder, dynamics, reward, ensembles of cost, Q and cost-Q, and the policy prior live on one latent with SimNorm.
Rewards, costs and values are distributions over 101 bins of their symlog. Sources: "Safe Planning and Policy
Optimization via World Model Learning" (arXiv:2506.04828) and its code, TD-MPC2 (arXiv:2310.16828).

The parameters are a dict with ``encoder``, ``dynamics``, ``reward``, ``value``, ``policy`` and, where the model has
them, ``cost``, ``cost_value`` and ``decoder``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from spi_plugins.distributions import Bins, TanhNormal
from spi_plugins.hyperparameters import Config, check_below, hyperparameter
from spi_plugins.networks.encoders import ConvLayers, flat_size, flatten, make_extractor
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.normed_mlp import NormedMLP
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec, Params
from spi_plugins.world_models.model import Model, ModelSpec, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class TDMPCConfig(Config):
    """What the model is made of; the defaults are the paper's, 10 million trained parameters. Hashable."""

    encoder_hidden: tuple[int, ...] = hyperparameter((256,), "Widths of the encoder; reversed for a decoder")
    latent_dim: int = hyperparameter(512, "Entries of the latent, a multiple of `simnorm_dim`", low=1)
    simnorm_dim: int = hyperparameter(8, "Entries of a group that SimNorm normalizes", low=1)
    hidden: tuple[int, ...] = hyperparameter((512, 512), "Widths of the other networks")
    n_bins: int = hyperparameter(101, "Bins of the distributions of rewards, costs and values", low=2)
    bin_min: float = hyperparameter(-10.0, "`symlog` of the least of them")
    bin_max: float = hyperparameter(10.0, "`symlog` of the greatest of them")
    n_values: int = hyperparameter(5, "Critics of the reward", low=1)
    n_costs: int = hyperparameter(5, "Cost heads, and cost critics; 0 for a model without costs", low=0)
    dropout: float = hyperparameter(0.01, "Dropout rate of the critics in training", low=0, below=1)
    cost_dropout: float = hyperparameter(0.0, "Dropout rate of the cost heads in training", low=0, below=1)
    log_std_min: float = hyperparameter(-10.0, "Least logarithm of the policy's deviation before tanh")
    log_std_max: float = hyperparameter(2.0, "Greatest of these logarithms")
    horizon: int = hyperparameter(3, "Steps of a training window, and of a plan by default", low=1)
    gamma: float = hyperparameter(0.975, "Discount of rewards per step", low=0, high=1)
    cost_gamma: float = hyperparameter(0.997, "Discount of costs per step", low=0, high=1)
    decoder: bool = hyperparameter(False, "Also learn to decode observations that are not images")
    conv_layers: ConvLayers | None = hyperparameter(
        None, "`(channels, kernel size, stride)` of each convolution; `None` to choose by the image's size"
    )
    image_features: int = hyperparameter(256, "Width of an image's features within a Dict", low=1)
    official_log_prob: bool = hyperparameter(False, "Use the published log-probability, see `TanhNormal`")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim % self.simnorm_dim:
            raise ValueError(
                f"latent_dim={self.latent_dim} must be a multiple of simnorm_dim={self.simnorm_dim}."
            )
        check_below(self, "bin_min", "bin_max")
        check_below(self, "log_std_min", "log_std_max")


class Prediction(NamedTuple):
    """Logits of every head for latents and actions in training, with dropout where the model has it."""

    reward: Float[Array, "N K"]
    cost: Float[Array, "E N K"] | None
    value: Float[Array, "E N K"]
    cost_value: Float[Array, "E N K"] | None


class _Encoder(nnx.Module):
    """Observations to latents: features, then a normed MLP."""

    def __init__(self, spec: ObservationSpec, config: TDMPCConfig, *, rngs: nnx.Rngs):
        convolve = isinstance(spec, ArraySpec) and spec.kind == "image"
        layers, width = config.conv_layers, config.image_features
        self.features = make_extractor(spec, layers, width, convolve=convolve, rngs=rngs)
        self.mlp = NormedMLP(
            math.prod(self.features.features_shape),
            config.encoder_hidden,
            config.latent_dim,
            simnorm_dim=config.simnorm_dim,
            rngs=rngs,
        )

    def __call__(self, obs: Observation) -> Float[Array, "N Z"]:
        features = self.features(obs)
        return self.mlp(features.reshape(features.shape[0], -1))


def _networks(observations: ObservationSpec, action_size: int, config: TDMPCConfig) -> dict[str, Network]:
    """The networks, by the names of their parameters."""
    latent, joint = config.latent_dim, config.latent_dim + action_size

    def mlp(n_in: int, n_out: int, **kwargs: int | float | bool | None) -> Network:
        return functional(lambda rngs: NormedMLP(n_in, config.hidden, n_out, rngs=rngs, **kwargs))  # type: ignore[arg-type]

    networks = {
        "encoder": functional(lambda rngs: _Encoder(observations, config, rngs=rngs)),
        "dynamics": mlp(joint, latent, simnorm_dim=config.simnorm_dim),
        "reward": mlp(joint, config.n_bins, zero_last=True),
        "value": mlp(joint, config.n_bins, members=config.n_values, dropout=config.dropout, zero_last=True),
        "policy": mlp(latent, 2 * action_size),
    }
    if config.n_costs:
        shared = {"members": config.n_costs, "zero_last": True}
        networks["cost"] = mlp(joint, config.n_bins, dropout=config.cost_dropout, **shared)
        networks["cost_value"] = mlp(joint, config.n_bins, dropout=config.dropout, **shared)
    if config.decoder:
        if not isinstance(observations, ArraySpec) or observations.kind == "image":
            raise ValueError("decoder=True decodes one array of numbers, neither images nor a Dict.")
        size, widths = flat_size(observations), config.encoder_hidden[::-1]
        networks["decoder"] = functional(lambda rngs: NormedMLP(latent, widths, size, rngs=rngs))
    return networks


class TDMPC:
    """The networks as pure functions of the parameters.

    Attributes:
        config: the settings.
        bins: the distributions of rewards, costs and values.
        model: the model as planners see it.
        decode: ``(params, z) -> [N, O]``, the flat observation; ``None`` without a decoder.
        decoded_of: ``(obs) -> [N, O]``, the target of ``decode``; ``None`` without a decoder.
    """

    def __init__(self, observations: ObservationSpec, action_size: int, config: TDMPCConfig):
        """Build the networks; ``make_tdmpc`` checks the arguments."""
        self.observations, self.config = observations, config
        self._networks = _networks(observations, action_size, config)
        self.bins = Bins(config.n_bins, config.bin_min, config.bin_max)
        self._actor = TanhNormal(config.log_std_min, config.log_std_max, config.official_log_prob)
        self.decode: Callable[[Params, Array], Array] | None = None
        self.decoded_of: Callable[[Observation], Array] | None = None
        if config.decoder and isinstance(observations, ArraySpec):
            self.decode = functools.partial(self.forward, "decoder")
            self.decoded_of = functools.partial(flatten, observations)
        self.model = self._model(action_size)

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model that planners see."""
        return self.model.spec

    def init(self, key: Array) -> Params:
        """Draw initial parameters."""
        keys = jax.random.split(key, len(self._networks))
        return {name: net.init(k) for (name, net), k in zip(self._networks.items(), keys, strict=True)}

    def forward(self, name: str, params: Params, *inputs: Observation) -> Array:
        """Apply one of the networks."""
        return self._networks[name].apply(params[name], *inputs)

    def _step(self, params: Params, z: Array, action: Array, key: Array | None) -> Step:
        del key  # deterministic
        x, zeros = _joint(z, action), jnp.zeros(z.shape[0])
        cost = jnp.zeros((0, z.shape[0]))
        if self.config.n_costs:
            cost = self.bins.decode(self.forward("cost", params, x))
        reward = self.bins.decode(self.forward("reward", params, x))
        return Step(self.forward("dynamics", params, x), reward, cost, zeros)

    def rollout(
        self,
        params: Params,
        obs: Observation,
        action: Float[Array, "H B A"],
        valid: Bool[Array, "H B"],
        target: Float[Array, "H B Z"],
    ) -> Float[Array, "H+1 B Z"]:
        """Latents under the actions; where not ``valid``, the target, which starts a new episode, comes next."""
        z = [self.forward("encoder", params, obs)]
        # Unrolled: a window has few steps, and a loop would keep XLA from fusing across them.
        for t in range(action.shape[0]):
            predicted = self.forward("dynamics", params, _joint(z[-1], action[t]))
            z.append(jnp.where(valid[t][:, None], predicted, target[t]))
        return jnp.stack(z)

    def heads(self, params: Params, z: Array, action: Array, key: PRNGKeyArray) -> Prediction:
        """The logits for the losses."""
        x = _joint(z, action)
        value_key, cost_key, cost_value_key = jax.random.split(key, 3)
        costs = self.config.n_costs > 0
        return Prediction(
            reward=self.forward("reward", params, x),
            cost=self.forward("cost", params, x, cost_key) if costs else None,
            value=self.forward("value", params, x, value_key),
            cost_value=self.forward("cost_value", params, x, cost_value_key) if costs else None,
        )

    def _critic(
        self,
        name: str,
        params: Params,
        z: Array,
        action: Array,
        members: Array | None,
        key: Array | None = None,
    ) -> Float[Array, "K N"]:
        chosen = params[name]
        if members is not None:
            chosen = jax.tree.map(lambda p: jnp.take(p, members, axis=0), chosen)
        return self.bins.decode(self._networks[name].apply(chosen, _joint(z, action), key))

    def critics(
        self, params: Params, z: Array, action: Array, members: Array | None, key: Array
    ) -> tuple[Float[Array, "K N"], Float[Array, "E N"]]:
        """Values by the heads ``members`` (``None`` for all), and costs, with dropout: for the policy's loss."""
        value_key, cost_key = jax.random.split(key)
        value = self._critic("value", params, z, action, members, value_key)
        if not self.config.n_costs:
            return value, jnp.zeros((0, z.shape[0]))
        return value, self._critic("cost_value", params, z, action, None, cost_key)

    def _disagreement(self, params: Params, z: Array, action: Array) -> Float[Array, " N"]:
        return jnp.std(self._critic("value", params, z, action, None), axis=0)

    def act(self, params: Params, z: Array, key: Array) -> tuple[Array, Array]:
        """Sample actions of the policy, and their log-probabilities."""
        return self._actor.sample(self.forward("policy", params, z), key)

    def _policy(self, params: Params, z: Array, key: Array, *, deterministic: bool) -> Float[Array, "N A"]:
        parameters = self.forward("policy", params, z)
        return self._actor.mode(parameters) if deterministic else self._actor.sample(parameters, key)[0]

    def _decoded(self, params: Params, z: Array) -> Float[Array, " N *O"]:
        assert isinstance(self.observations, ArraySpec)
        return self.forward("decoder", params, z).reshape(-1, *self.observations.shape)

    def targets(self, params: Params) -> Params:
        """The part of the parameters that has slow copies as targets."""
        return {name: params[name] for name in ("value", "cost_value") if name in params}

    def _model(self, action_size: int) -> Model:
        config, observations = self.config, self.observations
        # Only a Box is decoded in its own units; a one-hot has none.
        decodes = config.decoder and isinstance(observations, ArraySpec) and observations.kind == "box"
        return Model(
            spec=ModelSpec(
                latent_shape=(config.latent_dim,),
                action_size=action_size,
                horizon=config.horizon,
                gamma=config.gamma,
                cost_gamma=config.cost_gamma,
                n_costs=config.n_costs,
                n_values=config.n_values,
                n_cost_values=config.n_costs,
                latent_low=0.0,  # SimNorm's
                latent_high=1.0,
            ),
            encode=functools.partial(self.forward, "encoder"),
            step=self._step,
            value=functools.partial(self._critic, "value"),
            cost_value=functools.partial(self._critic, "cost_value") if config.n_costs else None,
            policy=self._policy,
            decode=self._decoded if decodes else None,
            uncertainty=self._disagreement if config.n_values > 1 else None,
        )


def _joint(z: Array, action: Array) -> Array:
    return jnp.concatenate([z, action], axis=-1)


def make_tdmpc(
    observations: ObservationSpec, action_spec: ActionSpec, config: TDMPCConfig | None = None
) -> TDMPC:
    """Bind the networks into a model, by default with the paper's settings; its actions are in [-1, 1].

    Raises:
        ValueError: the actions are not a ``Box``, or the observations cannot be decoded although a decoder is wanted.
    """
    if action_spec.kind != "box":
        raise ValueError(f"The tdmpc world model needs actions in a Box, got {action_spec.kind} actions.")
    config = TDMPCConfig() if config is None else config
    return TDMPC(observations, action_spec.size, config)
