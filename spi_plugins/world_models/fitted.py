"""A world model with its parameters: what is left when the agent that fitted it is gone."""

from typing import NamedTuple

from spi_plugins.types import ActionSpec, ObservationSpec, Params
from spi_plugins.world_models.interface import Model


class FittedModel(NamedTuple):
    """What planners and dreams need.

    Attributes:
        model: pure functions.
        params: their parameters.
        observations: what it encodes.
        actions: what the environment takes; the model's own actions are these scaled to [-1, 1].
    """

    model: Model
    params: Params
    observations: ObservationSpec
    actions: ActionSpec
