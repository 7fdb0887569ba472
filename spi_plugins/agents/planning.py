"""The interface of an agent that plans in its world model: its state, metrics and functions."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.losses.lagrangian import Multipliers
from spi_plugins.planners.planner import Planner
from spi_plugins.types import PyTree
from spi_plugins.world_models.tdmpc import TDMPC


class SPOWLState(NamedTuple):
    """All that an update changes and a resume needs, except the buffer."""

    params: PyTree  # of the model and of the policy: few long arrays, see ``PlanningAgent.named``
    targets: PyTree  # slow copies of the critics
    opt_state: PyTree  # of the model and of the policy
    multipliers: Multipliers
    scale: Float[Array, ""]  # by which the policy's loss divides the values
    key: Array


class SPOWLMetrics(NamedTuple):
    """Scalars of an update: means over its gradient steps, except for the last three."""

    model_loss: Float[Array, ""]
    consistency_loss: Float[Array, ""]
    reward_loss: Float[Array, ""]
    cost_loss: Float[Array, ""]
    value_loss: Float[Array, ""]
    cost_value_loss: Float[Array, ""]
    decoder_loss: Float[Array, ""]
    termination_loss: Float[Array, ""]
    termination_rate: Float[Array, ""]  # the share of steps that end an episode in a terminal state
    value_target: Float[Array, ""]
    cost_value_target: Float[Array, ""]
    policy_loss: Float[Array, ""]
    entropy: Float[Array, ""]
    lagrangian: Float[Array, ""]  # psi, the cost's part of the policy's loss
    cost_gap: Float[Array, ""]  # the policy's cost value above its limit
    model_grad_norm: Float[Array, ""]
    policy_grad_norm: Float[Array, ""]
    multiplier: Float[Array, ""]
    penalty: Float[Array, ""]
    scale: Float[Array, ""]


class PlanningAgent(NamedTuple):
    """Pure functions; wrap them in ``jit`` where they are called.

    Attributes:
        init: ``(key) -> SPOWLState``.
        init_plan: ``(n_envs) -> plan state`` of that many environments, at the start of episodes.
        act: ``(params, obs, plan_state, episode_start, key, *, deterministic) -> (action, plan_state, metrics)`` for
            ``[B, *obs]``; the model's actions, in [-1, 1] or int32.
        step: ``(state, windows, learning_rate, key) -> (state, SPOWLMetrics)``, one gradient step.
        update: ``(state, data, n_updates, learning_rate) -> (state, SPOWLMetrics)``, ``n_updates`` of them, on windows
            out of a ``Buffer`` or on given ones, ``Windows`` with an axis of at least so many steps in front.
        named: ``(state) -> state`` whose arrays are trees by the networks' names, as in files; copies on the host.
        joined: the way back.
        random_scale: factor on the random actions with which training begins, of a ``Box``.
    """

    config: SPOWLConfig
    world: TDMPC
    planner: Planner
    init: Callable[[Array], SPOWLState]
    init_plan: Callable[[int], PyTree]
    act: Callable[..., tuple[Array, PyTree, dict[str, Array]]]
    step: Callable[..., tuple[SPOWLState, SPOWLMetrics]]
    update: Callable[..., tuple[SPOWLState, SPOWLMetrics]]
    named: Callable[[SPOWLState], SPOWLState]
    joined: Callable[[SPOWLState], SPOWLState]
    random_scale: float = 1.0
