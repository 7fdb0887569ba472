"""Whole benchmarks in one command: a plan of runs, each trained by ``spi train``, and a report at the end."""
