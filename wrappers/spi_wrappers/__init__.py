"""Gymnasium wrappers: functional environments, cost signals, dreams."""
