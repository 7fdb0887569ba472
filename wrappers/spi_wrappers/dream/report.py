"""The result of ``DreamCheck``, as numbers, as text and as a picture."""

import json
import os
from typing import Any, NamedTuple

import numpy as np

from spi_plugins.errors import MissingDependencyError
from spi_plugins.fitting.open_loop import in_words

_LABELS = {
    "latent_error": "latent error",
    "latent_change": "  if unchanged",
    "reward_error": "reward error",
    "cost_error": "cost error",
    "termination_error": "end, Brier score",
    "share": "share of windows",
}


class Calibration(NamedTuple):
    """Predictions of one step and observed values, in bins of the prediction.

    Attributes:
        predicted: mean prediction of each bin that is not empty.
        observed: mean observed value.
        size: steps in the bin.
    """

    predicted: list[float]
    observed: list[float]
    size: list[int]


class DreamReport(NamedTuple):
    """The result of ``DreamCheck``.

    Attributes:
        n_steps: number of real steps.
        errors: after 1 to k steps under the real actions, see ``spi_plugins.fitting.open_loop.OpenLoop``.
        reward: calibration of the reward.
        cost: of the cost; ``None`` if the model does not predict it.
        termination: of the probability of an end; ``None`` if the model does not predict it.
        real_return: undiscounted returns of whole real episodes.
        real_cost: their costs.
        dream_return: returns of as many dreams from the same first states under the same policy, truncated at the
            length of the longest real episode; ``None`` if the policy's observations cannot be dreamed.
        dream_cost: their costs.
    """

    n_steps: int
    errors: dict[str, list[float]]
    reward: Calibration
    cost: Calibration | None
    termination: Calibration | None
    real_return: list[float]
    real_cost: list[float]
    dream_return: list[float] | None
    dream_cost: list[float] | None

    def text(self) -> str:
        """A readable table of errors, returns and costs."""
        shown = sorted(
            {1, 2, 5, 10, len(self.errors["share"])} & set(range(1, len(self.errors["share"]) + 1))
        )
        lines = [f"{self.n_steps} real steps, {len(self.real_return)} episodes", ""]
        lines.append("steps ahead        " + "".join(f"{k:>10}" for k in shown))
        for name, label in _LABELS.items():
            values = self.errors[name]
            if self._predicts(name):
                lines.append(f"{label:<19}" + "".join(f"{values[k - 1]:>10.4g}" for k in shown))
        lines += ["", in_words(self.errors), ""]
        lines += [
            _summary("return, real", self.real_return),
            _summary("return, dream", self.dream_return),
            _summary("cost, real", self.real_cost),
            _summary("cost, dream", self.dream_cost),
        ]
        if self.dream_return:
            lines += ["", _difference(self.real_return, self.dream_return)]
        return "\n".join(lines)

    def _predicts(self, name: str) -> bool:
        missing = {"cost_error": self.cost is None, "termination_error": self.termination is None}
        return not missing.get(name, False)

    def json(self) -> str:
        """All numbers as JSON."""
        parts = {
            name: value._asdict() if isinstance(value, Calibration) else value
            for name, value in self._asdict().items()
        }
        return json.dumps(parts, indent=1)

    def save_png(self, path: str | os.PathLike[str]) -> None:
        """Four panels: errors by steps ahead, calibration of reward and termination, returns.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        try:
            import matplotlib as mpl
        except ImportError as error:
            raise MissingDependencyError.named("matplotlib", "Pictures of a dream's check", "plot") from error
        mpl.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, 4, figsize=(16, 3.8))
        ahead = np.arange(1, len(self.errors["share"]) + 1)
        for name, label in (("latent_error", "model"), ("latent_change", "no change")):
            axes[0].plot(ahead, self.errors[name], label=label)
        axes[0].set(title="error of the latent", xlabel="steps ahead", ylim=(0, None))
        axes[0].legend()
        _draw_calibration(axes[1], "reward", self.reward)
        _draw_calibration(axes[2], "probability of an end", self.termination)
        worlds = [("real", self.real_return), ("dream", self.dream_return or [])]
        axes[3].boxplot([values for _, values in worlds], tick_labels=[name for name, _ in worlds])
        axes[3].set(title="return")
        figure.tight_layout()
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _summary(name: str, values: list[float] | None) -> str:
    if not values:
        return f"{name:<15} unknown"
    return f"{name:<15} {np.mean(values):.4g} +- {np.std(values):.3g}, {len(values)} episodes"


def _difference(real: list[float], dream: list[float]) -> str:
    """What a policy's return in the dream says about its return in reality."""
    gap = np.mean(dream) - np.mean(real)
    noise = 2.0 * np.sqrt(np.var(real) / len(real) + np.var(dream) / len(dream))
    if abs(gap) <= noise:
        return f"The dream's return is that of reality within noise ({gap:+.3g}, noise {noise:.3g})."
    more = "more" if gap > 0 else "less"
    return f"The dream promises {more} return than reality gives ({gap:+.3g}, noise {noise:.3g})."


def _draw_calibration(axes: Any, title: str, calibration: Calibration | None) -> None:
    axes.set(title=title, xlabel="predicted", ylabel="observed")
    if calibration is None:
        axes.text(0.5, 0.5, "not predicted", ha="center")
        return
    both = [*calibration.predicted, *calibration.observed]
    axes.plot([min(both), max(both)], [min(both), max(both)], color="grey", linestyle="--")
    axes.plot(calibration.predicted, calibration.observed, marker="o")
