"""The papers' benchmarks: which runs they consist of."""
