"""The README of a run on the Hugging Face Hub: front matter, figures, and the commands that use and repeat it."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from spi_plugins import __version__
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.run_folder import RunConfig, RunFolder
from spi_plugins.plugins.registry import describe

#: The Hub shows a video of this name next to the card.
VIDEO = "replay.mp4"


def model_card(run: RunFolder, config: RunConfig, repo: str, *, video: bool) -> str:
    """The text of ``README.md``.

    Raises:
        CommandError: the run's evaluation cannot be read.
    """
    figures = _read_evaluation(run)
    front = yaml.safe_dump(_front_matter(config, figures), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {config.algorithm} on {config.env}",
        f"A policy of `{config.algorithm}` from spi-plugins, trained for "
        f"{figures.get('num_timesteps', config.n_timesteps):,} steps on `{config.env}`.",
        _table(figures),
        f'<video src="{VIDEO}" controls autoplay loop muted></video>' if video else "",
        f"![Learning curve]({run.curve.name})" if run.curve.is_file() else "",
        "## Use it",
        f"```bash\npip install 'spi-plugins[hub]'\nspi hub pull {repo} -o my_run\nspi eval my_run\n```",
        "```python\nimport spi_plugins\n\n"
        f'model = spi_plugins.get_algorithm("{config.algorithm}").load("my_run/model.zip")\n```',
        "## Train it again",
        f"```bash\n{_commands(run)}\n```",
        f"```yaml\n{yaml.safe_dump(_settings(config), sort_keys=False, allow_unicode=True)}```",
        "## Versions",
        _versions(run, config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _read_evaluation(run: RunFolder) -> dict[str, Any]:
    """The final evaluation; empty if there was none."""
    try:
        return dict(json.loads(run.evaluation.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"{run.evaluation} is not an evaluation: {describe(error)}") from error


def _front_matter(config: RunConfig, figures: Mapping[str, Any]) -> dict[str, Any]:
    tags = [
        "reinforcement-learning",
        "deep-reinforcement-learning",
        "spi-plugins",
        config.algorithm,
        config.env,
    ]
    front: dict[str, Any] = {"library_name": "spi-plugins", "tags": tags}
    metrics = [
        {"type": name, "name": name, "value": value, "verified": False}
        for name, value in (
            ("mean_reward", _spread(figures, "return")),
            ("mean_cost", _spread(figures, "cost")),
        )
        if value
    ]
    if metrics:
        task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
        dataset = {"name": config.env, "type": config.env}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        front["model-index"] = [{"name": config.algorithm, "results": results}]
    return front


def _spread(figures: Mapping[str, Any], what: str) -> str:
    """Mean and deviation in words; empty if there is no mean."""
    mean, deviation = figures.get(f"mean_{what}"), figures.get(f"std_{what}")
    if mean is None:
        return ""
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} +/- {deviation:.2f}"


def _table(figures: Mapping[str, Any]) -> str:
    rows = [("return", _spread(figures, "return")), ("cost", _spread(figures, "cost"))]
    if figures.get("cost_limit") is not None:
        rows.append(("limit of the mean cost", f"{figures['cost_limit']:g}"))
    if figures.get("violation_rate") is not None:
        rows.append(("episodes above the limit", f"{figures['violation_rate']:.0%}"))
    if figures.get("mean_length") is not None:
        rows.append(("length", f"{figures['mean_length']:.1f}"))
    if figures.get("success_rate") is not None:
        rows.append(("success rate", f"{figures['success_rate']:.0%}"))
    rows = [(name, value) for name, value in rows if value]
    if not rows:
        return "It has not been evaluated."
    n_episodes = figures.get("n_episodes")
    kind = "deterministic" if figures.get("deterministic") else "stochastic"
    title = "the last evaluation" if n_episodes is None else f"{n_episodes} {kind} episodes"
    lines = [f"| {title} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def _commands(run: RunFolder) -> str:
    """The commands that made the run, or the one that would."""
    try:
        return (run.path / "command.txt").read_text("utf-8").strip()
    except OSError:
        return "spi train -c config.json"


def _settings(config: RunConfig) -> dict[str, Any]:
    """What the command may have left to a preset or to defaults, as plain YAML."""
    names = (
        "policy",
        "n_envs",
        "seed",
        "n_timesteps",
        "preset",
        "env_kwargs",
        "wrappers",
        "normalize",
        "frame_stack",
    )
    chosen = {name: getattr(config, name) for name in (*names, "hyperparameters")}
    plain: dict[str, Any] = json.loads(json.dumps(chosen, default=str))
    return {name: value for name, value in plain.items() if value not in (None, {}, [])}


def _versions(run: RunFolder, config: RunConfig) -> str:
    lines = [f"- spi-plugins of the run: {config.version}, of this page: {__version__}"]
    with contextlib.suppress(OSError):
        lines.append((run.path / "system_info.txt").read_text("utf-8").strip())
    return "\n".join(lines)
