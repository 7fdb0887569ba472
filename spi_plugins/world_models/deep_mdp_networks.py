"""The settings of the latent model of Deep SPI, and the networks that it is made of."""

import dataclasses
from typing import Any, Literal, NamedTuple

from flax import nnx

from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.networks.blocks import DensityShape
from spi_plugins.networks.categorical import CategoricalTransition
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.reward import RewardNet, TerminationNet
from spi_plugins.networks.transition import FlatTransition, MapTransition
from spi_plugins.types import ActionSpec

TransitionDensity = Literal["deterministic", "normal", "mixture", "categorical"]
TransitionScale = Literal["latent", "action"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepMDPConfig(Config):
    """What the latent model is made of. Frozen and hashable."""

    transition_density: TransitionDensity = hyperparameter(
        "mixture",
        'Distribution of the next latent: `"mixture"` of normals, `"normal"`, `"deterministic"` (that of DeepMDP), or '
        '`"categorical"` for categorical latents',
    )
    lipschitz: bool = hyperparameter(
        True,
        "Certified 1-Lipschitz latent model; `False` for plain networks with a gradient penalty, which categorical "
        "latents need",
    )
    lipschitz_constant: float = hyperparameter(
        1.0,
        "Bound on the Lipschitz constant of transition and reward in the latent, with `lipschitz`",
        above=0,
    )
    transition_scale: TransitionScale = hyperparameter(
        "latent",
        'What the deviations of a `lipschitz` normal or mixture depend on: `"latent"` (and action), as published, '
        "which leaves the mean half of `lipschitz_constant`, too little for states that stay where they are; or "
        '`"action"` alone, if it is discrete, which leaves it all',
    )
    n_components: int = hyperparameter(5, "Components of the mixture", low=1)
    feature_group_size: int | None = hyperparameter(
        4,
        "Channels in a group of the transition's last layer, or entries of a flat latent (the largest divisor that is "
        "not greater); `None` for one group",
        low=1,
    )
    transition_hidden: tuple[int, ...] | None = hyperparameter(
        None,
        "Widths of the transition's dense layers on flat (`None`: 128, 128) and categorical latents (512)",
    )
    reward_hidden: tuple[int, ...] | None = hyperparameter(
        None,
        "Widths of the reward's dense layers; `None` for (256, 256) on feature maps with `lipschitz`, (128,) on flat "
        "latents, (512,) otherwise",
    )
    termination: bool = hyperparameter(False, "Also learn to predict termination, which dreams need")
    termination_hidden: tuple[int, ...] | None = hyperparameter(
        None, "Widths of the termination predictor; `None` for (128,) on flat latents, (512,) otherwise"
    )
    embedding: int = hyperparameter(128, "Width of embeddings of categorical latents and actions", low=1)
    residual: bool = hyperparameter(
        False,
        "The transition predicts the change of a real latent instead of the next one; not with `lipschitz`",
    )
    w_balancing: float | None = hyperparameter(
        None,
        "The prediction's share of the transition loss's gradient, the target has the rest (published: 0.8, off by "
        "default); `None` leaves both whole",
        low=0,
        high=1,
    )
    gradient_penalty_coef: float = hyperparameter(
        0.01, "Weight of the gradient penalty, without `lipschitz` and on real latents", low=0
    )

    cost: bool = False  # also learn to predict costs; an agent with a constraint does

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transition_density == "categorical" and self.lipschitz:
            raise ValueError(
                "transition_density='categorical' has no Lipschitz networks; set lipschitz=False."
            )
        if self.transition_scale == "action" and not (
            self.lipschitz and self.transition_density in ("normal", "mixture")
        ):
            raise ValueError(
                "transition_scale='action' needs lipschitz=True and transition_density='normal' or 'mixture', got "
                f"lipschitz={self.lipschitz} and transition_density={self.transition_density!r}."
            )
        if self.residual and (self.lipschitz or self.transition_density == "categorical"):
            raise ValueError("residual=True needs real latents and lipschitz=False.")


class Networks(NamedTuple):
    """The networks of one model."""

    transition: Network
    reward: Network
    termination: Network | None
    cost: Network | None = None


def make_networks(latent_shape: tuple[int, ...], action_spec: ActionSpec, config: DeepMDPConfig) -> Networks:
    """Build the networks for a latent and an action space.

    Raises:
        ValueError: the density cannot model such a latent.
    """
    _check_latent(latent_shape, config)
    flat, categorical = len(latent_shape) == 1, config.transition_density == "categorical"
    reward_hidden = (128,) if flat else (256, 256) if config.lipschitz else (512,)
    termination_hidden = config.termination_hidden or ((128,) if flat else (512,))

    def reward(rngs: nnx.Rngs) -> nnx.Module:
        return RewardNet(
            latent_shape,
            action_spec,
            hidden_sizes=config.reward_hidden or reward_hidden,
            lipschitz=config.lipschitz,
            embedding=config.embedding if categorical else None,
            rngs=rngs,
        )

    def termination(rngs: nnx.Rngs) -> nnx.Module:
        return TerminationNet(latent_shape, hidden_sizes=termination_hidden, rngs=rngs)

    return Networks(
        functional(lambda rngs: _transition(latent_shape, action_spec, config, rngs)),
        functional(reward),
        functional(termination) if config.termination else None,
        functional(reward) if config.cost else None,
    )


def _check_latent(latent_shape: tuple[int, ...], config: DeepMDPConfig) -> None:
    categorical = config.transition_density == "categorical"
    allowed = (2,) if categorical else (1, 3)
    if len(latent_shape) not in allowed or min(latent_shape) < 1:
        kinds = "(categories, classes)" if categorical else "(size,) or (height, width, channels)"
        density = config.transition_density
        raise ValueError(f"latent_shape={latent_shape} must be {kinds} for transition_density={density!r}")


def _transition(
    latent_shape: tuple[int, ...], action_spec: ActionSpec, config: DeepMDPConfig, rngs: nnx.Rngs
) -> nnx.Module:
    hidden = config.transition_hidden or ((128,) if len(latent_shape) == 1 else (512,))
    if config.transition_density == "categorical":
        categories, classes = latent_shape
        return CategoricalTransition(
            (categories, classes), action_spec, hidden_sizes=hidden, embedding=config.embedding, rngs=rngs
        )
    mixture = config.transition_density == "mixture"
    density = DensityShape(
        components=config.n_components if mixture else 1,
        stochastic=config.transition_density != "deterministic",
        mixture=mixture,
        scale_of_latent=config.transition_scale == "latent",
    )
    options: Any = {"lipschitz": config.lipschitz, "group_size": config.feature_group_size, "rngs": rngs}
    if len(latent_shape) == 3:
        height, width, channels = latent_shape
        return MapTransition((height, width, channels), action_spec, density, **options)
    return FlatTransition(latent_shape[0], action_spec, density, hidden_sizes=hidden, **options)
