"""Functional environments in JAX, and functions that step many of them."""
