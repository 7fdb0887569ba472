"""``multiplier_horizon`` gives a short run the multipliers of the published one, by its progress."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.losses.lagrangian import Multipliers, raise_multipliers

GAP = 3.0


def multiplier_after(config, n_steps):
    start, rate = config.penalty_course
    first = Multipliers(jnp.float32(config.multiplier_init), jnp.float32(start))

    def step(_, multipliers):
        return raise_multipliers(jnp.float32(GAP), multipliers, rate, config.multiplier_max)

    return float(jax.lax.fori_loop(0, n_steps, step, first).multiplier)


@pytest.mark.parametrize("progress", [0.1, 0.5, 1.0])
def test_a_short_run_has_the_published_multiplier_at_the_same_progress(progress):
    # The published course in closed form, for a constant gap.
    published = 1e-6 + GAP * 5e-9 / 5e-6 * np.expm1(5e-6 * 990_000 * progress)
    short = multiplier_after(SPOWLConfig(multiplier_horizon=20_000), int(20_000 * progress))
    np.testing.assert_allclose(short, published, rtol=0.01)
    assert multiplier_after(SPOWLConfig(), int(20_000 * progress)) < 0.1 * published


def test_the_published_length_changes_nothing():
    assert (
        SPOWLConfig(multiplier_horizon=990_000).penalty_course == SPOWLConfig().penalty_course == (5e-9, 5e-6)
    )


def test_it_scales_what_is_set_otherwise():
    config = SPOWLConfig(multiplier_horizon=9_900, penalty_init=1e-8, penalty_rate=1e-5)
    np.testing.assert_allclose(config.penalty_course, (1e-6, 1e-3))
