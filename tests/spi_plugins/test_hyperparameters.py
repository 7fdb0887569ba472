"""Hyperparameters: what a declaration refuses, and that all that is generated from declarations is up to date."""

import dataclasses
import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import pytest
import stable_baselines3
from tiny_models import CARTPOLE

from spi_plugins import PPO, SPOWL, TDMPC2, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.hyperparameters import Config, configured, declared, hyperparameter

ALGORITHMS = (PPO, DeepSPI, DeepMDP, DreamSPI, TDMPC2, SPOWL)
SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "signatures.py"


def load_script():
    spec = importlib.util.spec_from_file_location("signatures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Config):
    count: int = hyperparameter(3, "How many", low=1, also=(-1,))
    share: float = hyperparameter(0.5, "Of all", low=0, below=1, source="Eq. 1")
    bound: float | None = hyperparameter(None, "Of the norm", above=0)
    kind: Literal["a", "b"] | None = hyperparameter("a", "Which")
    on: bool = hyperparameter(True, "Whether")
    widths: tuple[int, ...] = hyperparameter((8,), "Of layers")
    rate: float | Callable[[float], float] = hyperparameter(0.1, "A schedule", low=0)
    further: dict[str, Any] | None = hyperparameter(None, "Others")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count must be an integer of at least 1, got 0."),
        ({"count": 2.0}, "count must be an integer of at least 1, got 2.0."),
        ({"share": 1.0}, "share must be a number at least 0 and below 1, got 1.0."),
        ({"share": float("nan")}, "share must be a number at least 0 and below 1, got nan."),
        ({"bound": 0}, "bound must be a number above 0, got 0."),
        ({"kind": "c"}, "kind must be one of None, 'a', 'b', got 'c'."),
        ({"on": 1}, "on must be one of True, False, got 1."),
        ({"widths": (8, 0)}, "widths must be a tuple of at least one width, each at least 1, got (8, 0)."),
        ({"rate": -1}, "rate must be a number at least 0, got -1. A function of the remaining progress"),
        ({"further": [1]}, "further must be a dict, got [1]."),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Example(**settings)


def test_values_in_range_are_taken():
    Example(
        count=-1, share=0, bound=2.5, kind=None, on=False, widths=(1, 2), rate=lambda left: left, further={}
    )


def test_settings_by_name_are_checked_and_lists_become_tuples():
    assert configured(Example, {"widths": [1, 2]}, "it", count=2) == Example(widths=(1, 2), count=2)
    with pytest.raises(ValueError, match=r"it has unknown keys \['count'\]; allowed are share, bound"):
        configured(Example, {"count": 1}, "it", count=2)


def test_whole_numbers_are_taken_for_floats():
    example = configured(Example, {"share": 0, "bound": 2, "count": 2}, "it")
    assert [type(value) for value in (example.share, example.bound, example.count)] == [float, float, int]


def test_declarations_are_read_in_order_with_their_types():
    assert list(declared(Example, "share", "count")) == ["share", "count"]
    assert "count" not in declared(Example, without=("count",))
    share = declared(Example)["share"]
    assert (share.type, share.default, share.text) == (float, 0.5, "Of all (Eq. 1)")


def test_signatures_and_tables_are_as_the_generator_writes_them():
    script = load_script()
    stale = [path.name for path in script.FILES if script.written(path) != path.read_text()]
    assert not stale, f"{stale} do not match the declarations; run `make signatures`"


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_constructors_are_explicit(cls):
    parameters = inspect.signature(cls).parameters
    defaults = {name: value.default for name, value in cls.hyperparameters.items()}
    shown = {name: p.default for name, p in parameters.items() if name in defaults}
    assert {name: repr(value) for name, value in shown.items()} == {k: repr(v) for k, v in defaults.items()}
    assert set(parameters) == {"policy", "env", "_init_setup_model", *defaults}
    assert not {p.kind for p in parameters.values()} & {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }
    assert all(f"\n    {name}: {value.help}" in cls.__doc__ for name, value in cls.hyperparameters.items())
    with pytest.raises(TypeError, match=rf"{cls.__name__}\(\) got an unexpected keyword argument 'gama'"):
        cls("MlpPolicy", CARTPOLE, gama=0.9)


@pytest.mark.parametrize(
    ("cls", "like", "last"),
    [
        *((cls, stable_baselines3.PPO, "sde_sample_freq") for cls in (PPO, DeepSPI, DeepMDP)),
        *((cls, stable_baselines3.SAC, "gradient_steps") for cls in (TDMPC2, SPOWL)),
        (DreamSPI, stable_baselines3.PPO, "env"),  # it has four learning rates
    ],
)
def test_arguments_without_names_are_in_sb3s_order(cls, like, last):
    parameters = inspect.signature(cls).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    expected = list(inspect.signature(like).parameters)
    assert positional == expected[: expected.index(last) + 1]


def test_a_call_written_for_sb3_means_the_same():
    model = PPO("MlpPolicy", None, 3e-4, 2048, 64, 10, 0.99, 0.95, 0.2, _init_setup_model=False)
    sizes = (model.learning_rate, model.n_steps, model.batch_size, model.n_epochs)
    assert sizes == (3e-4, 2048, 64, 10)
    assert (model.gamma, model.gae_lambda, model.clip_range) == (0.99, 0.95, 0.2)


@pytest.mark.parametrize("cls", ALGORITHMS)
def test_values_are_checked_before_the_environment_is_opened(cls):
    with pytest.raises(ValueError, match="gamma must be a number at least 0 and at most 1, got 2"):
        cls("MlpPolicy", "no-such-environment-v0", gamma=2)


def test_a_subclass_adds_hyperparameters_by_declaring_them():
    class Further(DeepSPI):
        """More."""

        hyperparameters = DeepSPI.hyperparameters | declared(Example, "share")

    model = Further("MlpPolicy", None, share=0.25, _init_setup_model=False)
    assert (model.share, model.gamma) == (0.25, 0.99)
    assert set(Further.stored_arguments) - set(DeepSPI.stored_arguments) == {"share"}
    with pytest.raises(ValueError, match="share must be a number"):
        Further("MlpPolicy", None, share=1.0)


def test_deep_spi_takes_what_its_agent_has():
    own = set(declared(DeepSPIConfig)) - {"auxiliary", "termination_loss"}
    assert own <= set(DeepSPI.hyperparameters)


def test_declaring_imports_neither_jax_nor_torch():
    code = "import sys, spi_plugins.hyperparameters; print([m for m in ('jax', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
