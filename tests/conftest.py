import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

# [T, B] against [T, B, 1] broadcasts to [T, T, B] and trains on nonsense; make it an error.
jax.config.update("jax_numpy_rank_promotion", "raise")
