"""Functional environments as Gymnasium's: one fused, jitted call per step, NumPy in and out."""

from spi_wrappers.functional.gym_env import FunctionalGymEnv
from spi_wrappers.functional.registered import make_registered, make_registered_vec
from spi_wrappers.functional.vector_env import FunctionalVectorEnv

__all__ = ["FunctionalGymEnv", "FunctionalVectorEnv", "make_registered", "make_registered_vec"]
