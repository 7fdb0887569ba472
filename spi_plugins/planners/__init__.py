"""Planners: pure functions that choose actions by searching in a world model."""
