"""What an on-policy agent is, what it is made of, and how it decides."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Bool, Float

from spi_plugins.agents.constraint import Constraint
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.distributions import ActionDistribution, entropy_or_estimate, masked
from spi_plugins.networks import state_noise
from spi_plugins.networks.actor_critic import ActorCritic, Evaluation
from spi_plugins.networks.cost_critic import CostCritic
from spi_plugins.types import ActionSpec, Observation, Params, PyTree
from spi_plugins.world_models.deep_mdp import DeepMDP


@runtime_checkable
class OnPolicyState(Protocol):
    """A ``NamedTuple`` of all that an update changes and a resume needs."""

    @property
    def params(self) -> Params:
        """``{"policy": ..., "world_model": ..., "cost_critic": ...}``, as far as there is a model and a constraint."""

    @property
    def opt_state(self) -> PyTree:
        """The optimizers' state."""

    @property
    def key(self) -> Array:
        """The random key of what comes next."""

    def _replace(self, *args: Any, **changes: Any) -> "OnPolicyState": ...


@runtime_checkable
class OnPolicyMetrics(Protocol):
    """A ``NamedTuple`` of an update's scalars, among them these."""

    @property
    def loss(self) -> Array:
        """The mean over the gradient steps, summed over the phases of an update."""

    @property
    def n_updates(self) -> Array:
        """Gradient steps that were applied."""


class Act(NamedTuple):
    """One decision for each of ``B`` observations."""

    action: Array  # as sampled; the log-probability is of this one
    env_action: Array  # what the environment gets, within the bounds of a Box
    log_prob: Float[Array, " B"]
    value: Float[Array, " B"]
    cost_value: Float[Array, "B K"] | None = None  # with a constraint


class Parts(NamedTuple):
    """What an agent and its objective are made of."""

    config: DeepSPIConfig
    actions: ActionSpec
    policy: ActorCritic
    distribution: ActionDistribution
    world_model: DeepMDP | None
    constraint: Constraint | None = None
    cost_critic: CostCritic | None = None  # with a constraint


class OnPolicyAgent(NamedTuple):
    """Pure functions; wrap them in ``jit`` where they are called.

    Where there are ``masks``, bool ``[B, P]``, the policy is that of the allowed actions alone.

    Attributes:
        init: ``(key) -> state``, an ``OnPolicyState``.
        act: ``(params, obs, key, noise=None, masks=None) -> Act``, sampled; ``noise`` has the matrices of
            state-dependent noise.
        predict: ``(params, obs, key, masks=None, *, deterministic) -> env_action``, with a static ``deterministic``.
        value: ``(params, obs) -> [B]``.
        cost_value: ``(params, obs) -> [B, K]``, with a constraint.
        evaluate: ``(params, obs, sampled action, masks=None) -> (value, log_prob, entropy)``, each ``[B]``.
        update: ``(state, rollout, learning_rate, clip_range, learnable) -> (state, metrics)``, an ``OnPolicyMetrics``;
            ``learnable`` says whether the rollout is finite, ``None`` that it is. If not, or if the result is not, the
            parameters stay, and the loss is NaN.
        noise_steps: with state-dependent noise, the steps for which ``policy.draw_noise`` is kept; a rollout's if it is
            not positive.
    """

    init: Callable[[Array], Any]
    act: Callable[..., Act]
    predict: Callable[..., Array]
    value: Callable[[Params, Observation], Array]
    evaluate: Callable[..., tuple[Array, Array, Array]]
    update: Callable[..., tuple[Any, Any]]
    policy: ActorCritic
    world_model: DeepMDP | None
    noise_steps: int = -1
    constraint: Constraint | None = None
    cost_value: Callable[[Params, Observation], Array] | None = None


def evaluate(parts: Parts, params: Params, obs: Observation) -> Evaluation:
    """Evaluate actor and critic at observations ``[B, ...]``."""
    features = parts.policy.features(params["policy"], obs)
    z = parts.policy.latent(params["policy"], features)
    return evaluate_features(parts, params, obs, features, z)


def evaluate_features(
    parts: Parts, params: Params, obs: Observation, features: Array, z: Array
) -> Evaluation:
    """Evaluate actor and critics where features and latents are known."""
    out = parts.policy.evaluate(params["policy"], obs, features, z)
    if parts.cost_critic is None:
        return out
    return out._replace(cost_value=parts.cost_critic.values(params["cost_critic"], obs, features, z))


Masks: TypeAlias = Bool[Array, "B P"] | None


def make_agent(
    parts: Parts, init: Callable[[Array], Any], update: Callable[..., tuple[Any, Any]]
) -> OnPolicyAgent:
    """Add decisions and values to the functions that an on-policy algorithm differs by."""
    distribution = parts.distribution

    def act(
        params: Params, obs: Observation, key: Array, noise: Array | None = None, masks: Masks = None
    ) -> Act:
        out = evaluate(parts, params, obs)
        parameters = masked(out.parameters, masks)
        if noise is None or out.hidden is None:
            action = distribution.sample(parameters, key)
        else:
            assert distribution.around is not None
            action = distribution.around(parameters, state_noise.noise(out.hidden, noise))
        return Act(
            action=action,
            env_action=distribution.executed(action),
            log_prob=distribution.log_prob(parameters, action),
            value=out.value,
            cost_value=out.cost_value,
        )

    def predict(
        params: Params, obs: Observation, key: Array, masks: Masks = None, *, deterministic: bool
    ) -> Array:
        parameters = masked(evaluate(parts, params, obs).parameters, masks)
        action = distribution.mode(parameters) if deterministic else distribution.sample(parameters, key)
        return distribution.executed(action)

    def value(params: Params, obs: Observation) -> Array:
        return parts.policy.value(params["policy"], obs)

    def cost_value(params: Params, obs: Observation) -> Array:
        values = evaluate(parts, params, obs).cost_value
        assert values is not None
        return values

    def evaluate_actions(
        params: Params, obs: Observation, action: Array, masks: Masks = None
    ) -> tuple[Array, Array, Array]:
        out = evaluate(parts, params, obs)
        parameters = masked(out.parameters, masks)
        log_prob = distribution.log_prob(parameters, action)
        return out.value, log_prob, entropy_or_estimate(distribution, parameters, log_prob)

    return OnPolicyAgent(
        init,
        act,
        predict,
        value,
        evaluate_actions,
        update,
        parts.policy,
        parts.world_model,
        noise_steps=parts.config.sde_sample_freq,
        constraint=parts.constraint,
        cost_value=None if parts.constraint is None else cost_value,
    )
