"""Functional environments in JAX, and the machinery that runs many of them."""
