"""Fit world models to a replay buffer, without an agent that acts."""
