"""Learned models of the environment, as structs of pure functions."""
