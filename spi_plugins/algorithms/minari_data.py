"""Episodes of a Minari dataset as replay buffers, as ``experience.gather`` makes them of steps in an environment."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_plugins.actions import from_action, stored_action
from spi_plugins.algorithms.experience import Gathered, empty_ring
from spi_plugins.checks import check_finite
from spi_plugins.errors import EnvironmentNotSupportedError, MissingDependencyError
from spi_plugins.spaces import action_spec, flat_observation, flat_space, observation_spec, to_device
from spi_plugins.types import COST_KEY


def open_dataset(dataset: Any) -> Any:
    """A ``MinariDataset``: one that is given, or that of a local id or folder.

    Raises:
        MissingDependencyError: Minari is not installed.
        FileNotFoundError: the dataset was not found locally.
        ValueError: it holds nothing that a world model can be fitted to.
    """
    try:
        import minari
    except ImportError as error:
        raise MissingDependencyError.named("minari", "Datasets", "minari") from error
    if not hasattr(dataset, "iterate_episodes"):
        folder = pathlib.Path(dataset)
        if folder.is_dir():
            data = folder / "data"
            dataset = minari.MinariDataset(data if data.is_dir() else folder)
        else:
            dataset = _local_dataset(minari, str(dataset))
    if not dataset.total_episodes:
        raise ValueError(f"The Minari dataset {dataset.id} has no episodes.")
    observation_spec(flat_space(dataset.observation_space))
    action_spec(dataset.action_space)
    return dataset


def _local_dataset(minari: Any, name: str) -> Any:
    try:
        return minari.load_dataset(name)
    except (FileNotFoundError, ValueError) as error:
        here = ", ".join(sorted(minari.list_local_datasets())) or "none"
        raise FileNotFoundError(
            f"dataset={name!r} is neither a folder nor a Minari dataset on this machine. Here: {here}. To get one: "
            f"minari download {name}"
        ) from error


def spaces_of(dataset: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Its observation space, flat, and its action space."""
    return flat_space(dataset.observation_space), dataset.action_space


def read_episodes(dataset: Any, n_steps: int | None, seed: int) -> Gathered:
    """The episodes in a random order, one after the other in one ring, up to ``n_steps`` in all.

    Raises:
        ValueError: an observation, reward or cost is not finite, or only some episodes have costs.
    """
    order = np.random.default_rng(seed).permutation(dataset.episode_indices)
    kept, steps = [], 0
    for episode in dataset.iterate_episodes(order):
        if n_steps is not None and steps >= n_steps:
            break
        length = len(episode.rewards) if n_steps is None else min(len(episode.rewards), n_steps - steps)
        if length:
            kept.append((episode, length))
            steps += length
    costs = [_costs(episode) for episode, _ in kept]
    missing = [each is None for each in costs]
    if any(missing) and not all(missing):
        episode = kept[missing.index(True)][0]
        raise EnvironmentNotSupportedError(
            f"Episode {episode.id} has no infos[{COST_KEY!r}], and others have: all must, or none."
        )
    ring = empty_ring(*spaces_of(dataset), 1, steps + len(kept))
    place, returns = 0, []
    for (episode, length), cost in zip(kept, costs, strict=True):
        _write(ring.slots, place, dataset, episode, length, cost)
        place += length + 1
        if length == len(episode.rewards):
            returns.append(float(np.sum(episode.rewards)))
    return Gathered(ring.slots, np.asarray([place]), not any(missing), returns)


def _write(slots: Any, place: int, dataset: Any, episode: Any, length: int, cost: Any) -> None:
    """Write the first steps of an episode, and before them its first observation."""
    observation_space, space = spaces_of(dataset)
    name, every = f"Episode {episode.id}: ", slice(place, place + length + 1)
    steps = slice(place + 1, place + length + 1)
    obs = to_device(
        observation_space, jax.tree.map(lambda x: x[: length + 1], flat_observation(episode.observations))
    )
    for part in jax.tree.leaves(obs):
        check_finite(f"{name}the observation at time step", part)
    for ring, part in zip(jax.tree.leaves(slots.obs), jax.tree.leaves(obs), strict=True):
        ring[0, every] = part
    taken, spec = from_action(space, np.asarray(episode.actions)[:length]), action_spec(space)
    slots.action[0, steps] = np.asarray(stored_action(spec, jnp.asarray(taken)))
    slots.valid[0, steps] = True
    slots.terminated[0, steps] = episode.terminations[:length]
    slots.truncated[0, steps] = episode.truncations[:length]
    for name_of, ring, values in (("reward", slots.reward, episode.rewards), ("cost", slots.cost, cost)):
        if values is not None:
            numbers = np.asarray(values, np.float32)[:length]
            check_finite(f"{name}the {name_of} at time step", numbers)
            ring[0, steps] = numbers


def _costs(episode: Any) -> NDArray[Any] | None:
    """The costs of an episode's steps; Minari stores the info of the reset, too."""
    infos = episode.infos
    if not isinstance(infos, Mapping) or COST_KEY not in infos:
        return None
    steps = len(episode.rewards)
    return np.asarray(infos[COST_KEY]).reshape(-1)[-steps:]
