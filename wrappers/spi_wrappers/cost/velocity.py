"""The Safety-Velocity tasks: a cost of 1 above a speed."""

import re
from typing import Any, NamedTuple

import numpy as np

from spi_wrappers.cost.accounts.account import COST_KEY, Account, AccountHolder, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.from_info import numbers_of
from spi_wrappers.cost.wrapper import CostWrapper


class SpeedLimit(NamedTuple):
    """When a robot is too fast: the cost is 1 above ``threshold``, in meters per second.

    ``axes`` is ``"x"``, the signed forward velocity, or ``"xy"``, the speed in the plane.
    """

    threshold: float
    axes: str


#: The thresholds of the Safety-Velocity v1 tasks of safety-gymnasium 1.0.0 (``tasks/safe_velocity/*_v1.py``).
SPEED_LIMITS = {
    "HalfCheetah": SpeedLimit(3.2096, "x"),
    "Hopper": SpeedLimit(0.7402, "x"),
    "Walker2d": SpeedLimit(2.3415, "x"),
    "Ant": SpeedLimit(2.6222, "xy"),
    "Humanoid": SpeedLimit(1.4149, "xy"),
    "Swimmer": SpeedLimit(0.2282, "x"),
}
_ROBOT = re.compile(rf"(?:{'|'.join(SPEED_LIMITS)})(?![a-z]|Standup)")


class VelocityAccount(Account):
    """Compares speeds with a threshold."""

    cost = "makes"
    zero_at_reset = True
    masks_itself = True

    def __init__(self, num_rows: int, *, threshold: float, axes: str) -> None:
        super().__init__(num_rows)
        self.threshold = real("threshold", threshold, at_least=0.0)
        if axes not in ("x", "xy"):
            raise ValueError(f"axes must be 'x' or 'xy', got {axes!r}.")
        self.axes = axes

    def step(self, rows: StepRows) -> StepOutcome:
        """Make the costs of the step."""
        speed = numbers_of(rows, "x_velocity", "VelocityCost")
        if self.axes == "xy":
            side = numbers_of(rows, "y_velocity", "VelocityCost")
            speed = np.sqrt(speed**2 + side**2)
        return StepOutcome(info={COST_KEY: (speed > self.threshold).astype(np.float64)})


def speed_limit(env: Any, threshold: float | None, axes: str | None) -> SpeedLimit:
    """The given limit, completed by that of the environment's robot.

    The robot is recognized by the id in the environment's spec (``"HalfCheetah-v5"``, ``"spi/VelocityAnt-v0"``) or
    that of a vector's first copy, or by the name of the class (EnvPool's ``GymHopper...``).
    """
    if threshold is not None and axes is not None:
        return SpeedLimit(threshold, axes)
    for found in filter(None, map(_ROBOT.search, _names(env))):
        known = SPEED_LIMITS[found[0]]
        return SpeedLimit(
            known.threshold if threshold is None else threshold, known.axes if axes is None else axes
        )
    raise ValueError(
        f"VelocityCost knows the thresholds of {', '.join(SPEED_LIMITS)}; neither the id nor the class of {env} names "
        "one of them. Pass threshold (meters per second) and axes ('x' or 'xy')."
    )


def _names(env: Any) -> list[str]:
    base = env.unwrapped
    copies = getattr(base, "envs", None) or ()
    specs = [getattr(env, "spec", None), *(copy.spec for copy in copies[:1])]
    classes = [type(base), *(type(copy.unwrapped) for copy in copies[:1])]
    ids = [spec.id for spec in specs if isinstance(getattr(spec, "id", None), str)]
    return [*ids, *(cls.__name__ for cls in classes)]


class VelocityRule(AccountHolder):
    """What both classes ``VelocityCost`` share."""

    make_account = VelocityAccount

    def __init__(self, env: Any, *, threshold: float | None = None, axes: str | None = None) -> None:
        super().__init__(env, **speed_limit(env, threshold, axes)._asdict())


class VelocityCost(VelocityRule, CostWrapper):
    """Adds a cost of 1 at each step in which a robot is faster than a threshold, else 0.

    The defaults are the thresholds of the Safety-Velocity v1 tasks, for Gymnasium's MuJoCo environments (v4 and
    v5) and EnvPool's: HalfCheetah, Hopper, Walker2d and Swimmer by ``info["x_velocity"]``, Ant and Humanoid by the
    norm of ``"x_velocity"`` and ``"y_velocity"``. safety-gymnasium is not needed.

    Args:
        env: an environment without a cost whose infos have these velocities.
        threshold: in meters per second, not negative; by default the robot's.
        axes: ``"x"`` or ``"xy"``; by default the robot's.

    Raises:
        ValueError: the robot is unknown; or at a step: a velocity is missing, or the environment already has a
            cost.
    """
