"""A comparison as one HTML page that asks for no other file: styles and pictures are inside."""

import base64
import datetime
import html
import importlib.resources
import json
import string
from collections.abc import Iterable, Mapping, Sequence

from spi_plugins import __version__
from spi_plugins.cli.certify import remark
from spi_plugins.cli.comparison.results import Cell, Results
from spi_plugins.cli.comparison.table import HEADINGS, aggregate_rows, cell_rows, improvement_rows, summary
from spi_plugins.cli.comparison.theme import DARK, LIGHT, Picture, to_svg
from spi_plugins.cli.run_folder import RunFolder

_TEMPLATE = importlib.resources.files("spi_plugins.cli.comparison") / "page.html"


def to_html(results: Results, pictures: Sequence[Picture], *, title: str, command: str) -> str:
    """The page: results as tables and pictures, settings, and the commands that repeat the runs and the page."""
    sections = [
        ("Results", _results(results)),
        *((picture.title, _figure(picture)) for picture in pictures),
        *_certificates(results),
        ("Settings", _settings(results)),
        ("To repeat this", _commands(results, command)),
    ]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return string.Template(_TEMPLATE.read_text("utf-8")).substitute(
        title=html.escape(title),
        subtitle=html.escape(f"{summary(results)} Written by spi-plugins {__version__} on {today}."),
        links=" ".join(f'<a href="#{_anchor(name)}">{html.escape(name)}</a>' for name, _ in sections),
        body=_notes(results)
        + "".join(
            f'<h2 id="{_anchor(name)}">{html.escape(name)}</h2>\n{content}\n' for name, content in sections
        ),
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _notes(results: Results) -> str:
    if not results.notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in results.notes)
    return f'<div class="notes"><ul>{items}</ul></div>\n'


def _results(results: Results) -> str:
    header, rows = cell_rows(results)
    parts = [
        '<p class="soft">Brackets are 95% bootstrap intervals over seeds.</p>',
        _table(header, rows),
    ]
    names, rows = aggregate_rows(results)
    if rows:
        parts.append(_table(("GROUP", *(HEADINGS[name] for name in names)), rows))
    rows = improvement_rows(results)
    if rows:
        parts.append(_table(("PROBABILITY OF IMPROVEMENT", ""), rows))
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, settings: Sequence[int] = ()) -> str:
    """A table; its headings are written small, and columns of settings in a font of fixed width."""
    head = "".join(f"<th>{html.escape(_sentence(cell))}</th>" for cell in header)
    lines = []
    for row in rows:
        kinds = ["setting" if at in settings else "number" for at in range(len(row))]
        cells = (
            f'<td class="{kind}">{html.escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _sentence(heading: str) -> str:
    return heading if heading == "IQM" else heading.capitalize()


def _figure(picture: Picture) -> str:
    light, dark = (base64.b64encode(to_svg(picture, theme)).decode() for theme in (LIGHT, DARK))
    url = "data:image/svg+xml;base64,"
    alt = html.escape(f"{picture.title}. {picture.caption}", quote=True)
    return (
        f'<figure><div class="wide"><picture>'
        f'<source media="screen and (prefers-color-scheme: dark)" srcset="{url}{dark}">'
        f'<img src="{url}{light}" alt="{alt}" style="max-width: {6.6 * picture.width:.0f}rem"></picture></div>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _settings(results: Results) -> str:
    """A row for each group and setting; environments with the same settings share one."""
    tasks: dict[tuple[str, ...], list[str]] = {}
    for (label, task), cell in _ordered(results):
        config = cell.runs[0].config
        row = (
            label,
            config.algorithm,
            config.policy,
            f"{config.n_timesteps:,}",
            f"{config.n_envs}",
            ", ".join(sorted({str(run.config.seed) for run in cell.runs})),
            _pairs(config.hyperparameters) or "defaults",
            _pairs(config.env_kwargs) or "-",
            config.version,
        )
        tasks.setdefault(row, []).append(task)
    header = ("ENVIRONMENTS", "GROUP", "ALGORITHM", "POLICY", "STEPS", "COPIES", "SEEDS", "HYPERPARAMETERS",
              "ENVIRONMENT'S ARGUMENTS", "VERSION")  # fmt: skip
    rows = [(", ".join(places), *row) for row, places in tasks.items()]
    return _table(header, rows, settings=(0, 7, 8))


def _certificates(results: Results) -> list[tuple[str, str]]:
    """What ``spi certify`` found last of each run that it was called for; no section if there is none."""
    parts = []
    for run in (run for _, cell in _ordered(results) for run in cell.runs):
        try:
            found = json.loads(RunFolder(run.path).certificate.read_text("utf-8"))
            rows = [
                (entry["kind"], entry["title"], f"{float(entry['value']):.4g}", remark(entry))
                for entry in found["entries"]
            ]
        except (OSError, ValueError, TypeError, LookupError):
            continue
        parts.append(
            f'<p class="soft">{html.escape(str(run.path))}, from {html.escape(str(found["baseline"]))}. Diagnostics '
            "are measured on samples and guarantee nothing.</p>"
            + _table(("KIND", "QUANTITY", "VALUE", "REMARK"), rows, settings=(3,))
        )
    return [("What is guaranteed", "\n".join(parts))] if parts else []


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def _commands(results: Results, command: str) -> str:
    parts = []
    for (label, task), cell in _ordered(results):
        lines = [line for run in cell.runs for line in run.commands]
        if lines:
            text = html.escape("\n".join(lines))
            count = f"{len(cell.runs)} run{'s' if len(cell.runs) > 1 else ''}"
            parts.append(
                f"<details><summary>{html.escape(f'{label} on {task}')}: {count}</summary>"
                f"<pre>{text}</pre></details>"
            )
    system = _system_info(results)
    if system:
        parts.append(
            "<details><summary>Machine and versions of the first run</summary>"
            f"<pre>{html.escape(system)}</pre></details>"
        )
    return "\n".join([*parts, f"<p>This page:</p><pre>{html.escape(command)}</pre>"])


def _system_info(results: Results) -> str:
    """The description of the machine that the first run was on."""
    path = results.groups.runs[0].path / "system_info.txt"
    return path.read_text("utf-8") if path.is_file() else ""


def _ordered(results: Results) -> list[tuple[tuple[str, str], Cell]]:
    groups = results.groups
    keys = [(label, task) for task in groups.tasks for label in groups.labels]
    return [(key, results.cells[key]) for key in keys if key in results.cells]
