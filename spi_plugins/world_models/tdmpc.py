r"""The implicit world model of SPOWL and TD-MPC2: latent dynamics without a decoder, as pure functions.

Encoder, dynamics, reward, ensembles of cost, Q and cost-Q, and the policy prior live on one latent with SimNorm.
Rewards, costs and values are distributions over 101 bins of their symlog. Sources: "Safe Planning and Policy
Optimization via World Model Learning" (arXiv:2506.04828) and its code, TD-MPC2 (arXiv:2310.16828).

The parameters are a dict with ``encoder``, ``dynamics``, ``reward``, ``value``, ``policy`` and, where the model has
them, ``cost``, ``cost_value``, ``decoder`` and ``termination``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from spi_plugins.backend import loop
from spi_plugins.distributions import Bins, TanhNormal
from spi_plugins.hyperparameters import Config, check_below, hyperparameter
from spi_plugins.networks.encoders import ConvLayers, flat_size, flatten, make_extractor
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.normed_mlp import NormedMLP
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec, Params
from spi_plugins.world_models.model import Heads, Model, ModelSpec, Step

# The networks on latents and actions whose output are bins, in the order in which they are merged into one ensemble.
HEADS = ("reward", "cost", "value", "cost_value")


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
    episodic: bool = hyperparameter(
        False,
        "Also predict whether an episode has ended; for environments with terminal states",
        source="TD-MPC2's code",
    )
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
    cost: Float[Array, "C N K"]  # C is 0 without costs
    value: Float[Array, "E N K"]
    cost_value: Float[Array, "C N K"]


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
    if config.episodic:
        networks["termination"] = mlp(latent, 1)
    return networks


def _all_heads(action_size: int, config: TDMPCConfig) -> Network:
    """Reward, costs, critics and cost critics as the members of one ensemble, in this order."""
    rates = (
        0.0,
        *[config.cost_dropout] * config.n_costs,
        *[config.dropout] * (config.n_values + config.n_costs),
    )
    joint = config.latent_dim + action_size
    return functional(
        lambda rngs: NormedMLP(
            joint, config.hidden, config.n_bins, members=len(rates), dropout=rates, rngs=rngs
        )
    )


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
        self._heads = _all_heads(action_size, config)
        sizes = (1, config.n_costs, config.n_values, config.n_costs)
        self._members = dict(zip(HEADS, sizes, strict=True))
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
        x = _joint(z, action)
        heads = self._decoded_heads(self._ensemble(params, "reward", "cost"), x)
        next_z, terminated = self.forward("dynamics", params, x), jnp.zeros(z.shape[0])
        if self.config.episodic:
            terminated = jax.nn.sigmoid(self.termination(params, next_z))
        return Step(next_z, heads[0], heads[1:], terminated)

    def _ensemble(self, params: Params, *names: str) -> Params:
        """Networks that follow one another in ``HEADS`` as one ensemble, of parameters that are merged or not."""
        names = tuple(name for name in names if self._members[name])
        if "heads" not in params:
            return _stacked([params[name] for name in names])
        start = sum(self._members[name] for name in HEADS[: HEADS.index(names[0])])
        end = start + sum(self._members[name] for name in names)
        return jax.tree.map(lambda p: p[start:end], params["heads"])

    def _decoded_heads(self, ensemble: Params, x: Array, key: Array | None = None) -> Float[Array, "K N"]:
        return self.bins.decode(self._networks["value"].apply(ensemble, x, key))

    def termination(self, params: Params, z: Array) -> Float[Array, " N"]:
        """The logits of latents being terminal, in an ``episodic`` model."""
        return self.forward("termination", params, z)[:, 0]

    def merged(self, params: Params) -> Params:
        """The same parameters with all heads as the members of one ensemble, ``heads``; without the policy's.

        All functions of the model take these, too, except for the policy.
        """
        rest = {name: tree for name, tree in params.items() if name not in (*HEADS, "policy")}
        return {**rest, "heads": self._ensemble(params, *HEADS)}

    def unmerged(self, merged: Params) -> Params:
        """The parameters by the names of the networks, as ``init`` makes them, but without the policy's."""
        rest = {name: tree for name, tree in merged.items() if name != "heads"}
        heads = {name: self._ensemble(merged, name) for name in HEADS if self._members[name]}
        return {**rest, **heads, "reward": jax.tree.map(lambda p: p[0], heads["reward"])}

    def critics_of(self, params: Params) -> Params:
        """Both critics as one ensemble: what has slow copies as targets."""
        return self._ensemble(params, "value", "cost_value")

    def critics_by_name(self, ensemble: Params) -> Params:
        """The critics of ``critics_of``, by the names of the networks."""
        n = self.config.n_values
        by_name = {"value": jax.tree.map(lambda p: p[:n], ensemble)}
        if self.config.n_costs:
            by_name["cost_value"] = jax.tree.map(lambda p: p[n:], ensemble)
        return by_name

    def rollout(
        self,
        params: Params,
        obs: Observation,
        action: Float[Array, "H B A"],
        valid: Bool[Array, "H B"],
        target: Float[Array, "H B Z"],
    ) -> Float[Array, "H+1 B Z"]:
        """Latents under the actions; where not ``valid``, the target, which starts a new episode, comes next."""
        first = self.forward("encoder", params, obs)

        # In the backward pass a step is computed again: keeping all of its results would take more memory and kernels.
        @jax.checkpoint
        def advance(z: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            action, valid, target = step
            predicted = self.forward("dynamics", params, _joint(z, action))
            z = jnp.where(valid[:, None], predicted, target)
            return z, z

        _, following = loop(advance, first, (action, valid, target))
        return jnp.concatenate([first[None], following])

    def heads(self, params: Params, z: Array, action: Array, key: PRNGKeyArray) -> Prediction:
        """The logits for the losses."""
        logits = self._heads.apply(self._ensemble(params, *HEADS), _joint(z, action), key)
        return Prediction(*self._by_head(logits))

    def _by_head(self, rows: Float[Array, "M N *K"]) -> tuple[Array, Array, Array, Array]:
        """The rows of all heads, by network."""
        n_costs, n_values = self.config.n_costs, self.config.n_values
        reward, cost, value, cost_value = jnp.split(rows, np.cumsum([1, n_costs, n_values]))
        return reward[0], cost, value, cost_value

    def _critic(
        self, name: str, params: Params, z: Array, action: Array, members: Array | None
    ) -> Float[Array, "K N"]:
        return self._decoded_heads(_members(self._ensemble(params, name), members), _joint(z, action))

    def critics(
        self, ensemble: Params, z: Array, action: Array, members: Array | None, key: Array | None = None
    ) -> tuple[Float[Array, "K N"], Float[Array, "E N"]]:
        """Values by the heads ``members`` (``None`` for all), and costs; with dropout if there is a key.

        The ensemble is one of ``critics_of``.
        """
        n_values = self.config.n_values
        if members is not None:
            every = jnp.concatenate([members, n_values + jnp.arange(self.config.n_costs)])
            ensemble, n_values = _members(ensemble, every), len(members)
        both = self._decoded_heads(ensemble, _joint(z, action), key)
        return both[:n_values], both[n_values:]

    def _all_heads(self, params: Params, z: Array, action: Array) -> Heads:
        """Reward, costs and both critics by all heads."""
        decoded = self._decoded_heads(self._ensemble(params, *HEADS), _joint(z, action))
        return Heads(*self._by_head(decoded))

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
                has_termination=config.episodic,
                latent_low=0.0,  # SimNorm's
                latent_high=1.0,
            ),
            encode=functools.partial(self.forward, "encoder"),
            step=self._step,
            value=functools.partial(self._critic, "value"),
            cost_value=functools.partial(self._critic, "cost_value") if config.n_costs else None,
            heads=self._all_heads,
            policy=self._policy,
            decode=self._decoded if decodes else None,
            uncertainty=self._disagreement if config.n_values > 1 else None,
        )


def _members(ensemble: Params, members: Array | None) -> Params:
    """Some of an ensemble, or all."""
    if members is None:
        return ensemble
    return jax.tree.map(lambda p: p.at[members].get(mode="promise_in_bounds"), ensemble)


def _stacked(networks: list[Params]) -> Params:
    """Networks and ensembles of the same layers as one ensemble: a third of the products, each of them larger."""

    def join(*parts: Array) -> Array:
        rank = max(part.ndim for part in parts)
        return jnp.concatenate([part if part.ndim == rank else part[None] for part in parts])

    if len(networks) == 1 and networks[0]["kernel0"].ndim == 2:
        return jax.tree.map(lambda p: p[None], networks[0])
    return jax.tree.map(join, *networks)


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
