"""A trained model's world model in a separate file."""

from typing import Any

import jax
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from spi_plugins.algorithms.devices import writes
from spi_plugins.algorithms.observations import to_batch
from spi_plugins.archive import PathOrFile
from spi_plugins.buffers import Buffer
from spi_plugins.dreams.file import MAX_STARTS, Experience, store_world_model
from spi_plugins.host_buffers import HostBuffer
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.model import WorldModel


def save_world(
    model: BaseAlgorithm,
    world: WorldModel,
    params: Params,
    path: PathOrFile,
    experience: Experience,
    n_updates: int,
) -> None:
    """Write the file, with ``experience`` as the real states for dreams to begin in."""
    space: tuple[spaces.Space[Any], spaces.Space[Any]] = (model.observation_space, model.action_space)
    report = {
        "policy": type(model).__name__,
        "n_steps": int(model.num_timesteps),
        "n_updates": int(n_updates),
    }
    stored = store_world_model(world, jax.device_get(params), space, experience, report)
    if writes(path):
        stored.save(path)


def given_observations(space: spaces.Space[Any], observations: Observation) -> Experience:
    """Observations ``[S, ...]`` that a user passes.

    Raises:
        ValueError: they do not fit the space, or are not a batch.
    """
    batch, batched = to_batch(space, observations)
    if not batched:
        raise ValueError(
            "observations must be a batch [S, ...] of the model's observation space, got a single one."
        )
    return Experience(batch, np.zeros(len(jax.tree.leaves(batch)[0]), bool))


def last_observations(space: spaces.Space[Any], obs: Observation | None, starts: Any) -> Experience:
    """Where the environments stand; ``starts`` says which observations begin an episode.

    Raises:
        ValueError: there are none before any training.
    """
    if obs is None:
        raise ValueError(
            "The model has seen no observation for dreams to begin in: call learn() first, or pass observations=."
        )
    return Experience(to_batch(space, obs)[0], np.asarray(starts, bool))


def remembered_observations(
    buffer: Buffer | HostBuffer | None, most: int = MAX_STARTS, purpose: str = "for dreams to begin in"
) -> Experience:
    """Observations of a replay buffer, ``most`` at most, evenly spaced.

    Raises:
        ValueError: there is none, or it is empty.
    """
    sizes = np.zeros(0, int) if buffer is None else np.asarray(buffer.size)
    if buffer is None or not sizes.sum():
        raise ValueError(
            f"There is no replay buffer {purpose}: call learn() or load_replay_buffer() first, or "
            "pass observations=."
        )
    env, place = np.nonzero(np.arange(buffer.slots.reward.shape[1])[None] < sizes[:, None])
    chosen = np.unique(np.linspace(0, len(env) - 1, min(len(env), most)).round().astype(int))
    index = (env[chosen], place[chosen])
    return Experience(
        jax.tree.map(lambda ring: np.asarray(ring[index]), buffer.slots.obs),
        ~np.asarray(buffer.slots.valid[index]),
    )
