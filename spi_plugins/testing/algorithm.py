"""Conformance of algorithms: what scripts written for Stable-Baselines3 rely on."""

import os
import pathlib
import tempfile
from typing import Any, cast

import gymnasium
import jax
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from spi_plugins.testing.requirement import ConformanceError, named, require, require_equal

_NO_SUCH_POLICY = "NoSuchPolicy"


def check_algorithm(
    cls: type[BaseAlgorithm],
    *,
    policy: str = "MlpPolicy",
    env_id: str = "CartPole-v1",
    total_timesteps: int = 64,
    **kwargs: Any,
) -> None:
    """Check that a class fulfills the contract of ``register_algorithms``, by training it briefly.

    It is built on one environment and on a vector of two, learns, predicts, is saved and loaded, and learns further.

    Args:
        cls: the class to check.
        policy: a policy that it supports.
        env_id: the Gymnasium id of a small environment that it can learn on.
        total_timesteps: environment steps to learn for.
        **kwargs: hyperparameters that keep training short, for example ``n_steps=16``.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    require(
        isinstance(cls, type) and issubclass(cls, BaseAlgorithm),
        f"{named(cls)} must be a subclass of stable_baselines3.common.base_class.BaseAlgorithm.",
    )
    _check_unknown_policy(cls, env_id, kwargs)
    single = cls(policy, gymnasium.make(env_id), seed=0, **kwargs)
    _check_learning(single, total_timesteps)
    vector = cls(policy, make_vec_env(env_id, n_envs=2), seed=0, **kwargs)
    _check_learning(vector, total_timesteps)
    observations = _observations(vector)
    _check_prediction(vector, observations)
    _check_parameters(vector, cls(policy, make_vec_env(env_id, n_envs=2), seed=1, **kwargs), observations)
    _check_files(vector, observations, env_id, total_timesteps)


class _CountSteps(BaseCallback):
    """Counts what a callback sees, and can end the training."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at

    def _on_step(self) -> bool:
        require(
            "infos" in self.locals and "dones" in self.locals, "on_step must find infos and dones in locals."
        )
        return self.stop_at is None or self.n_calls < self.stop_at


def _check_unknown_policy(cls: type[BaseAlgorithm], env_id: str, kwargs: dict[str, Any]) -> None:
    try:
        cls(_NO_SUCH_POLICY, gymnasium.make(env_id), **kwargs)
    except (ValueError, KeyError) as error:
        require(_NO_SUCH_POLICY in str(error), f"The error for an unknown policy must name it, got: {error}")
    else:
        raise ConformanceError(
            f"{cls.__name__}({_NO_SUCH_POLICY!r}, env) must raise a ValueError or KeyError."
        )


def _check_learning(model: BaseAlgorithm, total_timesteps: int) -> None:
    name, envs = type(model).__name__, model.n_envs
    counter = _CountSteps()
    returned = model.learn(total_timesteps, callback=counter)
    require(returned is model, f"{name}.learn must return the model itself.")
    require(
        model.num_timesteps >= total_timesteps,
        f"{name}.learn({total_timesteps}) must take at least as many steps, took {model.num_timesteps}.",
    )
    require(
        counter.n_calls * envs == model.num_timesteps,
        f"{name} must call on_step once for each step of all {envs} environments, and did so "
        f"{counter.n_calls} times in {model.num_timesteps} steps.",
    )
    before = model.num_timesteps
    model.learn(total_timesteps, callback=_CountSteps(stop_at=1), reset_num_timesteps=False)
    require(
        before < model.num_timesteps < before + total_timesteps or total_timesteps <= envs,
        f"{name}.learn must go on counting with reset_num_timesteps=False, and stop when a callback returns "
        f"False: it went from {before} to {model.num_timesteps} steps.",
    )


def _observations(model: BaseAlgorithm) -> Any:
    env = model.get_env()
    if env is None:
        raise ConformanceError(
            f"{type(model).__name__}.get_env() must return the environment it was built with."
        )
    return env.reset()


def _check_prediction(model: BaseAlgorithm, observations: Any) -> None:
    name, count = type(model).__name__, model.n_envs
    batch, state = model.predict(observations, deterministic=True)
    require(
        len(batch) == count,
        f"{name}.predict must return an action for each of {count} observations: {batch}.",
    )
    again, _ = model.predict(observations, deterministic=True)
    require_equal(again, batch, f"{name}.predict(deterministic=True) must return the same actions twice.")
    for index in range(count):
        one = jax.tree.map(lambda rows, index=index: rows[index], observations)
        action, _ = model.predict(one, deterministic=True)
        # Products of one row and of many may differ in the last bits.
        require(
            np.allclose(action, batch[index], rtol=1e-4, atol=1e-6),
            f"{name}.predict must treat one observation as a batch of one. Got {action} where {batch[index]} was "
            "expected.",
        )
        require(
            model.action_space.contains(action), f"{name} predicts {action}, outside {model.action_space}."
        )
    sampled, _ = model.predict(observations, state=state, episode_start=np.ones(count, bool))
    require(
        all(model.action_space.contains(action) for action in sampled),
        f"{name} samples actions outside {model.action_space}: {sampled}.",
    )


def _check_parameters(model: BaseAlgorithm, other: BaseAlgorithm, observations: Any) -> None:
    name = type(model).__name__
    parameters = model.get_parameters()
    require(
        isinstance(parameters, dict) and parameters, f"{name}.get_parameters must return a non-empty dict."
    )
    expected, _ = model.predict(observations, deterministic=True)
    other.set_parameters(cast(Any, parameters))  # SB3's annotation knows one level only
    actual, _ = other.predict(observations, deterministic=True)
    require_equal(actual, expected, f"{name}.set_parameters must carry all that predictions depend on.")


def _check_files(model: BaseAlgorithm, observations: Any, env_id: str, total_timesteps: int) -> None:
    cls, name = type(model), type(model).__name__
    expected, _ = model.predict(observations, deterministic=True)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.zip"
        model.save(path)
        require(
            path.is_file() and os.listdir(folder) == ["model.zip"],
            f"{name}.save must write the file it is given.",
        )
        alone = cls.load(path)
        actual, _ = alone.predict(observations, deterministic=True)
        require_equal(actual, expected, f"{name}.load must restore the model that was saved.")
        resumed = cls.load(path, env=make_vec_env(env_id, n_envs=model.n_envs))
    require(
        resumed.num_timesteps == model.num_timesteps,
        f"{name}.load must keep num_timesteps={model.num_timesteps}, got {resumed.num_timesteps}.",
    )
    resumed.learn(total_timesteps, reset_num_timesteps=False)
    require(
        resumed.num_timesteps >= model.num_timesteps + total_timesteps,
        f"{name}.learn after load must add {total_timesteps} steps to {model.num_timesteps}, and is at "
        f"{resumed.num_timesteps}.",
    )
