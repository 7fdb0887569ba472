"""Lists of runs, each trained by ``spi train``: what remains of them, here or on a Ray cluster, and a report."""
