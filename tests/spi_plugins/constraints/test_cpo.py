"""CPO's step by conjugate gradients against a dense solution of the same problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from spi_plugins.constraints.cpo import CPOConfig, Products, cpo_step, solve
from spi_plugins.constraints.method import Surrogates

N, DELTA = 5, 0.02


def problem(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(N, N))
    return rng.normal(size=N), rng.normal(size=N), root @ root.T / N + 0.3 * np.eye(N)


def dense(g, b, fisher, excess):
    """The best of several runs of a general solver; the cheapest step where none meets the constraint."""
    inside = {"type": "ineq", "fun": lambda x: DELTA - 0.5 * x @ fisher @ x}
    cheapest = -np.linalg.solve(fisher, b) * np.sqrt(2 * DELTA / (b @ np.linalg.solve(fisher, b)))
    if excess + b @ cheapest > 0:
        return cheapest
    limited = {"type": "ineq", "fun": lambda x: -(excess + b @ x)}
    found = minimize(
        *(lambda x: -g @ x, cheapest * 0.99),
        jac=lambda x: -g, constraints=[inside, limited], method="SLSQP", options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    return found.x


def room(b, fisher):
    """The largest change of the cost within the trust region."""
    return np.sqrt(2 * DELTA * (b @ np.linalg.solve(fisher, b)))


# Shares of that: free everywhere, cut by the border, on the border, to be recovered, and out of reach.
@pytest.mark.parametrize("share", [-1.5, -0.5, -0.05, 0.0, 0.3, 0.9, 1.2])
@pytest.mark.parametrize("seed", range(4))
def test_the_step_is_that_of_a_dense_solver(seed, share):
    g, b, fisher = problem(seed)
    excess = share * room(b, fisher)
    v, w = np.linalg.solve(fisher, g), np.linalg.solve(fisher, b)
    products = Products(*(jnp.float32(x) for x in (g @ v, g @ w, b @ w)))
    solution = solve(products, jnp.float32(excess), DELTA)
    step = float(solution.reward) * v + float(solution.cost) * w
    np.testing.assert_allclose(step, dense(g, b, fisher, excess), rtol=3e-3, atol=3e-4)
    assert bool(solution.recovers) == (share > 1)


@pytest.mark.parametrize("share", [-1.5, -0.3, 0.5, 1.2])
def test_conjugate_gradients_and_line_search_arrive_there(share):
    """On linear surrogates and a quadratic divergence the whole step is taken."""
    g, b, fisher = problem(0)
    start = np.linspace(-1, 1, N)
    excess = share * room(b, fisher)

    def evaluate(theta):
        x = theta["a"] - jnp.asarray(start, jnp.float32)
        quadratic = 0.5 * x @ jnp.asarray(fisher, jnp.float32) @ x
        return Surrogates(
            jnp.asarray(g, jnp.float32) @ x,
            jnp.stack([-x[0], jnp.asarray(b, jnp.float32) @ x]),
            quadratic,
        )

    config = CPOConfig(delta=DELTA, cg_damping=0.0)
    step = jax.jit(lambda theta, c: cpo_step(config, evaluate, theta, c))
    actor = {"a": jnp.asarray(start, jnp.float32)}
    moved = step(actor, jnp.asarray([excess - 1.0, excess], jnp.float32))  # the second cost is the worse one
    expected = dense(g, b, fisher, excess)
    np.testing.assert_allclose(moved["a"] - start, expected, rtol=5e-3, atol=5e-4)


def test_a_step_that_leaves_the_region_is_shortened_and_a_useless_one_not_taken():
    config = CPOConfig(delta=DELTA, cg_damping=0.0, line_steps=4, line_decay=0.5)

    def evaluate(theta, curvature):
        x = theta["a"]
        kl = 0.5 * jnp.sum(x**2) + curvature * jnp.sum(x**4)
        return Surrogates(jnp.sum(x), -jnp.sum(x)[None], kl)

    for curvature, expected in ((0.0, 0.2), (30.0, 0.1), (1e6, 0.0)):
        moved = cpo_step(
            config, lambda theta, k=curvature: evaluate(theta, k), {"a": jnp.zeros(1)}, jnp.asarray([-9.0])
        )
        np.testing.assert_allclose(moved["a"], expected, rtol=1e-4)  # sqrt(2 delta), then halves
