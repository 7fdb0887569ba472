"""Algorithms, plugin host and pure JAX cores for safe policy improvement."""
