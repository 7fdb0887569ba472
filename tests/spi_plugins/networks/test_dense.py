import jax
import jax.numpy as jnp
import numpy as np
import optax

from spi_plugins.networks.dense import DenseTrunk, group_sort
from spi_plugins.networks.functional import functional


def test_group_sort_sorts_each_pair_and_lets_an_odd_feature_through():
    x = jnp.array([[3.0, -1.0, 2.0, 4.0, 7.0]])
    assert group_sort(x).tolist() == [[2.0, -1.0, 3.0, 4.0, 7.0]]


def test_group_sort_is_a_permutation_so_it_keeps_distances_or_shrinks_them():
    x, y = np.asarray(jax.random.normal(jax.random.key(0), (2, 500, 8)))
    assert np.sort(group_sort(jnp.asarray(x))).tolist() == np.sort(x).tolist()
    moved = np.linalg.norm(group_sort(jnp.asarray(x)) - group_sort(jnp.asarray(y)), axis=-1)
    assert np.all(moved <= np.linalg.norm(x - y, axis=-1) * (1 + 1e-6))


def test_a_trunk_stays_under_one_through_a_thousand_updates_that_stretch_it():
    trunk = functional(lambda rngs: DenseTrunk(6, 0, (8, 8), lipschitz=True, rngs=rngs))
    params, vectors = trunk.init(jax.random.key(0)), jax.random.normal(jax.random.key(2), (16, 6))
    optimizer = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        slope = jax.grad(lambda p: -jnp.mean(jnp.abs(trunk.apply(p, vectors))))(params)
        changes, state = optimizer.update(slope, state)
        return (optax.apply_updates(params, changes), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=1000))(params)
    jacobians = np.asarray(jax.vmap(jax.jacobian(lambda x: trunk.apply(params, x[None])[0]))(vectors))
    norms = np.linalg.svd(jacobians.astype(np.float64), compute_uv=False)[:, 0]
    assert 0.8 < norms.max() <= 1
