"""Registers the planner with spi-plugins. Keep it free of heavy imports: it is loaded whenever planners are listed."""

from spi_plugins import hookimpl


@hookimpl
def register_planners(register):
    """Register the planner by name."""
    register(
        "safe_shooting",
        "spi_planner_example.planner:make_safe_shooting",
        summary="Random shooting among sequences below a cost limit",
    )
