"""What ``spi new-plugin`` writes: a package with one planner, random shooting, and its tests.

Paths and texts are templates of ``name`` (the distribution), ``module`` (package and planner) and ``version`` (ours).
"""

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "A planner for spi-plugins."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["spi-plugins>=$version"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points.spi_plugins]
$name = "$module"

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

_README = """\
# $name

A planner for spi-plugins.

```console
$$ pip install -e '.[test]'
$$ pytest
$$ spi list planners
```

```python
import spi_plugins

planner = spi_plugins.get_planner("$module")(num_samples=256)
```
"""

_HOOK = '''\
"""Tells spi-plugins what there is. Imports nothing heavy: it is loaded whenever somebody lists planners."""

from spi_plugins import hookimpl


@hookimpl
def register_planners(register):
    """Offer the planner by name."""
    register("$module", "$module.planner:make_planner", summary="The best of random sequences")
'''

_PLANNER = '''\
"""Random shooting: the best of random action sequences. To be changed into a planner of your own."""

import dataclasses

import jax
import jax.numpy as jnp
from spi_plugins.hyperparameters import Config, configured, hyperparameter
from spi_plugins.planners.estimate import estimate
from spi_plugins.planners.planner import Planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannerConfig(Config):
    """Settings of the planner."""

    num_samples: int = hyperparameter(512, "Sequences to draw", low=1)
    horizon: int | None = hyperparameter(None, "Steps of a sequence; `None` for the model's own horizon", low=1)


def make_planner(**settings):
    """Make the planner; settings are fields of ``PlannerConfig``."""
    config = configured(PlannerConfig, settings)

    def init(spec):
        # What goes from one decision of an episode to the next: arrays, for example a mean to start from.
        return ()

    def plan(model, params, z, state, key, *, deterministic):
        sample_key, model_key = jax.random.split(key)
        shape = (config.horizon or model.spec.horizon, config.num_samples, model.spec.action_size)
        actions = jax.random.uniform(sample_key, shape, minval=-1.0, maxval=1.0)
        value = estimate(model, params, z, actions, model_key, with_cost=False).value
        best = jnp.argmax(value)
        return actions[0, best], state, {"value": value[best], "planned": jnp.ones(())}

    # Parts of the model that it cannot do without go into the set: "cost", "value", "cost_value", "policy".
    return Planner("$module", frozenset(), init, plan)
'''

_TEST = """\
import pytest
import spi_plugins
from spi_plugins.testing import check_planner


def test_it_keeps_the_contract_of_planners():
    check_planner(spi_plugins.get_planner("$module")())


def test_settings_are_checked():
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1, got 0"):
        spi_plugins.get_planner("$module")(num_samples=0)
"""

FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "$module/__init__.py": _HOOK,
    "$module/planner.py": _PLANNER,
    "tests/test_planner.py": _TEST,
}
