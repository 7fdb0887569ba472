"""The report of ``check_cost_env``."""

from dataclasses import dataclass, field

import numpy as np


class CostEnvError(ValueError):
    """An environment's costs are wrong.

    Attributes:
        report: everything that was found; its text is the message.
    """

    def __init__(self, report: "CostReport") -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[type["CostEnvError"], tuple["CostReport"]]:
        return type(self), (self.report,)


@dataclass
class _Finding:
    text: str
    error: bool
    first: str
    count: int = 1

    def __str__(self) -> str:
        where = self.first if self.count == 1 else f"first {self.first}, {self.count} times in all"
        return f"{self.text} ({where})" if self.first else self.text


@dataclass
class CostReport:
    """The findings of ``check_cost_env``; print it to read them.

    Attributes:
        subject: the environment, in words.
        steps: number of transitions checked, over all rows.
        episode_costs: undiscounted cost of each episode that ended.
        total_cost: sum of all costs.
    """

    subject: str
    steps: int = 0
    episode_costs: list[float] = field(default_factory=list)
    total_cost: float = 0.0
    _findings: dict[str, _Finding] = field(default_factory=dict, repr=False)

    @property
    def errors(self) -> tuple[str, ...]:
        """What must be fixed."""
        return tuple(str(finding) for finding in self._findings.values() if finding.error)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be intended."""
        return tuple(str(finding) for finding in self._findings.values() if not finding.error)

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def error(self, kind: str, text: str, where: str = "") -> None:
        """Record an error; of each kind, the first is kept and the others are counted."""
        self._note(kind, text, True, where)

    def warn(self, kind: str, text: str, where: str = "") -> None:
        """Record something that may be intended, likewise."""
        self._note(kind, text, False, where)

    def __str__(self) -> str:
        counts = f"{_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')}"
        lines = [f"Costs of {self.subject}: {counts}."]
        lines += [f"  error: {text}" for text in self.errors]
        lines += [f"  warning: {text}" for text in self.warnings]
        costs = self.episode_costs
        ended = f", {_count(len(costs), 'episode')} ended"
        if costs:
            ended += f" with a cost of {np.mean(costs):.4g} on average, {min(costs):.4g} to {max(costs):.4g}"
        return "\n".join([*lines, f"  seen: {_count(self.steps, 'step')}{ended}."])

    def _note(self, kind: str, text: str, error: bool, where: str) -> None:
        if kind in self._findings:
            self._findings[kind].count += 1
        else:
            self._findings[kind] = _Finding(text, error, where)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
