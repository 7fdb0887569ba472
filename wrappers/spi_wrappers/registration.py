"""Gymnasium ids, by strings only: registering imports neither JAX nor torch nor any environment."""

import gymnasium

from spi_wrappers.cost.velocity_envs import register_velocity_ids

#: The functional environments, under the names that ``spi_plugins`` knows them by.
FUNCTIONAL_IDS = ("spi/CartPole-v0", "spi/CostCartPole-v0", "spi/PixelGoal-v0", "spi/PointGoal-v0")


def register_ids() -> None:
    """Register our ids with Gymnasium, which discovers nothing by itself.

    Ids that are there already (a reload, or ``import spi_plugins``) are left alone.
    """
    for name in FUNCTIONAL_IDS:
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="spi_wrappers.functional:FunctionalGymEnv",
                vector_entry_point="spi_wrappers.functional:FunctionalVectorEnv",
                kwargs={"env": name},
            )
    register_velocity_ids()
