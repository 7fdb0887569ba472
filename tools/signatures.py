"""Writes what follows from the hyperparameters' declarations: constructors' signatures, and tables in the docs.

Run as ``make signatures``; a test holds the files equal to what this would write.
"""

import inspect
import itertools
import pathlib
import re
import subprocess
import sys

from stable_baselines3.common.utils import LinearSchedule

from spi_plugins import PPO, SPOWL, TDMPC2, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.agents.spowl.config import OFFICIAL_ERRORS, SPOWLConfig
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS
from spi_plugins.hyperparameters import Hyperparameter, declared
from spi_plugins.planners.ccem import CCEMConfig
from spi_plugins.planners.cem import CEMConfig
from spi_plugins.planners.icem import ICEMConfig
from spi_plugins.planners.mppi import MPPIConfig
from spi_plugins.planners.safe_improvement import SafeImprovementConfig
from spi_plugins.world_models.deep_mdp import DeepMDPConfig
from spi_plugins.world_models.tdmpc import TDMPCConfig

ROOT = pathlib.Path(__file__).parents[1]
ALGORITHMS = (PPO, DeepSPI, DeepMDP, DreamSPI, TDMPC2, SPOWL)
# May come without their names, as in SB3.
POSITIONAL = ("learning_rate", "n_steps", "buffer_size", "batch_size")
_KEYS_OF_DICTS = ("termination", *WORLD_MODEL_HYPERPARAMETERS)
TABLES = {
    "PPO": PPO.hyperparameters,
    "DeepSPI": {k: v for k, v in DeepSPI.hyperparameters.items() if k not in PPO.hyperparameters},
    "world_model_kwargs": declared(DeepMDPConfig, without=_KEYS_OF_DICTS),
    "DreamSPI": {k: v for k, v in DreamSPI.hyperparameters.items() if k not in DeepSPI.hyperparameters},
    "TDMPC2": TDMPC2.hyperparameters,
    "SPOWL": {k: v for k, v in SPOWL.hyperparameters.items() if TDMPC2.hyperparameters.get(k) != v},
    "policy_kwargs of TDMPC2": declared(TDMPCConfig, without=(*SPOWL.hyperparameters, "official_log_prob")),
    "loss_kwargs": declared(SPOWLConfig, without=(*SPOWL.hyperparameters, *OFFICIAL_ERRORS)),
    "safe_improvement": declared(SafeImprovementConfig),
    "ccem": declared(CCEMConfig),
    "mppi": declared(MPPIConfig),
    "cem": declared(CEMConfig),
    "icem": declared(ICEMConfig),
}
MODULES = sorted({pathlib.Path(inspect.getfile(cls)) for cls in ALGORITHMS})
PAGES = sorted((ROOT / "docs").glob("*.md"))


def signature(cls: type) -> str:
    """The constructor of an algorithm."""
    lines = ["def __init__(", "    self,", "    policy: str | type[Policy],", "    env: Any,"]
    arguments = [
        f"    {name}: {_annotation(declaration)} = {declaration.default!r},"
        for name, declaration in cls.hyperparameters.items()
    ]
    positional = len(list(itertools.takewhile(POSITIONAL.__contains__, cls.hyperparameters)))
    lines += [*arguments[:positional], "    *,", *arguments[positional:]]
    lines += ["    _init_setup_model: bool = True,", "):", "    super().__init__(policy, env, locals())"]
    return "".join(f"    {line}\n" for line in lines)


def _annotation(declaration: Hyperparameter) -> str:
    text = inspect.formatannotation(declaration.type)
    text = text.replace("collections.abc.Callable[[float], float]", "Schedule")
    text = re.sub(r"Optional\[(.*)\]$", r"\1 | None", text)
    return re.sub(r"(?:\b\w+\.)+(\w+)", r"\1", text)


def table(hyperparameters: dict[str, Hyperparameter]) -> str:
    """Rows of a Markdown table."""
    rows = [f"| `{k}` | {_default(v.default)} | {v.text} |\n" for k, v in hyperparameters.items()]
    return "".join(["\n| argument | default | meaning |\n|---|---|---|\n", *rows, "\n"])


def _default(value: object) -> str:
    if isinstance(value, LinearSchedule):
        return f"{value.start}, annealed to {value.end:g}"
    return f"`{value!r}`".replace("'", '"')


def written(path: pathlib.Path) -> str:
    """What a module or page should say, formatted."""
    text = path.read_text()
    if path.suffix == ".md":
        for name, rows in TABLES.items():
            text = _between(text, f"<!-- arguments: {name} -->\n", "<!-- end -->", table(rows))
        return text
    for cls in ALGORITHMS:
        text = _between(text, f"    # <signature of {cls.__name__}>\n", "    # </signature>", signature(cls))
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _between(text: str, start: str, end: str, content: str) -> str:
    if start not in text:
        return text
    before, rest = text.split(start)
    return before + start + content + end + rest.split(end, 1)[1]


if __name__ == "__main__":
    for path in (*MODULES, *PAGES):
        path.write_text(written(path))
