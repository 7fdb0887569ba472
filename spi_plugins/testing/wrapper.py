"""Conformance of wrappers: Gymnasium's checks, and a spec that rebuilds the environment."""

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from spi_plugins.testing.requirement import ConformanceError, named, require, require_equal


def check_wrapper(
    cls: type[gymnasium.Wrapper[Any, Any, Any, Any]],
    *,
    vector: type[gymnasium.vector.VectorWrapper] | None = None,
    env_id: str = "CartPole-v1",
    **kwargs: Any,
) -> None:
    """Check that a wrapper class fulfills the contract of ``register_wrappers``.

    It must pass Gymnasium's ``check_env``, and record its keyword arguments in ``EnvSpec`` as JSON values (see
    ``gymnasium.utils.RecordConstructorArgs``), so that ``gymnasium.make(env.spec)`` rebuilds the environment. Its
    counterpart around a vector environment must behave like a vector of wrapped environments, including autoresets
    and ``info["cost"]``.

    Args:
        cls: the wrapper class.
        vector: its counterpart for vector environments, if it has one.
        env_id: a Gymnasium id that it can wrap.
        **kwargs: its keyword arguments.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    require(
        isinstance(cls, type) and issubclass(cls, gymnasium.Wrapper),
        f"{named(cls)} must be a subclass of gymnasium.Wrapper.",
    )
    _check_gymnasium(cls, gymnasium.make(env_id), kwargs)
    env = cls(gymnasium.make(env_id), **kwargs)
    _check_values(env)
    _check_spec(env)
    env.close()
    if vector is not None:
        _check_twin(cls, vector, env_id, kwargs)


def _check_gymnasium(cls: Any, inner: gymnasium.Env[Any, Any], kwargs: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # They concern the wrapped environment, or that it is wrapped at all: neither is the wrapper's fault.
        warnings.simplefilter("ignore", UserWarning)
        try:
            check_env(cls(inner, **kwargs), skip_render_check=True)
        except Exception as error:
            raise ConformanceError(f"{cls.__name__} fails Gymnasium's check_env: {error}") from error


def _check_values(env: gymnasium.Wrapper[Any, Any, Any, Any]) -> None:
    """What Gymnasium only warns about but Stable-Baselines3 needs."""
    name, space = type(env).__name__, env.observation_space
    first, _ = env.reset(seed=0)
    second, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    for observation in (first, second):
        require(space.contains(observation), f"{name} must observe within {space}, got {observation!r}.")
    numbers = (int, float, np.integer, np.floating)
    require(isinstance(reward, numbers), f"{name} must return a number as reward, got {reward!r}.")
    for flag in (terminated, truncated):
        require(isinstance(flag, bool | np.bool_), f"{name} must end with bools, got {flag!r}.")


def _check_spec(env: gymnasium.Wrapper[Any, Any, Any, Any]) -> None:
    name = type(env).__name__
    if env.spec is None:
        raise ConformanceError(f"{name}.spec is None, though the wrapped environment has one.")
    try:
        spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
        again = gymnasium.make(spec)
    except Exception as error:
        raise ConformanceError(
            f"gymnasium.make(env.spec) cannot make {name} again: {error}. Call "
            "gymnasium.utils.RecordConstructorArgs.__init__ with arguments that JSON can hold."
        ) from error
    require(type(again) is type(env), f"gymnasium.make(env.spec) gives {again}, not {env}.")
    _check_same_course(env, again, f"The {name} of gymnasium.make(env.spec)")
    again.close()


def _check_twin(cls: Any, vector: Any, env_id: str, kwargs: dict[str, Any]) -> None:
    def wrapped() -> Any:
        return cls(gymnasium.make(env_id), **kwargs)

    def bare() -> Any:
        return gymnasium.make(env_id)

    require(
        isinstance(vector, type) and issubclass(vector, gymnasium.vector.VectorWrapper),
        f"{named(vector)} must be a subclass of gymnasium.vector.VectorWrapper.",
    )
    several = gymnasium.vector.SyncVectorEnv([wrapped] * 3)
    twin = vector(gymnasium.vector.SyncVectorEnv([bare] * 3), **kwargs)
    _check_same_course(several, twin, f"{named(vector)} around a vector of environments")
    several.close()
    twin.close()


def _check_same_course(first: Any, second: Any, name: str, num_steps: int = 100) -> None:
    """Both must return the same observations, rewards, costs and ends for the same seed and actions."""
    first.action_space.seed(0)
    before, _ = first.reset(seed=0)
    after, _ = second.reset(seed=0)
    require_equal(_flat(first, after), _flat(first, before), f"{name} must reset alike.")
    for _ in range(num_steps):
        action = first.action_space.sample()
        left, right = first.step(action), second.step(action)
        require_equal(_flat(first, right[0]), _flat(first, left[0]), f"{name} must observe alike.")
        for index, what in enumerate(("reward", "terminated", "truncated"), start=1):
            require_equal(right[index], left[index], f"{name} must return the same {what}.")
        costs = [infos.get("cost", 0.0) for infos in (right[4], left[4])]
        require_equal(costs[0], costs[1], f"{name} must return the same info['cost'].")
        if isinstance(first, gymnasium.Env) and (left[2] or left[3]):
            return


def _flat(env: Any, observation: Any) -> Any:
    return gymnasium.spaces.flatten(env.observation_space, observation)
