"""The paper's kinds of bounds as formulas: one-sided improvement, representation, and one without a model.

All take exact numbers or bounds of them. Numbers that were measured in sampled states give diagnostics: a ratio or a
Lipschitz constant there is not a supremum. Proofs are in ``docs/certificates.md``.
"""

import math
from typing import NamedTuple

from spi_plugins.certificates.result import Certificate, Diagnostic, void

_SAMPLED = "ratios and constants are those of sampled states, whose suprema over all states cannot be known"


class Measured(NamedTuple):
    """What the improvement bound needs; upper bounds of everything but ``model_value``.

    Attributes:
        ratio: C, the largest ratio of the update.
        episode_length: AEL, the mean number of steps of the old policy's episodes.
        reward_error: L_R, the mean of |r - R̄| on the old policy's data.
        transition_error: L_P, the mean Wasserstein distance of the next latent.
        end_error: the mean error of the probability that the episode ends.
        value_constant: K_V.
        largest_value: the largest |V̄|, which an episode's end changes to 0.
        model_value: ρ̄ of the new policy; a lower bound.
        old_value: ρ of the old policy; an upper bound.
        scale: the largest difference that two policies' returns can have, if known.
    """

    ratio: float
    episode_length: float
    reward_error: float
    transition_error: float
    end_error: float
    value_constant: float
    largest_value: float
    model_value: float
    old_value: float
    scale: float | None = None

    def loss(self, gamma: float) -> float:
        """``C AEL (L_R + γ K_V L_P + γ max|V̄| L_end)``."""
        norm = 0.0 if self.transition_error == 0 else self.value_constant * self.transition_error
        per_step = self.reward_error + gamma * (norm + self.largest_value * self.end_error)
        return self.ratio * self.episode_length * per_step


def improvement(
    found: Measured, gamma: float, confidence: float, assumptions: tuple[str, ...]
) -> Certificate:
    """``ρ(π) - ρ(π_b) >= ρ̄(π) - C AEL (L_R + γ K_V L_P) - ρ(π_b)``, for numbers that hold in every state.

    One-sided: the encoder moves in an update, so the old policy has no value in the new latent model.
    """
    if found.ratio * gamma > 1:
        return void("improvement", f"C = {found.ratio:.4g} is above 1/γ = {1 / gamma:.4g}", assumptions)
    if not math.isfinite(found.value_constant):
        return void("improvement", "γ K_P is not below 1", assumptions)
    loss = found.loss(gamma)
    value = found.model_value - loss - found.old_value
    return Certificate(
        "improvement", value, confidence, assumptions, vacuity=loss / found.scale if found.scale else None
    )


def sampled_improvement(found: Measured, gamma: float) -> Diagnostic:
    """The same number from sampled states: a diagnostic, to be compared between updates and settings."""
    bound = improvement(found, gamma, 0.0, ())
    caveat = _SAMPLED if bound.void is None else f"{bound.void}; and {_SAMPLED}"
    return Diagnostic("improvement by the formula", bound.value, caveat)


def representation(
    step_error: float, ratio: float, gamma: float, distance: float, assumptions: tuple[str, ...] = ()
) -> Certificate:
    """Upper bound of the probability that values differ by more than latents do.

    For two states visited by the old policy, ``P(|V(s1) - V(s2)| > K_V |φ(s1) - φ(s2)| + ε) <= 2 F / (ε (1/C - γ))``.

    Args:
        step_error: F, ``L_R + γ K_V L_P`` on the old policy's data.
        ratio: C, the largest ratio.
        gamma: discount.
        distance: ε.
        assumptions: of the numbers.
    """
    name = f"probability of values further apart than latents by more than {distance:g}"
    if ratio * gamma >= 1:
        return void(name, f"C = {ratio:.4g} is not below 1/γ = {1 / gamma:.4g}", assumptions, value=1.0)
    probability = 2 * step_error / (distance * (1 / ratio - gamma))
    return Certificate(name, min(probability, 1.0), 1.0, assumptions, vacuity=probability)


def model_free(
    gain: float, largest_gain: float, ratio: float, gamma: float, assumptions: tuple[str, ...] = ()
) -> Certificate:
    """Lower bound of the improvement without any model: ``(gain - γ (C - 1) max|E_π A| / (1 - γ)) / (1 - γ)``.

    In the neighborhood the total variation is at most ``(C - 1) / 2`` in every state, which goes into the bound of
    Achiam et al. 2017, Corollary 1.

    Args:
        gain: mean over the old policy's discounted visits of the new policy's mean advantage.
        largest_gain: the largest absolute value of that mean advantage over all states.
        ratio: C; also ``2 - C`` bounds the ratios from below.
        gamma: discount.
        assumptions: of the numbers.
    """
    name = "improvement without a model"
    if gamma >= 1 or not math.isfinite(ratio):
        return void(name, "γ must be below 1 and the ratio bounded", assumptions)
    loss = gamma * (ratio - 1) * largest_gain / (1 - gamma) ** 2
    return Certificate(name, gain / (1 - gamma) - loss, 1.0, assumptions)
