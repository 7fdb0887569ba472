"""Probe environments: tiny tasks of increasing difficulty, so that a failing test points to the broken part.

An agent that fails ``constant_reward`` has a broken critic; one that passes it and fails ``observation_reward`` does
not feed observations to its critic; and so on down the list. The idea is from Andy Jones, "Debugging RL" (2021). Unless
stated otherwise, an episode is one step, and there is no cost.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.envs.base import FunctionalEnv, RandomKey, Scalar, no_cost
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec

IMAGE_SIZE = 36  # the smallest for the Nature network
TIME_LIMIT = 4  # steps of ``make_time_limit``

_NUMBER = ArraySpec(kind="box", shape=(1,), dtype="float32", low=-1.0, high=1.0)
_IMAGE = ArraySpec(kind="image", shape=(IMAGE_SIZE, IMAGE_SIZE, 3), dtype="uint8", low=0.0, high=255.0)
_TWO_ACTIONS = ActionSpec(kind="discrete", nvec=(2,))
_ONE_NUMBER = ActionSpec(kind="box", shape=(1,), low=(-1.0,), high=(1.0,))


class ProbeState(NamedTuple):
    """What the agent may need to know, and the elapsed time."""

    signal: Float[Array, ""]  # -1 or 1, drawn at the start; in ``make_box_target`` uniform in [-1, 1]
    rule: Int[Array, ""]  # 0 or 1, drawn at the start
    elapsed: Int[Array, ""]  # steps since the start


_Reward = Callable[[ProbeState, Array, ProbeState, Any], Float[Array, ""]]
_Observe = Callable[[ProbeState, Any], Observation]


def make_constant_reward() -> FunctionalEnv:
    """Observation 0, reward 1. The correct value is 1."""
    return _probe("constant_reward", reward=_one, observation=_nothing)


def make_observation_reward() -> FunctionalEnv:
    """Observation -1 or 1, and the reward is the observation, as is the correct value."""
    return _probe("observation_reward", reward=_signal)


def make_two_steps() -> FunctionalEnv:
    """Two steps, observations 0 and 1, reward 1 after the second.

    The correct value of observation 1 is 1, that of observation 0 is the discount.
    """
    return _probe("two_steps", reward=_last_of_two, observation=_clock)._replace(terminal=_after_two_steps)


def make_action_matters() -> FunctionalEnv:
    """Observation 0; action 1 pays 1, action 0 pays -1. The best return is 1, a random policy's 0."""
    return _probe("action_matters", reward=_action_sign, observation=_nothing)


def make_action_depends_on_observation() -> FunctionalEnv:
    """Observation -1 or 1; action 1 is correct at 1, action 0 at -1. The correct action pays 1, the other -1.

    The best return is 1, a random policy's 0.
    """
    return _probe("action_depends_on_observation", reward=_match_signal)


def make_box_target() -> FunctionalEnv:
    """Observation ``o`` uniform in [-1, 1], action ``a`` in [-1, 1], reward ``-(a - o)²``.

    The best return is 0; a policy uniform over the box gets -2/3, one that always acts 0 gets -1/3.
    """
    env = _probe("box_target", reward=_minus_squared_error)
    return env._replace(action_spec=_ONE_NUMBER, initial=_initial_uniform)


def make_time_limit() -> FunctionalEnv:
    """Reward 1 per step; at observation 1 the first step is terminal, at -1 only a limit of 4 steps ends the episode.

    The correct value of observation 1 is 1, that of -1 is ``1 / (1 - discount)``. A critic that treats the time limit
    as terminal finds at most ``(1 - discount⁴) / (1 - discount)`` there, and one that bootstraps from terminal states
    finds more than 1 at observation 1.
    """
    env = _probe("time_limit", reward=_one)
    return env._replace(terminal=_first_step_where_positive, max_episode_steps=TIME_LIMIT)


def make_image_side() -> FunctionalEnv:
    """A uint8 image ``[36, 36, 3]``, half of it bright; action 0 is correct for the left half, 1 for the right.

    The correct action pays 1, the other -1. The best return is 1, a random policy's 0.
    """
    return _probe("image_side", reward=_match_signal, observation=_bright_half, spec=_IMAGE)


def make_dict_rule() -> FunctionalEnv:
    """Observation ``{"rule": 0 or 1, "signal": -1 or 1}``, and the correct action depends on both.

    Under rule 0, action 1 is correct at signal 1 and action 0 at -1; rule 1 is the reverse. The correct action pays 1,
    the other -1. The best return is 1, a random policy's 0.
    """
    rule = ArraySpec(kind="discrete", shape=(), dtype="int32", nvec=(2,))
    spec = (("rule", rule), ("signal", _NUMBER))
    return _probe("dict_rule", reward=_match_signal_by_rule, observation=_both, spec=spec)


def make_cost_conflict() -> FunctionalEnv:
    """Observation 0; action 1 pays 1 and costs 1, action 0 pays 0.5 and costs nothing.

    Under a cost limit below 1 the best return is ``0.5 + 0.5 * limit``, and without one 1.
    """
    return _probe("cost_conflict", reward=_half_or_one, observation=_nothing)._replace(cost=_action_cost)


PROBES: dict[str, Callable[[], FunctionalEnv]] = {
    "constant_reward": make_constant_reward,
    "observation_reward": make_observation_reward,
    "two_steps": make_two_steps,
    "action_matters": make_action_matters,
    "action_depends_on_observation": make_action_depends_on_observation,
    "box_target": make_box_target,
    "time_limit": make_time_limit,
    "image_side": make_image_side,
    "dict_rule": make_dict_rule,
    "cost_conflict": make_cost_conflict,
}


def make_probe(kind: str) -> FunctionalEnv:
    """Make a probe by its name in ``PROBES``.

    Raises:
        ValueError: no probe has that name.
    """
    if kind not in PROBES:
        raise ValueError(f"kind must be one of {', '.join(PROBES)}, got {kind!r}.")
    return PROBES[kind]()


def _observe_signal(state: ProbeState, _params: Any) -> Float[Array, "1"]:
    return state.signal[None]


def _probe(
    name: str, *, reward: _Reward, observation: _Observe = _observe_signal, spec: ObservationSpec = _NUMBER
) -> FunctionalEnv:
    """Make a probe of one step and two actions."""
    return FunctionalEnv(
        observation_spec=spec,
        action_spec=_TWO_ACTIONS,
        params=(),
        initial=_initial,
        observation=observation,
        transition=_wait,
        reward=reward,
        cost=no_cost,
        terminal=_after_one_step,
        name=f"probe:{name}",
    )


def _initial(key: RandomKey, _params: Any) -> ProbeState:
    signal_key, rule_key = jax.random.split(key)
    signal = jnp.where(jax.random.bernoulli(signal_key), 1.0, -1.0)
    return ProbeState(signal, jax.random.bernoulli(rule_key).astype(jnp.int32), jnp.int32(0))


def _initial_uniform(key: RandomKey, _params: Any) -> ProbeState:
    return ProbeState(jax.random.uniform(key, minval=-1.0, maxval=1.0), jnp.int32(0), jnp.int32(0))


def _wait(state: ProbeState, _action: Array, _key: RandomKey, _params: Any) -> ProbeState:
    return state._replace(elapsed=state.elapsed + 1)


def _nothing(_state: ProbeState, _params: Any) -> Float[Array, "1"]:
    return jnp.zeros(1)


def _clock(state: ProbeState, _params: Any) -> Float[Array, "1"]:
    return jnp.minimum(state.elapsed, 1).astype(jnp.float32)[None]


def _bright_half(state: ProbeState, _params: Any) -> Array:
    bright = (jnp.arange(IMAGE_SIZE) >= IMAGE_SIZE // 2) == (state.signal > 0)
    row = jnp.where(bright, 255, 0).astype(jnp.uint8)
    return jnp.broadcast_to(row[None, :, None], _IMAGE.shape)


def _both(state: ProbeState, _params: Any) -> dict[str, Array]:
    return {"rule": state.rule, "signal": state.signal[None]}


def _after_one_step(state: ProbeState, _params: Any) -> Bool[Array, ""]:
    return state.elapsed >= 1


def _after_two_steps(state: ProbeState, _params: Any) -> Bool[Array, ""]:
    return state.elapsed >= 2


def _first_step_where_positive(state: ProbeState, _params: Any) -> Bool[Array, ""]:
    return jnp.logical_and(state.signal > 0, state.elapsed >= 1)


def _one(_state: ProbeState, _action: Array, _after: ProbeState, _params: Any) -> Scalar:
    return jnp.ones(())


def _signal(state: ProbeState, _action: Array, _after: ProbeState, _params: Any) -> Scalar:
    return state.signal


def _last_of_two(_state: ProbeState, _action: Array, after: ProbeState, _params: Any) -> Scalar:
    return (after.elapsed == 2).astype(jnp.float32)


def _action_sign(_state: ProbeState, action: Array, _after: ProbeState, _params: Any) -> Scalar:
    return jnp.where(action == 1, 1.0, -1.0)


def _match_signal(state: ProbeState, action: Array, after: ProbeState, params: Any) -> Scalar:
    return state.signal * _action_sign(state, action, after, params)


def _match_signal_by_rule(state: ProbeState, action: Array, after: ProbeState, params: Any) -> Scalar:
    return jnp.where(state.rule == 0, 1.0, -1.0) * _match_signal(state, action, after, params)


def _minus_squared_error(
    state: ProbeState, action: Float[Array, "1"], _after: ProbeState, _params: Any
) -> Scalar:
    return -((action[0] - state.signal) ** 2)


def _half_or_one(_state: ProbeState, action: Array, _after: ProbeState, _params: Any) -> Scalar:
    return jnp.where(action == 1, 1.0, 0.5)


def _action_cost(_state: ProbeState, action: Array, _after: ProbeState, _params: Any) -> Scalar:
    return jnp.where(action == 1, 1.0, 0.0)
