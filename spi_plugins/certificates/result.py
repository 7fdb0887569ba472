"""What a computation may claim: a certificate has a proof behind it, a diagnostic has none."""

import math
from typing import NamedTuple


class Certificate(NamedTuple):
    """A statement that holds under its assumptions, with its confidence; or ``void``, and then nothing is claimed.

    Attributes:
        name: what is bounded.
        value: the bound. Where it is void, the one that says nothing: ``-inf`` from below, ``inf`` from above.
        confidence: probability that the statement holds; 1 where nothing was sampled.
        assumptions: what must be true for it to hold.
        void: why nothing is guaranteed; ``None`` if something is.
        vacuity: by which factor the bound is too wide to say anything: its loss over the largest difference that there
            can be at all. Below 1 it says something; ``None`` where there is no such scale.
    """

    name: str
    value: float
    confidence: float
    assumptions: tuple[str, ...]
    void: str | None = None
    vacuity: float | None = None

    @property
    def vacuous(self) -> bool:
        """Whether it holds and says nothing."""
        return self.void is None and self.vacuity is not None and self.vacuity >= 1

    def __str__(self) -> str:
        if self.void is not None:
            return f"{self.name}: void, {self.void}"
        scale = f", vacuous by a factor of {self.vacuity:.3g}" if self.vacuous else ""
        return f"{self.name}: {self.value:.4g} (confidence {self.confidence:g}{scale})"


class Diagnostic(NamedTuple):
    """A number measured on samples that guarantees nothing.

    Attributes:
        name: what was measured.
        value: the number.
        caveat: why it is not a certificate.
    """

    name: str
    value: float
    caveat: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g} (diagnostic: {self.caveat})"


def void(name: str, reason: str, assumptions: tuple[str, ...] = (), value: float = -math.inf) -> Certificate:
    """A certificate that claims nothing, and why."""
    return Certificate(name, value, 0.0, assumptions, reason)
