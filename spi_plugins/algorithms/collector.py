"""The interface between a training loop and its collector: the collector reports, the model stores."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from spi_plugins.agents.on_policy import OnPolicyMetrics, OnPolicyState
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.types import Observation


class Start(NamedTuple):
    """The state that collecting begins from."""

    obs: Observation  # as the environments returned it
    num_timesteps: int
    standing: Any = None  # the ``Standing`` of an agent that plans


class _NoRolloutBuffer:
    """Stands where SB3's callbacks find the rollout buffer, and says what to read instead."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"There is no rollout buffer to read {name!r} from: rollouts stay on the device. In _on_step, self.locals "
            "has the step's 'rewards', 'dones', 'infos', 'actions', 'values' and 'log_probs', each [n_envs, ...]."
        )


NO_ROLLOUT_BUFFER = _NoRolloutBuffer()


class Row(NamedTuple):
    """One step of all environments, for callbacks and for the log."""

    local: dict[str, Any]  # SB3's local variables of a step, which callbacks read
    infos: Infos  # all that may report an episode
    done: NDArray[np.bool_]  # of these infos
    last_obs: Observation | None = (
        None  # the next observations; ``None`` if the environments are further already
    )


class Updated(NamedTuple):
    """The result of an update. The old state was donated, so the model must store the new one at once."""

    state: OnPolicyState
    metrics: OnPolicyMetrics
    fault: Exception | None  # to raise once the state is stored
    last_obs: Observation | None = None  # the next observations, if the update stepped the environments
    last_done: NDArray[np.bool_] | None = None


RowT_co = TypeVar("RowT_co", covariant=True)


class Collector(Protocol[RowT_co]):
    """Steps environments with an agent's actions."""

    def start(self, start: Start) -> None:
        """Begin, or begin again after an interrupt or an error."""

    def rows(self, state: Any, num_timesteps: int) -> Iterator[RowT_co]:
        """The steps that follow ``num_timesteps``, one by one, with the parameters of ``state``."""


class RolloutCollector(Collector[Row], Protocol):
    """Fills one rollout and updates on it.

    Attributes:
        updates_first: ``update`` also steps the environments, and ``rows`` then replays the steps; otherwise
            ``rows`` makes the steps, and ``update`` follows.
    """

    updates_first: bool

    def update(self, state: OnPolicyState, end: int, learning_rate: Any, clip_range: Any) -> Updated:
        """Update on the rollout that ends at ``end`` time steps. Donates ``state``."""

    def stopped(self, state: OnPolicyState) -> OnPolicyState:
        """The state after a rollout that a callback cut short."""

    def counted(self, state: OnPolicyState) -> OnPolicyState:
        """The state after steps of a rollout that was cut short, which an update will not see."""

    def episodes(self, first_row: int) -> Iterator[tuple[Infos, NDArray[np.bool_]]]:
        """Infos and ends of episodes in the rows from ``first_row`` on that ``rows`` has not replayed."""
