"""Decisions and values of a policy on observations, as every on-policy agent makes them."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array

from spi_plugins.actions import executed_action
from spi_plugins.agents.deep_spi.loss import Parts
from spi_plugins.agents.on_policy import Act
from spi_plugins.networks.actor_critic import Evaluation
from spi_plugins.types import Observation, Params


class Acting(NamedTuple):
    """The part of an ``OnPolicyAgent`` that does not learn; see there."""

    act: Callable[[Params, Observation, Array], Act]
    predict: Callable[..., Array]
    value: Callable[[Params, Observation], Array]


def evaluate(parts: Parts, params: Params, obs: Observation) -> Evaluation:
    """What actor and critic say of observations ``[B, ...]``."""
    features = parts.policy.features(params["policy"], obs)
    z = parts.policy.latent(params["policy"], features)
    return parts.policy.evaluate(params["policy"], obs, features, z)


def make_acting(parts: Parts) -> Acting:
    """Bind a policy's networks and its distribution.

    Args:
        parts: of which ``policy``, ``distribution`` and ``actions`` are used.
    """
    distribution, actions = parts.distribution, parts.actions

    def act(params: Params, obs: Observation, key: Array) -> Act:
        out = evaluate(parts, params, obs)
        action = distribution.sample(out.parameters, key)
        return Act(
            action=action,
            env_action=executed_action(actions, action),
            log_prob=distribution.log_prob(out.parameters, action),
            value=out.value,
        )

    def predict(params: Params, obs: Observation, key: Array, *, deterministic: bool) -> Array:
        parameters = evaluate(parts, params, obs).parameters
        action = distribution.mode(parameters) if deterministic else distribution.sample(parameters, key)
        return executed_action(actions, action)

    return Acting(act, predict, lambda params, obs: parts.policy.value(params["policy"], obs))
