"""Products are counted as often as they run."""

import jax
import jax.numpy as jnp
import pytest
from floor import product_flops

A, B = jnp.ones((2, 3)), jnp.ones((3, 5))
ONCE = 2 * 2 * 3 * 5


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b: jnp.sin(a @ b), ONCE),
        (jax.jit(lambda a, b: a @ b), ONCE),
        (lambda a, b: jax.lax.scan(lambda c, _: (c, a @ b), 0, length=7)[1], 7 * ONCE),
        (lambda a, b: jax.lax.fori_loop(0, 4, lambda i, x: x + a @ b, jnp.zeros((2, 5))), 4 * ONCE),
        (lambda a, b: jax.vmap(lambda row: row @ b)(a), ONCE),
        (lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: jnp.zeros((2, 5))), ONCE),
        # The gradient of a sum of products is two products.
        (lambda a, b: jax.grad(lambda a, b: jnp.sum((a @ b) ** 2), (0, 1))(a, b), 3 * ONCE),
        (lambda a, b: jnp.einsum("ij,kj->ik", a, b.T), ONCE),
    ],
)
def test_products(function, expected):
    assert product_flops(function, A, B) == expected


def test_convolutions():
    images, kernel = jnp.ones((4, 8, 8, 3)), jnp.ones((2, 2, 3, 5))
    names = ("NHWC", "HWIO", "NHWC")

    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(images, kernel, (2, 2), "VALID", dimension_numbers=names)

    assert product_flops(convolve, images, kernel) == 2 * (4 * 4 * 4 * 5) * (2 * 2 * 3)
