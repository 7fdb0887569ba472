"""One member of an ensemble: transition, reward, cost and termination as pure functions of its parameters."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float

from spi_plugins.losses.deep_mdp import (
    deterministic_transition_loss,
    smooth_l1,
    termination_cross_entropy,
)
from spi_plugins.networks.blocks import DensityShape
from spi_plugins.networks.functional import Network, functional
from spi_plugins.networks.reward import RewardNet, TerminationNet
from spi_plugins.networks.transition import FlatTransition
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models import mixture
from spi_plugins.world_models.mixture import Density, Layout

Kind = Literal["deterministic", "normal", "mixture", "categorical"]


class Steps(NamedTuple):
    """Real steps to learn from, standardized."""

    z: Float[Array, "N Z"]
    action: Array
    reward: Float[Array, " N"]
    next_z: Float[Array, "N Z"]
    terminated: Bool[Array, " N"]
    cost: Float[Array, " N"]


class MemberShape(NamedTuple):
    """What a member is made of."""

    layout: Layout
    density: Kind
    n_components: int
    hidden: tuple[int, ...]
    residual: bool  # numbers: learn the change
    with_cost: bool

    @property
    def draws_outcomes(self) -> bool:
        """Whether reward and cost are those of the next latent that was drawn, too."""
        return self.density in ("mixture", "categorical")

    @property
    def components(self) -> int:
        """One variable is its own mixture: several components would add nothing."""
        single = len(self.layout) == 1 and self.layout[0].variables == 1 and self.layout[0].values > 0
        return self.n_components if self.draws_outcomes and not single else 1


class Member(NamedTuple):
    """Pure functions of the parameters of one member.

    Attributes:
        init: ``(key) -> params``.
        losses: ``(params, steps) -> {name: [N]}``.
        draw: ``(params, z, action, key) -> next_z``.
        mean: ``(params, z, action) -> next_z``, with probabilities for discrete values.
        mode: the same with the most likely outcome.
        log_prob: ``(params, z, action, next_z) -> [N]``; not for ``"deterministic"``.
        reward: ``(params, z, action, next_z) -> [N]``.
        cost: the same; ``None`` without costs.
        termination: ``(params, next_z) -> [N]``, a probability.
    """

    init: Callable[[Array], Params]
    losses: Callable[[Params, Steps], dict[str, Array]]
    draw: Callable[[Params, Array, Array, Array], Array]
    mean: Callable[[Params, Array, Array], Array]
    mode: Callable[[Params, Array, Array], Array]
    log_prob: Callable[[Params, Array, Array, Array], Array]
    reward: Callable[[Params, Array, Array, Array], Array]
    cost: Callable[[Params, Array, Array, Array], Array] | None
    termination: Callable[[Params, Array], Array]


def make_member(actions: ActionSpec, shape: MemberShape) -> Member:
    """Build a member for an action space and latents of a layout."""
    layout, deterministic = shape.layout, shape.density == "deterministic"
    networks = _networks(actions, shape)

    def init(key: Array) -> Params:
        model_key, cost_key = jax.random.split(key)
        keys = {name: jax.random.fold_in(model_key, i) for i, name in enumerate(networks)} | {
            "cost": cost_key
        }
        return {name: network.init(keys[name]) for name, network in networks.items()}

    def density(params: Params, z: Array, action: Array) -> Density:
        outputs: Any = networks["transition"].apply(params["transition"], z, action)

        def by_row(blocks: Array) -> Float[Array, "N K Z"]:
            return jnp.moveaxis(blocks[0, 0], -1, 0)

        loc = by_row(outputs.loc)
        if shape.residual:
            loc = loc + jnp.where(mixture.is_number(layout), z, 0.0)[:, None]
        scale = None if outputs.scale is None else mixture.positive_scale(by_row(outputs.scale))
        weights = jnp.zeros((len(z), 1)) if outputs.log_weights is None else outputs.log_weights
        return Density(loc, scale, weights)

    def draw(params: Params, z: Array, action: Array, key: Array) -> Array:
        if deterministic:
            return mean(params, z, action)
        return mixture.draw(layout, density(params, z, action), key)

    def mean(params: Params, z: Array, action: Array) -> Array:
        return mixture.mean(layout, density(params, z, action))

    def log_prob(params: Params, z: Array, action: Array, next_z: Array) -> Array:
        return mixture.log_prob(layout, density(params, z, action), next_z)

    def outcome(name: str) -> Callable[[Params, Array, Array, Array], Array]:
        def apply(params: Params, z: Array, action: Array, next_z: Array) -> Array:
            seen = jnp.concatenate([z, next_z], axis=-1) if shape.draws_outcomes else z
            return networks[name].apply(params[name], seen, action)

        return apply

    def termination(params: Params, next_z: Array) -> Array:
        return networks["termination"].apply(params["termination"], next_z)

    reward, cost = outcome("reward"), outcome("cost") if shape.with_cost else None
    # Of several rewards for the same step the mean is wanted, which absolute errors do not find.
    error = (lambda x: 0.5 * x**2) if shape.draws_outcomes else smooth_l1

    def losses(params: Params, steps: Steps) -> dict[str, Array]:
        z, action, next_z = steps.z, steps.action, steps.next_z
        if deterministic:
            transition = deterministic_transition_loss(mean(params, z, action), next_z)
        else:
            # With a gradient in the target, an encoder would shrink its latents, which raises the density.
            transition = -log_prob(params, z, action, stop_gradient(next_z))
        ended = termination_cross_entropy(termination(params, next_z), steps.terminated.astype(jnp.float32))
        named = {
            "transition": transition,
            "reward": error(reward(params, z, action, next_z) - steps.reward),
            "termination": ended,
        }
        if cost is not None:
            named["cost"] = error(cost(params, z, action, next_z) - steps.cost)
        return named

    return Member(
        init=init,
        losses=losses,
        draw=draw,
        mean=mean,
        mode=lambda params, z, action: mixture.mode(layout, density(params, z, action)),
        log_prob=log_prob,
        reward=reward,
        cost=cost,
        termination=termination,
    )


def _networks(actions: ActionSpec, shape: MemberShape) -> dict[str, Network]:
    size = sum(run.size for run in shape.layout)
    stochastic = shape.density == "normal" or shape.density == "mixture"
    density = DensityShape(shape.components, stochastic, mixture=shape.components > 1)
    seen = (2 * size if shape.draws_outcomes else size,)

    def reward() -> Network:
        return functional(
            lambda rngs: RewardNet(seen, actions, hidden_sizes=shape.hidden, lipschitz=False, rngs=rngs)
        )

    networks = {
        "transition": functional(
            lambda rngs: FlatTransition(
                size,
                actions,
                density,
                lipschitz=False,
                group_size=None,
                hidden_sizes=shape.hidden,
                rngs=rngs,
            )
        ),
        "reward": reward(),
        "termination": functional(lambda rngs: TerminationNet((size,), hidden_sizes=shape.hidden, rngs=rngs)),
    }
    return networks | ({"cost": reward()} if shape.with_cost else {})
