"""The metrics of an update of an agent that plans: checked, and those of them that a log shows."""

import warnings

import numpy as np

from spi_plugins.agents.planning import SPOWLMetrics
from spi_plugins.agents.spowl.config import SPOWLConfig

_COST_METRICS = ("cost_loss", "cost_value_loss", "cost_value_target")
_TERMINATION_METRICS = ("termination_loss", "termination_rate")
_LAGRANGIAN_METRICS = ("lagrangian", "cost_gap", "multiplier", "penalty")


def checked(means: SPOWLMetrics, last: SPOWLMetrics, num_timesteps: int) -> SPOWLMetrics:
    """The means over an update's gradient steps, with what is not a mean from the last ones.

    Raises:
        FloatingPointError: something is not finite, so the update was not made.
    """
    bad = [name for name, value in means._asdict().items() if not np.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became infinite or NaN at {num_timesteps} steps: learning_rate is too high, or "
            "rewards or costs are too large. The model is left as it was before these gradient steps."
        )
    return means._replace(multiplier=last.multiplier, penalty=last.penalty, scale=last.scale)


def shown(metrics: SPOWLMetrics, config: SPOWLConfig) -> dict[str, float]:
    """The metrics of parts that the agent has. Warns if episodes end and plans do not know it."""
    skipped = set() if config.model.decoder else {"decoder_loss"}
    if not config.model.episodic:
        skipped |= set(_TERMINATION_METRICS)
        if metrics.termination_rate > 0:
            warnings.warn(
                "Episodes of this environment end in terminal states, which the model does not predict, so plans go on "
                "beyond them: episodic=True.",
                stacklevel=2,
            )
    if not config.model.n_costs:
        skipped |= set(_COST_METRICS)
    if not config.uses_lagrangian:
        skipped |= set(_LAGRANGIAN_METRICS)
    return {name: float(value) for name, value in metrics._asdict().items() if name not in skipped}
