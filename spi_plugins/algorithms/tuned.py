"""Models made with their preset: environment, wrappers, normalization and arguments."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from spi_plugins import presets
from spi_plugins.algorithms.named_envs import default_policy, make_copies


def make_tuned(
    cls: type[BaseAlgorithm], name: str, policy: Any, env: Any, kwargs: Mapping[str, Any]
) -> BaseAlgorithm:
    """A model as the preset for its environment says; what is given wins.

    ``learn()`` without a number takes the preset's steps.

    Args:
        cls: the algorithm.
        name: its registered name.
        policy: its policy; ``None`` for the preset's.
        env: an environment's id.
        kwargs: the algorithm's arguments, and ``n_envs``.

    Raises:
        UnknownPluginError: the preset is unknown.
        ValueError: the environment is not given by its id.
    """
    if not isinstance(env, str):
        raise ValueError(f"env must be an id to have a preset, got {env!r}.")
    preset = presets.get(name, env)
    arguments = {**preset.hyperparameters, **kwargs}
    n_envs = arguments.pop("n_envs", None) or preset.n_envs
    vec_env = preset_env(preset, env, n_envs=n_envs, seed=arguments.get("seed"), gamma=arguments.get("gamma"))
    model: Any = cls(policy or preset.policy or default_policy(vec_env), vec_env, **arguments)
    model.default_total_timesteps = preset.n_timesteps
    return model  # type: ignore[no-any-return]


def preset_env(
    preset: presets.Preset,
    env: str,
    *,
    n_envs: int | None = None,
    seed: int | None = None,
    gamma: float | None = None,
    training: bool = True,
) -> VecEnv:
    """An environment as a preset has it.

    Args:
        preset: the preset.
        env: the environment's id.
        n_envs: copies; ``None`` for the preset's number.
        seed: of their first episodes.
        gamma: the algorithm's discount, by which returns are normalized; ``None`` for 0.99.
        training: false to evaluate: statistics stay, and returns are the environment's.
    """
    vec_env = make_copies(env, n_envs=n_envs or preset.n_envs, seed=seed, wrappers=preset.env_wrapper)
    if preset.normalize is None:
        return vec_env
    settings = {"gamma": 0.99 if gamma is None else gamma, **preset.normalize}
    if not training:
        settings |= {"training": False, "norm_reward": False}
    return VecNormalize(vec_env, **settings)
