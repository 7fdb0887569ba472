"""Tells spi-plugins what there is. Imports nothing heavy: it is loaded whenever somebody lists planners."""

from spi_plugins import hookimpl


@hookimpl
def register_planners(register):
    """Offer the planner by name."""
    register(
        "safe_shooting",
        "spi_planner_example.planner:make_safe_shooting",
        summary="The best of random sequences that cost little",
    )
