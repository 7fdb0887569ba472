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
8. Actions that are not discrete enter the first layer as features without a bound, which holds in the latent only.
9. GroupSort pairs feature ``i`` with ``i + n / 2`` instead of its neighbor: the same functions, contiguous access.
10. Categorical latents: the action's embedding enters the first dense layer once instead of next to every token, which
    spans the same functions; the loss is smooth L1.

Cost at the published size (latent 7 x 7 x 64, Lipschitz mixture): 6.2 MFLOP per sample forward and 18.5 with all
gradients, for any number of actions (transition 13.2, reward 5.2; a PPO sample takes 49.5), and about 0.9 GFLOP per
call for the bounds, whatever the batch. Inside a ``lax.scan`` with constant parameters XLA computes the bounds once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spi_plugins.losses.deep_mdp import (
    balance,
    categorical_transition_loss,
    deterministic_transition_loss,
    mixture_transition_loss,
    sample_transition_loss,
    smooth_l1,
)
from spi_plugins.losses.gradient_penalty import gradient_penalty
from spi_plugins.networks.blocks import DensityOutputs, from_blocks
from spi_plugins.networks.fusion import materialized_gradient
from spi_plugins.networks.heads import action_features
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig, make_networks
from spi_plugins.world_models.densities import lipschitz_sample, sample, standard_deviation


class ModelLosses(NamedTuple):
    """Per-sample losses; the caller masks rows that are not transitions."""

    transition: Float[Array, " B"]
    reward: Float[Array, " B"]
    termination: Float[Array, " B"]  # zeros without a predictor
    cost: Float[Array, " B"] | None = None  # with a predictor


class DeepMDP(NamedTuple):
    """A latent model. ``z`` is ``[B, *latent_shape]``; actions are as ``ActionSpec`` says, with a batch axis.

    Attributes:
        init: ``(key) -> params``: ``transition``, ``reward`` and, with predictors, ``termination`` and ``cost``.
        losses: ``(params, z, action, reward, next_z, terminated, key, cost=None) -> ModelLosses``. No gradient is
            stopped.
        predict: ``(params, z, action, key) -> next_z``, a sample, or the mean if the key is ``None``. If
            ``lipschitz``, for a fixed key it is Lipschitz in ``z`` with the configured constant (Euclidean norms); the
            bound comes from ``networks.spectral``.
        reward: ``(params, z, action) -> [B]``; if ``lipschitz``, Lipschitz in ``z`` with the configured constant.
        cost: like ``reward``, with its bound; ``None`` without a predictor.
        termination: ``(params, z) -> [B]``, the probability that ``z`` is terminal; ``None`` without a predictor.
        penalty: ``(params, z, action, key) -> scalar``, the mean squared gradient norm of the predicted next latent and
            reward, with respect to the latent and the action vector; 0 if ``lipschitz`` or categorical. The caller
            multiplies by the coefficient.
    """

    init: Callable[[PRNGKeyArray], Params]
    losses: Callable[..., ModelLosses]
    predict: Callable[[Params, Array, Array, PRNGKeyArray | None], Array]
    reward: Callable[[Params, Array, Array], Array]
    termination: Callable[[Params, Array], Array] | None
    penalty: Callable[[Params, Array, Array, PRNGKeyArray], Array]
    config: DeepMDPConfig
    cost: Callable[[Params, Array, Array], Array] | None = None


def make_deep_mdp(latent_shape: tuple[int, ...], action_spec: ActionSpec, config: DeepMDPConfig) -> DeepMDP:
    """Build the latent model for an action space and latents of one of three shapes.

    These are ``(height, width, channels)`` of a feature map, ``(size,)`` of a vector, or ``(categories, classes)``
    with a categorical density.

    Raises:
        ValueError: the density cannot model such a latent.
    """
    networks = make_networks(latent_shape, action_spec, config)
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
            return networks.transition.apply(params["transition"], z, action, key)
        outputs: Any = networks.transition.apply(params["transition"], z, action)
        if config.lipschitz:
            drawn = from_blocks(lipschitz_sample(outputs, key, config.lipschitz_constant), latent_shape)
            return materialized_gradient(drawn)  # or what is transposed would be computed entry by entry
        drawn = from_blocks(sample(outputs, key), latent_shape)
        return z + drawn if config.residual else drawn

    def reward(params: Params, z: Array, action: Array) -> Array:
        value = networks.reward.apply(params["reward"], z, action)
        return config.lipschitz_constant * value if config.lipschitz else value

    def cost(params: Params, z: Array, action: Array) -> Array:
        assert networks.cost is not None
        value = networks.cost.apply(params["cost"], z, action)
        return config.lipschitz_constant * value if config.lipschitz else value

    def termination(params: Params, z: Array) -> Array:
        assert networks.termination is not None
        return networks.termination.apply(params["termination"], z)

    def transition_losses(params: Params, z: Array, action: Array, next_z: Array, key: PRNGKeyArray) -> Array:
        if not config.lipschitz and config.transition_density in ("normal", "mixture"):
            outputs: Any = networks.transition.apply(params["transition"], z, action)
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
        cost_received: Array | None = None,
    ) -> ModelLosses:
        ended, costs = jnp.zeros(z.shape[0]), None
        if networks.cost is not None:
            assert cost_received is not None
            costs = smooth_l1(cost(params, z, action) - cost_received.astype(jnp.float32))
        if networks.termination is not None:
            ended = smooth_l1(termination(params, next_z) - terminated.astype(jnp.float32))
        return ModelLosses(
            transition=transition_losses(params, z, action, next_z, key),
            reward=smooth_l1(reward(params, z, action) - reward_received.astype(jnp.float32)),
            termination=ended,
            cost=costs,
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
        cost=None if networks.cost is None else cost,
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
    prediction, target = balance(prediction, target, w_balancing)
    return mixture_transition_loss(*prediction, target)
