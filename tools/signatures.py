"""Writes what follows from declarations and presets: stubs, checks of the command line, tables in docs.

Run as ``make signatures``; a test holds the files equal to what this would write.
"""

import importlib
import inspect
import pathlib
import re
import statistics
import subprocess
import sys
import textwrap

from spi_plugins import PPO, SPOWL, TDMPC2, DeepMDP, DeepSPI, DreamSPI, builtins, presets
from spi_plugins.agents.constraint import CostConfig
from spi_plugins.agents.deep_spi.config import DeepSPIConfig, PPOConfig
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, ReplayConfig
from spi_plugins.agents.spowl.config import OFFICIAL_ERRORS, SPOWLConfig
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS
from spi_plugins.algorithms.constructors import signature
from spi_plugins.algorithms.settings import (
    ConstraintSettings,
    DreamSettings,
    LearningRate,
    PlanningSettings,
    RolloutSettings,
    ShellSettings,
)
from spi_plugins.cli.declarations import write_declarations
from spi_plugins.constraints.augmented import AugmentedConfig
from spi_plugins.constraints.cpo import CPOConfig
from spi_plugins.constraints.crpo import CRPOConfig
from spi_plugins.constraints.focops import FOCOPSConfig
from spi_plugins.constraints.lagrangian import LagrangianConfig
from spi_plugins.constraints.p3o import P3OConfig
from spi_plugins.constraints.pid import PIDConfig
from spi_plugins.hyperparameters import Hyperparameter, declared
from spi_plugins.planners.ccem import CCEMConfig
from spi_plugins.planners.cem import CEMConfig
from spi_plugins.planners.icem import ICEMConfig
from spi_plugins.planners.mppi import MPPIConfig
from spi_plugins.planners.safe_improvement import SafeImprovementConfig
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

ROOT = pathlib.Path(__file__).parents[1]
ALGORITHMS = (PPO, DeepSPI, DeepMDP, DreamSPI, TDMPC2, SPOWL)
_KEYS_OF_DICTS = ("termination", *WORLD_MODEL_HYPERPARAMETERS)
# Attributes that SB3 declares, and those that are chosen if they are left open.
_SHELL = ("learning_rate", *declared(ShellSettings))
_SIZES = ("batch_size", "imagination_batch_size")
_STUBS = """# Written by `make signatures` from the hyperparameters.
from collections.abc import Mapping
from typing import Any, Literal

from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.planners.planner import Planner

class Signature: ...

"""
TABLES = {
    "PPO": PPO.hyperparameters,
    "DeepSPI": {k: v for k, v in DeepSPI.hyperparameters.items() if k not in PPO.hyperparameters},
    "world_model_kwargs": declared(DeepMDPConfig, without=_KEYS_OF_DICTS),
    "DreamSPI": {k: v for k, v in DreamSPI.hyperparameters.items() if DeepSPI.hyperparameters.get(k) != v},
    "TDMPC2": TDMPC2.hyperparameters,
    "SPOWL": {k: v for k, v in SPOWL.hyperparameters.items() if TDMPC2.hyperparameters.get(k) != v},
    "policy_kwargs of TDMPC2": declared(TDMPCConfig, without=(*SPOWL.hyperparameters, "official_log_prob")),
    "loss_kwargs": declared(SPOWLConfig, without=(*SPOWL.hyperparameters, *OFFICIAL_ERRORS)),
    "lagrangian": declared(LagrangianConfig),
    "pid": declared(PIDConfig),
    "augmented": declared(AugmentedConfig),
    "p3o": declared(P3OConfig),
    "focops": declared(FOCOPSConfig),
    "crpo": declared(CRPOConfig),
    "cpo": declared(CPOConfig),
    "safe_improvement": declared(SafeImprovementConfig),
    "ccem": declared(CCEMConfig),
    "mppi": declared(MPPIConfig),
    "cem": declared(CEMConfig),
    "icem": declared(ICEMConfig),
}
# Titles in `spi train ALGO --help`.
GROUPS = {
    **dict.fromkeys(declared(LearningRate) | declared(RolloutSettings) | declared(PPOConfig), "learning"),
    **dict.fromkeys(declared(SPOWLConfig), "learning"),
    **dict.fromkeys(declared(DeepSPIConfig, without=declared(PPOConfig)), "world model"),
    **dict.fromkeys(WORLD_MODEL_HYPERPARAMETERS, "world model"),
    **dict.fromkeys(declared(DreamSettings) | declared(DreamSPIConfig) | declared(ReplayConfig), "dreams"),
    **dict.fromkeys(
        declared(PlanningSettings, without=("learning_rate", "batch_size", "compiled")), "planning and replay"
    ),
    **dict.fromkeys(("horizon", "episodic"), "planning and replay"),
    **dict.fromkeys(declared(ConstraintSettings) | declared(CostConfig), "costs"),
    **dict.fromkeys(("cost_limit", "cost_gamma", "use_lagrangian", "multiplier_horizon", "shield"), "costs"),
    **dict.fromkeys(("saute_gamma", "unsafe_reward", "limit_reward"), "costs"),
    **dict.fromkeys(declared(ShellSettings), "networks and machine"),
}
DECLARATIONS = ROOT / "spi_plugins/cli/declarations.json"
FILES = (ROOT / "spi_plugins/algorithms/signatures.pyi", DECLARATIONS, *sorted((ROOT / "docs").glob("*.md")))


def stubs() -> str:
    """What type checkers and editors read of the algorithms' constructors and attributes."""
    return _STUBS + "".join(map(_stub, ALGORITHMS))


def _stub(cls: type) -> str:
    text = textwrap.indent(cls.__doc__.replace("\\", "\\\\"), "    ").strip()
    twin = next(each for each in ALGORITHMS if each.hyperparameters == cls.hyperparameters)
    if twin is not cls:
        return f'class {cls.__name__}({twin.__name__}):\n    """{text.partition("Args:")[0].strip()}"""\n'
    attributes = []
    for name, each in cls.hyperparameters.items():
        annotation = _annotation(each)
        if each.is_mapping or each.by_policy or name in _SIZES:
            annotation = annotation.removesuffix(" | None")
        attributes += [f"    {name}: {annotation}\n"] if name not in _SHELL else []
    arguments = ["self", "policy: str | type[Policy]", "env: Any"]
    for name, parameter in list(signature(cls).parameters.items())[3:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        if name in cls.hyperparameters:
            arguments.append(f"{name}: {_annotation(cls.hyperparameters[name])} = {parameter.default!r}")
    arguments.append("_init_setup_model: bool = True")
    lines = "".join(f"        {argument},\n" for argument in arguments)
    return (
        f'class {cls.__name__}(Signature):\n    """{text}\n    """\n{"".join(attributes)}'
        f"    def __init__(\n{lines}    ) -> None: ...\n"
    )


def _annotation(declaration: Hyperparameter) -> str:
    text = inspect.formatannotation(declaration.type)
    text = text.replace("collections.abc.Callable[[float], float]", "Schedule")
    text = re.sub(r"Optional\[(.*)\]$", r"\1 | None", text)
    return re.sub(r"(?:\b\w+\.)+(\w+)", r"\1", text)


def table(hyperparameters: dict[str, Hyperparameter]) -> str:
    """Rows of a Markdown table."""
    two = any(each.by_policy for each in hyperparameters.values())
    head = ("argument", *(("default", "with `CnnPolicy`") if two else ("default",)), "meaning")
    rows = [(f"`{name}`", *_defaults(each)[: 1 + two], each.text) for name, each in hyperparameters.items()]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|\n{lines}\n"


def _defaults(declaration: Hyperparameter) -> tuple[str, str]:
    default = f"`{declaration.default!r}`"
    mlp, cnn = declaration.by_policy.texts if declaration.by_policy else (default, default)
    return mlp.replace("'", '"'), cnn.replace("'", '"')


_MEASURED = ("algorithm", "environment", "steps", "return", "cost", "CPU minutes", "source", "measured by")


def measured_presets() -> str:
    """Rows of a Markdown table: what presets were run, and what came of it."""
    rows = [_MEASURED, ("---",) * len(_MEASURED)]
    for algorithm in presets.known():
        for preset in presets.read(algorithm).values():
            if preset.results is None:
                continue
            by = preset.results.get("command", f"python benchmarks/presets.py {algorithm} {preset.env}")
            names = (f"`{algorithm}`", f"`{preset.env}`", f"{preset.n_timesteps:,}".replace(",", " "))
            figures = (_spread(preset.results.get(name)) for name in ("returns", "costs"))
            rows.append((*names, *figures, f"{preset.results['minutes']}", preset.source, f"`{by}`"))
    return "".join(["\n", *(f"| {' | '.join(row)} |\n" for row in rows), "\n"])


def _spread(values: list[float] | None) -> str:
    if values is None:
        return ""
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    digits = 2 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}".replace("-", "−")


def all_presets() -> str:
    """Rows of a Markdown table: the environments with presets by algorithm."""
    rows = (
        f"| `{name}` | {', '.join(f'`{env}`' for env in envs)} |\n" for name, envs in presets.known().items()
    )
    return "".join(["\n| algorithm | environments |\n|---|---|\n", *rows, "\n"])


def written(path: pathlib.Path) -> str:
    """What a file should say."""
    if path.suffix == ".md":
        text = path.read_text()
        for name, rows in TABLES.items():
            text = _between(text, f"<!-- arguments: {name} -->\n", "<!-- end -->", table(rows))
        text = _between(text, "<!-- presets: measured -->\n", "<!-- end -->", measured_presets())
        return _between(text, "<!-- presets: all -->\n", "<!-- end -->", all_presets())
    if path == DECLARATIONS:
        return write_declarations(_built_in_algorithms(), GROUPS)
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=stubs(), capture_output=True, text=True, check=True).stdout


def _built_in_algorithms() -> dict[str, type]:
    registered: list[tuple[str, str]] = []
    builtins.register_algorithms(lambda name, target, summary: registered.append((name, target)))
    return {
        target: getattr(importlib.import_module(target.partition(":")[0]), target.partition(":")[2])
        for _, target in registered
    }


def _between(text: str, start: str, end: str, content: str) -> str:
    if start not in text:
        return text
    before, rest = text.split(start)
    return before + start + content + end + rest.split(end, 1)[1]


if __name__ == "__main__":
    for path in FILES:
        path.write_text(written(path))
