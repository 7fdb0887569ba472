"""The Safety-Velocity tasks on vector environments."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.vector_wrapper import CostVectorWrapper
from spi_wrappers.cost.velocity import VelocityAccount, speed_limit


class VelocityCost(CostVectorWrapper):
    """``spi_wrappers.VelocityCost`` for vector environments, EnvPool's among them."""

    make_account = VelocityAccount

    def __init__(
        self, env: VectorEnv[Any, Any, Any], *, threshold: float | None = None, axes: str | None = None
    ) -> None:
        limit = speed_limit(env, threshold, axes)
        super().__init__(env, threshold=limit.threshold, axes=limit.axes)
