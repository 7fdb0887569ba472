"""Flax NNX modules with a functional core."""
