"""gymnax: classic control, MinAtar, bsuite and more in JAX, both ways.

>>> env = make_env("gymnax:Breakout-MinAtar")  # doctest: +SKIP
>>> gymnax_env, params = as_gymnax(make_env("spi/PointGoal-v0"))  # doctest: +SKIP

gymnax pins a Gymnasium that is older than this package needs, so it is installed in a second step:
``pip install "spi-plugins[gymnax]"`` and ``pip install --no-deps gymnax``.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from spi_integrations.jax_envs import Moment, OutsideEnv, check_id, functional, import_package
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import ActionSpec, ArraySpec, ObservationSpec, PyTree

_INSTALL = "'spi-plugins[gymnax]' && pip install --no-deps gymnax"
_NO_LIMIT = 2**30  # steps, of an environment that never truncates


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make an environment of gymnax, for example ``"CartPole-v1"``, ``"Breakout-MinAtar"`` or ``"Catch-bsuite"``.

    ``terminated`` is gymnax's own; the limit ``max_steps_in_episode`` of its parameters truncates.

    Args:
        env_id: one of ``gymnax.registered_envs``.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``; fields of the
            environment's parameters; and arguments of its constructor.

    Raises:
        MissingDependencyError: an ``ImportError``; gymnax is not installed.
        ValueError: the id is unknown.
        TypeError: the environment does not have an argument.
    """
    check_id(env_id, import_package("gymnax", _INSTALL).registered_envs, "gymnax")
    return functional(_load, env_id, **kwargs)


def _load(env_id: str, **kwargs: Any) -> OutsideEnv:
    gymnax = import_package("gymnax", _INSTALL)
    fields = gymnax.make(env_id)[1].__dataclass_fields__
    env, params = gymnax.make(env_id, **{name: kwargs[name] for name in kwargs if name not in fields})
    params = params.replace(**{name: kwargs[name] for name in kwargs if name in fields})
    to_space = gymnax.environments.spaces.gymnax_space_to_gym_space

    def reset(key: jax.Array, params: PyTree) -> Moment:
        obs, inner = env.reset_env(key, params)
        return Moment(inner, obs, jnp.float32(0), jnp.float32(0), jnp.asarray(False))

    def step(inner: PyTree, action: jax.Array, key: jax.Array, params: PyTree) -> Moment:
        obs, inner, reward, terminated, _info = env.step_env(key, inner, action, params)
        return Moment(inner, obs, reward, jnp.float32(0), terminated)

    return OutsideEnv(
        observation_space=to_space(env.observation_space(params)),
        action_space=to_space(env.action_space(params)),
        reset=reset,
        step=step,
        params=params,
        max_episode_steps=int(params.max_steps_in_episode),
    )


@flax.struct.dataclass
class GymnaxState:
    """The state of ``as_gymnax``'s environment."""

    inner: PyTree
    time: jax.Array  # steps of the episode


@flax.struct.dataclass
class GymnaxParams:
    """The parameters of ``as_gymnax``'s environment."""

    inner: PyTree
    max_steps_in_episode: int


def as_gymnax(env: FunctionalEnv) -> tuple[Any, GymnaxParams]:
    """Show a functional environment, for example a dream, to agents that train in gymnax's.

    Costs are in ``info["cost"]``.

    Args:
        env: an environment with discrete or ``Box`` actions, and observations of one array or a dictionary.

    Returns:
        A ``gymnax.environments.environment.Environment``, and its parameters.

    Raises:
        MissingDependencyError: an ``ImportError``; gymnax is not installed.
        ValueError: gymnax has no space for the actions or observations.
    """
    limit = _NO_LIMIT if env.max_episode_steps is None else env.max_episode_steps
    _spaces(env)  # raises here rather than in a training
    return _environment_class()(env), GymnaxParams(env.params, limit)


@functools.cache
def _environment_class() -> Any:
    """Made late, because its base class is gymnax's."""
    base: Any = import_package("gymnax.environments.environment", _INSTALL).Environment

    class FunctionalGymnaxEnv(base):  # type: ignore[misc]
        """A functional environment as gymnax's."""

        def __init__(self, env: FunctionalEnv) -> None:
            super().__init__()
            self.env = env

        @property
        def default_params(self) -> GymnaxParams:
            return as_gymnax(self.env)[1]

        def reset_env(self, key: jax.Array, params: GymnaxParams) -> tuple[Any, GymnaxState]:
            inner = self.env.initial(key, params.inner)
            return self.env.observation(inner, params.inner), GymnaxState(inner, jnp.int32(0))

        def step_env(
            self, key: jax.Array, state: GymnaxState, action: jax.Array, params: GymnaxParams
        ) -> tuple[Any, GymnaxState, jax.Array, jax.Array, dict[str, jax.Array]]:
            own = params.inner
            after = self.env.transition(state.inner, action, key, own)
            info = {"cost": self.env.cost(state.inner, action, after, own)}
            reward = self.env.reward(state.inner, action, after, own)
            obs, terminated = self.env.observation(after, own), self.env.terminal(after, own)
            return obs, GymnaxState(after, state.time + 1), reward, terminated, info

        def is_terminated(self, state: GymnaxState, params: GymnaxParams) -> jax.Array:
            return self.env.terminal(state.inner, params.inner)

        def observation_space(self, params: GymnaxParams) -> Any:
            return _spaces(self.env)[0]

        def action_space(self, params: GymnaxParams | None = None) -> Any:
            return _spaces(self.env)[1]

        @property
        def num_actions(self) -> int:
            spec = self.env.action_spec
            return spec.nvec[0] if spec.kind == "discrete" else spec.shape[0]

        @property
        def name(self) -> str:
            return self.env.name

    return FunctionalGymnaxEnv


def _spaces(env: FunctionalEnv) -> tuple[Any, Any]:
    """Observation and action space in gymnax's classes."""
    spaces = import_package("gymnax.environments.spaces", _INSTALL)
    return _observation_space(spaces, env.observation_spec), _action_space(spaces, env.action_spec)


def _observation_space(spaces: Any, spec: ObservationSpec) -> Any:
    if not isinstance(spec, ArraySpec):
        return spaces.Dict({key: _observation_space(spaces, part) for key, part in spec})
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0])
    if spec.kind not in ("box", "image"):
        raise ValueError(f"gymnax has no space for observations of the kind {spec.kind!r}.")
    return spaces.Box(spec.low, spec.high, spec.shape, jnp.dtype(spec.dtype))


def _action_space(spaces: Any, spec: ActionSpec) -> Any:
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0])
    if spec.kind != "box":
        raise ValueError(f"gymnax has no space for actions of the kind {spec.kind!r}.")
    low, high = (jnp.reshape(jnp.asarray(bound, jnp.float32), spec.shape) for bound in (spec.low, spec.high))
    return spaces.Box(low, high, spec.shape, jnp.float32)
