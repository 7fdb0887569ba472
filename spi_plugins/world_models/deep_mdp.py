"""The latent model of Deep SPI: transition, reward and, optionally, termination, as pure functions.

The model works on the latent of an encoder that belongs to the agent; the gradients of its losses reach that encoder
through the latent and the next latent. Sources: Delgrange et al., "Deep SPI: Safe Policy Improvement via World
Models" (arXiv:2510.12312), Gelada et al., 2019 (DeepMDP), and the published implementation. Differences from the
latter:

1. Kernels are divided by a certified bound of their operator norm; the published code divides by about its square,
   and uses the norm of a convolution's kernel matrix for that of the convolution.
2. ``lipschitz`` mixtures weight their components by the action alone. Weights that depend on the latent would multiply
   unbounded components and void the bound. Without ``lipschitz`` the weights depend on the latent, as published.
3. The location and scale of each component are normalized separately, by group and action, rather than all outputs
   of a group together: the bound holds (see ``densities.lipschitz_sample``) and no output starves another.
4. Only the chosen action's head is computed, with the same result.
5. Without ``lipschitz``, feature groups come after a dense hidden convolution of ``2 c`` channels, as in the
   Lipschitz net, and the mixture's logits are linear in the latent; the published reshape, which scrambles
   components and places, is not reproduced.
6. The location has a ReLU on feature maps only, whose latents are nonnegative; a flat latent may be negative. Flat
   latents have feature groups too.
7. The noise of a Lipschitz normal is clipped, as for the mixture; the published code truncates it.
8. Actions that are not discrete enter the first layer as features without a bound: the model is Lipschitz in the
latent. 9. GroupSort pairs feature ``i`` with ``i + n / 2`` instead of its neighbor: the same functions, contiguous
access. 10. Categorical latents: the action's embedding enters the first dense layer once instead of next to every
token, which
    spans the same functions; the loss is smooth L1.

Cost at the published size (latent 7 x 7 x 64, Lipschitz mixture): 6.2 MFLOP per sample forward and 18.5 with all
gradients, for any number of actions (transition 13.2, reward 5.2; a PPO sample takes 49.5), and about 0.9 GFLOP per
call for the bounds, whatever the batch. Inside a ``lax.scan`` with constant parameters XLA computes the bounds once.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.losses.deep_mdp import (
    balance,
    categorical_transition_loss,
    deterministic_transition_loss,
    mixture_transition_loss,
    reward_loss,
    sample_transition_loss,
    share_gradient,
    termination_loss,
)
from spi_plugins.losses.gradient_penalty import gradient_penalty
from spi_plugins.networks.blocks import DensityOutputs, DensityShape, from_blocks
from spi_plugins.networks.categorical import CategoricalTransition
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.heads import action_features
from spi_plugins.networks.reward import RewardNet, TerminationNet
from spi_plugins.networks.transition import FlatTransition, MapTransition
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.densities import lipschitz_sample, sample, standard_deviation

TransitionDensity = Literal["deterministic", "normal", "mixture", "categorical"]


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transition_density == "categorical" and self.lipschitz:
            raise ValueError(
                "transition_density='categorical' has no Lipschitz networks; set lipschitz=False."
            )
        if self.residual and (self.lipschitz or self.transition_density == "categorical"):
            raise ValueError("residual=True needs real latents and lipschitz=False.")


class ModelLosses(NamedTuple):
    """Per-sample losses; the caller masks rows that are not transitions."""

    transition: Float[Array, " B"]
    reward: Float[Array, " B"]
    termination: Float[Array, " B"]  # zeros without a predictor


class DeepMDP(NamedTuple):
    """A latent model. ``z`` is ``[B, *latent_shape]``; actions are as ``ActionSpec`` says, with a batch axis.

    Attributes:
        init: ``(key) -> params``, a dict of ``transition``, ``reward`` and, with a predictor, ``termination``.
        losses: ``(params, z, action, reward, next_z, terminated, key) -> ModelLosses``. No gradient is stopped.
        predict: ``(params, z, action, key) -> next_z``, a sample, or the mean if the key is ``None``. If
            ``lipschitz``, for a fixed key it is Lipschitz in ``z`` with the configured constant (Euclidean norms); the
            bound comes from ``networks.spectral``.
        reward: ``(params, z, action) -> [B]``; if ``lipschitz``, Lipschitz in ``z`` with the configured constant.
        termination: ``(params, z) -> [B]``, the probability that ``z`` is terminal; ``None`` without a predictor.
        penalty: ``(params, z, action, key) -> scalar``, the mean squared gradient norm of the predicted next latent and
            reward, with respect to the latent and the action vector; 0 if ``lipschitz`` or categorical. The caller
            multiplies by the coefficient.
        config: the settings.
        latent_shape: shape of one latent.
    """

    init: Callable[[PRNGKeyArray], Params]
    losses: Callable[[Params, Array, Array, Array, Array, Array, PRNGKeyArray], ModelLosses]
    predict: Callable[[Params, Array, Array, PRNGKeyArray | None], Array]
    reward: Callable[[Params, Array, Array], Array]
    termination: Callable[[Params, Array], Array] | None
    penalty: Callable[[Params, Array, Array, PRNGKeyArray], Array]
    config: DeepMDPConfig
    latent_shape: tuple[int, ...]


class _Networks(NamedTuple):
    transition: Network
    reward: Network
    termination: Network | None


def _check_latent(latent_shape: tuple[int, ...], config: DeepMDPConfig) -> None:
    categorical = config.transition_density == "categorical"
    allowed = (2,) if categorical else (1, 3)
    if len(latent_shape) not in allowed or min(latent_shape) < 1:
        kinds = "(categories, classes)" if categorical else "(size,) or (height, width, channels)"
        density = config.transition_density
        raise ValueError(f"latent_shape={latent_shape} must be {kinds} for transition_density={density!r}")


def _make_networks(
    latent_shape: tuple[int, ...], action_spec: ActionSpec, config: DeepMDPConfig
) -> _Networks:
    on_map, flat, lipschitz = len(latent_shape) == 3, len(latent_shape) == 1, config.lipschitz
    categorical = config.transition_density == "categorical"
    mixture = config.transition_density == "mixture"
    density = DensityShape(
        components=config.n_components if mixture else 1,
        stochastic=config.transition_density in ("normal", "mixture"),
        mixture=mixture,
    )
    transition_hidden = config.transition_hidden or ((128,) if flat else (512,))
    reward_hidden = config.reward_hidden or ((128,) if flat else (256, 256) if lipschitz else (512,))

    def transition(rngs: nnx.Rngs) -> nnx.Module:
        if categorical:
            return CategoricalTransition(
                (latent_shape[0], latent_shape[1]),
                action_spec,
                hidden_sizes=transition_hidden,
                embedding=config.embedding,
                rngs=rngs,
            )
        if on_map:
            return MapTransition(
                (latent_shape[0], latent_shape[1], latent_shape[2]),
                action_spec,
                density,
                lipschitz=lipschitz,
                group_size=config.feature_group_size,
                rngs=rngs,
            )
        return FlatTransition(
            latent_shape[0],
            action_spec,
            density,
            lipschitz=lipschitz,
            group_size=config.feature_group_size,
            hidden_sizes=transition_hidden,
            rngs=rngs,
        )

    def reward(rngs: nnx.Rngs) -> nnx.Module:
        embedding = config.embedding if categorical else None
        return RewardNet(
            latent_shape,
            action_spec,
            hidden_sizes=reward_hidden,
            lipschitz=lipschitz,
            embedding=embedding,
            rngs=rngs,
        )

    termination_hidden = config.termination_hidden or ((128,) if flat else (512,))
    return _Networks(
        functional(transition),
        functional(reward),
        functional(lambda rngs: TerminationNet(latent_shape, hidden_sizes=termination_hidden, rngs=rngs))
        if config.termination
        else None,
    )


def make_deep_mdp(latent_shape: tuple[int, ...], action_spec: ActionSpec, config: DeepMDPConfig) -> DeepMDP:
    """Build the latent model for a latent and an action space.

    Args:
        latent_shape: ``(height, width, channels)`` of a feature map, ``(size,)`` of a vector, or
            ``(categories, classes)`` with a categorical density.
        action_spec: the action.
        config: the settings.

    Raises:
        ValueError: the density cannot model such a latent.
    """
    _check_latent(latent_shape, config)
    networks = _make_networks(latent_shape, action_spec, config)
    categorical = config.transition_density == "categorical"

    def init(key: PRNGKeyArray) -> Params:
        # A constant folded in for each part keeps the others' weights when the predictor is added.
        return {
            name: network.init(jax.random.fold_in(key, i))
            for i, (name, network) in enumerate(networks._asdict().items())
            if network is not None
        }

    def predict(params: Params, z: Array, action: Array, key: PRNGKeyArray | None) -> Array:
        if categorical:
            categories: Array = networks.transition.apply(params["transition"], z, action, key)
            return categories
        outputs = networks.transition.apply(params["transition"], z, action)
        if config.lipschitz:
            return from_blocks(lipschitz_sample(outputs, key, config.lipschitz_constant), latent_shape)
        drawn = from_blocks(sample(outputs, key), latent_shape)
        return z + drawn if config.residual else drawn

    def reward(params: Params, z: Array, action: Array) -> Array:
        value: Array = networks.reward.apply(params["reward"], z, action)
        return config.lipschitz_constant * value if config.lipschitz else value

    def termination(params: Params, z: Array) -> Array:
        assert networks.termination is not None
        probability: Array = networks.termination.apply(params["termination"], z)
        return probability

    def transition_losses(params: Params, z: Array, action: Array, next_z: Array, key: PRNGKeyArray) -> Array:
        if not config.lipschitz and config.transition_density in ("normal", "mixture"):
            outputs = networks.transition.apply(params["transition"], z, action)
            target = next_z - z if config.residual else next_z
            return _closed_form_loss(outputs, target, config.w_balancing)
        prediction, target = balance(predict(params, z, action, key), next_z, config.w_balancing)
        if categorical:
            return categorical_transition_loss(prediction, target)
        if config.transition_density == "deterministic":
            return deterministic_transition_loss(prediction, target)
        return sample_transition_loss(prediction, target)

    def losses(
        params: Params,
        z: Array,
        action: Array,
        reward_received: Array,
        next_z: Array,
        terminated: Array,
        key: PRNGKeyArray,
    ) -> ModelLosses:
        ended = jnp.zeros(z.shape[0])
        if networks.termination is not None:
            ended = termination_loss(termination(params, next_z), terminated.astype(jnp.float32))
        return ModelLosses(
            transition=transition_losses(params, z, action, next_z, key),
            reward=reward_loss(reward(params, z, action), reward_received.astype(jnp.float32)),
            termination=ended,
        )

    def penalty(params: Params, z: Array, action: Array, key: PRNGKeyArray) -> Array:
        if config.lipschitz or categorical:
            return jnp.zeros(())
        features = action_features(action_spec, action)
        return gradient_penalty(lambda x, a: predict(params, x, a, key), z, features) + gradient_penalty(
            lambda x, a: reward(params, x, a), z, features
        )

    return DeepMDP(
        init=init,
        losses=losses,
        predict=predict,
        reward=reward,
        termination=None if networks.termination is None else termination,
        penalty=penalty,
        config=config,
        latent_shape=latent_shape,
    )


def _closed_form_loss(outputs: DensityOutputs, next_z: Array, w_balancing: float | None) -> Array:
    """Expected distance of the true next latent from each component, weighted; no noise is drawn."""
    assert outputs.scale is not None

    def entries(blocks: Array) -> Array:
        """[B, K, Z] in the order of a flattened latent."""
        each = [from_blocks(blocks[:, :, k], next_z.shape[1:]) for k in range(blocks.shape[2])]
        return jnp.stack([x.reshape(x.shape[0], -1) for x in each], axis=1)

    log_weights = jnp.zeros((next_z.shape[0], 1)) if outputs.log_weights is None else outputs.log_weights
    prediction = (entries(outputs.loc), entries(standard_deviation(outputs.scale)), log_weights)
    target = next_z.reshape(next_z.shape[0], -1)
    if w_balancing is not None:
        loc, scale, log_weights = (share_gradient(x, w_balancing) for x in prediction)
        prediction = (loc, scale, log_weights)
        target = share_gradient(target, 1.0 - w_balancing)
    return mixture_transition_loss(*prediction, target)
