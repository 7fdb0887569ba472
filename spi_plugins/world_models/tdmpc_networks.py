"""What the implicit world model of SPOWL and TD-MPC2 is made of: its settings, and its networks by name."""

import dataclasses
import math

from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.hyperparameters import Config, check_below, hyperparameter
from spi_plugins.networks.encoders import ConvLayers, flat_size, make_extractor
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.normed_mlp import NormedMLP
from spi_plugins.networks.pixels import PixelEncoder
from spi_plugins.types import ArraySpec, Observation, ObservationSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class TDMPCConfig(Config):
    """What the model is made of; the defaults are the paper's, 10 million trained parameters. Hashable."""

    encoder_hidden: tuple[int, ...] = hyperparameter(
        (256,), "Widths of the encoder of anything but one image; reversed for a decoder"
    )
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
        None,
        "`(channels, kernel size, stride)` of each convolution; `None` for TD-MPC2's, or smaller ones on small images",
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


class _Encoder(nnx.Module):
    """Observations to latents: features, then a normed MLP."""

    def __init__(self, spec: ObservationSpec, config: TDMPCConfig, *, rngs: nnx.Rngs):
        self.features = make_extractor(
            spec, config.conv_layers, config.image_features, convolve=False, rngs=rngs
        )
        self.mlp = NormedMLP(
            math.prod(self.features.features_shape),
            config.encoder_hidden,
            config.latent_dim,
            simnorm_dim=config.simnorm_dim,
            rngs=rngs,
        )

    def __call__(self, obs: Observation) -> Float[Array, "N Z"]:
        return self.mlp(self.features(obs))


def _make_encoder(spec: ObservationSpec, config: TDMPCConfig, rngs: nnx.Rngs) -> nnx.Module:
    if isinstance(spec, ArraySpec) and spec.kind == "image":
        return PixelEncoder(spec, config.conv_layers, config.latent_dim, config.simnorm_dim, rngs=rngs)
    return _Encoder(spec, config, rngs=rngs)


def make_networks(
    observations: ObservationSpec, action_size: int, policy_size: int, config: TDMPCConfig
) -> dict[str, Network]:
    """The networks, by the names of their parameters; the policy has ``policy_size`` outputs."""
    latent, joint = config.latent_dim, config.latent_dim + action_size

    def mlp(n_in: int, n_out: int, **kwargs: int | float | bool | None) -> Network:
        return functional(lambda rngs: NormedMLP(n_in, config.hidden, n_out, rngs=rngs, **kwargs))  # type: ignore[arg-type]

    networks = {
        "encoder": functional(lambda rngs: _make_encoder(observations, config, rngs)),
        "dynamics": mlp(joint, latent, simnorm_dim=config.simnorm_dim),
        "reward": mlp(joint, config.n_bins, zero_last=True),
        "value": mlp(joint, config.n_bins, members=config.n_values, dropout=config.dropout, zero_last=True),
        "policy": mlp(latent, policy_size),
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


def make_all_heads(action_size: int, config: TDMPCConfig) -> Network:
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
