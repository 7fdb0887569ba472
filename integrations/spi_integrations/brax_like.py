"""What has Brax's interface, ``reset(key)`` and ``step(state, action)``: Brax, CRAX and MuJoCo Playground."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_integrations.jax_envs import Moment, OutsideEnv
from spi_plugins.types import PyTree


def bridge(
    env: Any,
    action_range: Any,
    *,
    max_episode_steps: int,
    cost: Callable[[Any], jax.Array] | None = None,
    render: Callable[[PyTree], object] | None = None,
) -> OutsideEnv:
    """Bridge an environment with Brax's ``reset(key)`` and ``step(state, action)``, and no wrapper that resets.

    Args:
        env: the environment.
        action_range: lowest and highest actions, ``[A, 2]``.
        max_episode_steps: steps until truncation.
        cost: of the state that a step led to; ``None`` for no costs.
        render: see ``OutsideEnv``.
    """
    low, high = np.asarray(action_range, np.float32).T
    first = jax.eval_shape(env.reset, jax.random.key(0))

    def moment(state: Any) -> Moment:
        paid = jnp.float32(0) if cost is None else cost(state)
        return Moment(state, state.obs, state.reward, paid, state.done > 0.5)

    def reset(key: jax.Array, _params: PyTree) -> Moment:
        return moment(env.reset(key))._replace(cost=jnp.float32(0))

    def step(inner: PyTree, action: jax.Array, _key: jax.Array, _params: PyTree) -> Moment:
        return moment(env.step(inner, action))

    return OutsideEnv(
        observation_space=_space(first.obs),
        action_space=spaces.Box(low, high, dtype=np.float32),
        reset=reset,
        step=step,
        max_episode_steps=max_episode_steps,
        render=render,
    )


def control_range(env: Any) -> Any:
    """The range of each actuator, or [-1, 1] for the actions of environments that move bodies without actuators."""
    declared = env.sys.actuator.ctrl_range
    return declared if len(declared) == env.action_size else np.tile([-1.0, 1.0], (env.action_size, 1))


def _space(obs: Any) -> spaces.Space[Any]:
    if isinstance(obs, Mapping):
        return spaces.Dict({key: _space(part) for key, part in obs.items()})
    return spaces.Box(-np.inf, np.inf, obs.shape, np.float32)


def drawn_by(env: Any) -> Callable[[PyTree], NDArray[np.uint8]]:
    """Draw the physics of a state with MuJoCo's renderer."""

    def render(state: Any) -> NDArray[np.uint8]:
        return np.asarray(env.render([state.pipeline_state])[0], np.uint8)

    return render
