"""A trained model's world as a file of its own."""

from typing import Any

import jax
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from spi_plugins.algorithms.observations import to_batch
from spi_plugins.archive import PathOrFile
from spi_plugins.buffers import Buffer
from spi_plugins.dreams.file import MAX_STARTS, Experience, store_world_model
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.model import WorldModel


def save_world(
    model: BaseAlgorithm, world: WorldModel, params: Params, path: PathOrFile, experience: Experience
) -> None:
    """Write the file.

    Args:
        model: whose world it is.
        world: kind and functions.
        params: its parameters.
        path: where.
        experience: real states for dreams to begin in.
    """
    space: tuple[spaces.Space[Any], spaces.Space[Any]] = (model.observation_space, model.action_space)
    report = {
        "policy": type(model).__name__,
        "n_steps": int(model.num_timesteps),
        "n_updates": int(model._n_updates),
    }
    store_world_model(world, jax.device_get(params), space, experience, report).save(path)


def given_observations(model: BaseAlgorithm, observations: Observation) -> Experience:
    """Observations that a user names, ``[S, ...]``.

    Raises:
        ValueError: they are not of the model's space, or no batch.
    """
    batch, batched = to_batch(model.observation_space, observations)
    if not batched:
        raise ValueError(
            "observations must be a batch [S, ...] of the model's observation space, got a single one."
        )
    count = len(jax.tree.leaves(batch)[0])
    return Experience(batch, np.zeros(count, bool))


def last_observations(model: BaseAlgorithm) -> Experience:
    """Where the environments stand.

    Raises:
        ValueError: the model has not been trained, and has seen none.
    """
    if model._last_obs is None:
        raise ValueError(
            "The model has seen no observation for dreams to begin in: call learn() first, or give observations=."
        )
    batch, _ = to_batch(model.observation_space, model._last_obs)
    starts = np.asarray(model._last_episode_starts, bool)
    return Experience(batch, starts)


def remembered_observations(buffer: Buffer | HostBuffer | None) -> Experience:
    """Observations of a replay buffer, ``MAX_STARTS`` at most, evenly spaced.

    Raises:
        ValueError: there is none, or it is empty.
    """
    sizes = np.zeros(0, int) if buffer is None else np.asarray(buffer.size)
    if buffer is None or not sizes.sum():
        raise ValueError(
            "There is no replay buffer for dreams to begin in: call learn() or load_replay_buffer() first, or give "
            "observations=."
        )
    env, place = np.nonzero(np.arange(buffer.slots.reward.shape[1])[None] < sizes[:, None])
    chosen = np.unique(np.linspace(0, len(env) - 1, min(len(env), MAX_STARTS)).round().astype(int))
    index = (env[chosen], place[chosen])
    return Experience(
        jax.tree.map(lambda ring: np.asarray(ring[index]), buffer.slots.obs),
        ~np.asarray(buffer.slots.valid[index]),
    )
