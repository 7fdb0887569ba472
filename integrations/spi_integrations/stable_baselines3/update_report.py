"""What can be said of one update of an on-policy model, from fresh episodes of the policy before it."""

import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_integrations.stable_baselines3.behavior import Behavior, Look, look, play
from spi_integrations.stable_baselines3.exact_update import exact_update
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.arrays import restore_arrays
from spi_plugins.certificates import off_policy
from spi_plugins.certificates.bounds import Measured, sampled_improvement
from spi_plugins.certificates.concentration import student_lower
from spi_plugins.certificates.constants import head_constant, policy_averaged, value_constant
from spi_plugins.certificates.model_errors import ModelErrors
from spi_plugins.certificates.ratios import RatioSummary, summarize_ratios
from spi_plugins.certificates.result import Certificate, Diagnostic
from spi_plugins.types import Params

_STATES = "over the states of the episodes played, not all"
_BOOTSTRAP = "approximate: mean per step, with a bootstrap over episodes"
_ESTIMATE = "diameter and spread are those of samples"


class UpdateReport(NamedTuple):
    """Everything that was computed, by a short name."""

    entries: dict[str, Certificate | Diagnostic]

    def values(self) -> dict[str, float]:
        """The numbers alone, for a log."""
        return {name: entry.value for name, entry in self.entries.items()}


def current_parameters(model: OnPolicyAlgorithm) -> Params:
    """A copy of the parameters in the form that the agent takes."""
    shapes = _shapes(model.agent)
    arrays = model.get_parameters()
    return {
        name: restore_arrays(shapes[name], arrays[name], what=f"The parameters of {name!r}")
        for name in shapes
    }


@functools.lru_cache(maxsize=4)
def _shapes(agent: OnPolicyAgent) -> Any:
    return jax.eval_shape(agent.init, jax.random.key(0)).params


def report(
    model: OnPolicyAlgorithm,
    old: Params,
    new: Params,
    env: VecEnv,
    *,
    n_episodes: int,
    seed: int = 0,
    return_range: tuple[float, float] | None = None,
    error: float = 0.05,
) -> UpdateReport:
    """Play the old policy, and measure the step from ``old`` to ``new``; exactly, too, where states are enumerated.

    Args:
        model: the model, for its networks and spaces.
        old: parameters of the policy that plays.
        new: parameters after the update.
        env: where it plays.
        n_episodes: how many, at least 2.
        seed: of the actions.
        return_range: bounds of an episode's discounted return, for certificates; without, there are estimates only.
        error: probability of failure of each bound.
    """
    behavior = play(model, old, env, n_episodes, seed)
    seen = look(model, old, new, behavior, seed)
    gamma = float(model.gamma)  # type: ignore[attr-defined]
    _, clip = model.rates(model.num_timesteps, max(model.num_timesteps, 1))
    ratios = summarize_ratios(seen.extremes, 1.0 + float(np.max(clip.ratio)), gamma)
    entries = _ratios(ratios) | _returns(
        behavior.discounted_returns(gamma), seen.log_ratio, return_range, error
    )
    if seen.errors is not None and seen.latent_returns is not None:
        entries |= _model(model, new, seen, seen.errors, behavior)
        found = _measured(model, new, seen, seen.errors, ratios, behavior, error)
        entries["improvement"] = sampled_improvement(found, gamma)
        if model.agent.world_model is not None and model.agent.world_model.termination is None:
            caveat = (
                "without termination_model=True the latent model never ends, so no episodic bound applies"
            )
            entries["improvement"] = Diagnostic("improvement by the formula", -math.inf, caveat)
    return UpdateReport({**entries, **exact_update(model, old, new, env, seed)})


def _ratios(found: RatioSummary) -> dict[str, Certificate | Diagnostic]:
    return {
        "ratio_max": Diagnostic("largest ratio of the update", found.supremum, _STATES),
        "ratio_min": Diagnostic("smallest ratio", found.infimum, _STATES),
        "outside": Diagnostic("share of states with a ratio outside [2 - C, C]", found.outside, _STATES),
        "outside_theorem": Diagnostic("the same for C = 1/γ", found.outside_theorem, _STATES),
    }


def _returns(
    returns: NDArray[np.float64],
    log_ratio: NDArray[np.float64],
    bounds: tuple[float, float] | None,
    error: float,
) -> dict[str, Certificate | Diagnostic]:
    if bounds is None:
        lower = float(student_lower(returns, error))
        caveat = "Student's bound, approximate; a range of returns makes it a certificate"
        return {"old_return": Diagnostic("old policy's discounted return, lower bound", lower, caveat)}
    return {
        "old_return": off_policy.evaluate(returns, *bounds, error),
        "new_return": off_policy.evaluate_from(returns, log_ratio, *bounds, error),
    }


def _model(
    model: OnPolicyAlgorithm, new: Params, seen: Look, errors: ModelErrors, behavior: Behavior
) -> dict[str, Certificate | Diagnostic]:
    assert seen.latent_returns is not None
    reward, transition = _averaged_constants(model, new, seen, behavior)
    known = _unbounded(model, new) or _ESTIMATE
    return {
        "L_R": Diagnostic("reward error, L1, upper bound", errors.reward.upper, _BOOTSTRAP),
        "L_P": Diagnostic("transition error, Euclidean, upper bound", errors.transition.upper, _BOOTSTRAP),
        "L_end": Diagnostic("error of the episode's end, upper bound", errors.end.upper, _BOOTSTRAP),
        "value_aware": Diagnostic(
            "transition error that matters to values", errors.value_aware, "an estimate from below"
        ),
        "episode_length": Diagnostic(
            "mean length of the old policy's episodes", errors.episode_length, "a mean"
        ),
        "K_R": Diagnostic("reward constant, averaged over actions", reward, known),
        "K_P": Diagnostic("transition constant, averaged over actions", transition, known),
        "model_return": Diagnostic(
            "new policy's return in its model", float(seen.latent_returns.mean()), "a mean of latent rollouts"
        ),
    }


def _averaged_constants(
    model: OnPolicyAlgorithm, new: Params, seen: Look, behavior: Behavior
) -> tuple[float, float]:
    """Constants averaged over the policy's actions; infinite where something has no bound, see ``_unbounded``."""
    world = model.agent.world_model
    assert world is not None
    if _unbounded(model, new) is not None:
        return math.inf, math.inf
    head = _head_constant(model, new)
    diameter = float(np.linalg.norm(np.ptp(seen.latents, axis=0)))
    constant = world.config.lipschitz_constant
    spread = float(np.ptp(behavior.reward))
    return policy_averaged(constant, spread, head), policy_averaged(constant, diameter, head)


def _head_constant(model: OnPolicyAlgorithm, new: Params) -> float:
    return head_constant(new["policy"], model.agent.policy.activation, model.agent.policy.lipschitz)


def _unbounded(model: OnPolicyAlgorithm, new: Params) -> str | None:
    """Why the averaged constants have no bound, if they have none."""
    world, policy = model.agent.world_model, model.agent.policy
    assert world is not None
    if not world.config.lipschitz:
        return "unbounded: with lipschitz=False the latent model's layers have no certified norms"
    if policy.draw_noise is not None or "log_std" in new["policy"]["actor"]:
        return "unbounded: no theorem covers Gaussian policies"
    if math.isinf(_head_constant(model, new)):
        return (
            f"unbounded: {policy.activation} is steeper than 1, so the policy's layers have no certified constant; "
            "policy_kwargs=dict(actor_lipschitz=...) sets one"
        )
    return None


def _measured(
    model: OnPolicyAlgorithm,
    new: Params,
    seen: Look,
    errors: ModelErrors,
    ratios: RatioSummary,
    behavior: Behavior,
    error: float,
) -> Measured:
    gamma = float(model.gamma)  # type: ignore[attr-defined]
    returns = behavior.discounted_returns(gamma)
    assert seen.latent_returns is not None
    return Measured(
        ratio=ratios.supremum,
        episode_length=errors.episode_length,
        reward_error=errors.reward.upper,
        transition_error=errors.transition.upper,
        end_error=errors.end.upper,
        value_constant=value_constant(*_averaged_constants(model, new, seen, behavior), gamma),
        largest_value=errors.largest_value,
        model_value=float(student_lower(seen.latent_returns, error)),
        old_value=-float(student_lower(-returns, error)),
    )


def told(report: UpdateReport) -> list[dict[str, Any]]:
    """The report as JSON, which has no infinity: void bounds are text that ``float`` reads, such as ``"-inf"``."""
    return [
        {
            **{key: _plain(value) for key, value in entry._asdict().items()},
            "title": entry.name,
            "name": name,
            "kind": type(entry).__name__.lower(),
        }
        for name, entry in report.entries.items()
    ]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
