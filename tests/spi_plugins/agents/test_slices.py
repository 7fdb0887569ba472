"""Four slices of parameters: who moves, how far, and by which gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spi_plugins.agents.dream_spi.slices import (
    SLICES,
    Training,
    init_slices,
    join,
    split,
    train_slices,
)
from spi_plugins.agents.gradient_steps import descend
from spi_plugins.agents.optimizer import make_optimizer

PARAMS = {
    "policy": {
        "extractor": {},
        "latent": {"w": jnp.asarray(2.0)},
        "pi": {"w": jnp.asarray(3.0)},
        "actor": {"w": jnp.asarray(4.0)},
        "vf": {"w": jnp.asarray(5.0)},
        "critic": {"w": jnp.asarray(6.0)},
    },
    "world_model": {"reward": {"w": jnp.asarray(0.5)}},
}
RATES = jnp.asarray([0.1, 0.2, 0.3, 0.4])


def numbers(params):
    """Latent, model, actor's layers, actor's head, critic's layers, critic's head."""
    policy = params["policy"]
    parts = [policy[name] for name in ("pi", "actor", "vf", "critic")]
    return [float(x["w"]) for x in (policy["latent"], params["world_model"]["reward"], *parts)]


def run(loss, trained, optimizer=None, inputs=(0.0,), params=PARAMS):
    optimizer = optimizer or optax.identity()
    return train_slices(
        init_slices(params, optimizer),
        Training(optimizer, trained, RATES),
        lambda state, descent: descend(state, descent, lambda *args: (loss(*args), {}), jnp.asarray(inputs)),
    )


def test_every_parameter_is_in_one_slice():
    slices = split(PARAMS)
    assert set(slices) == set(SLICES)
    assert set(slices["representation"]) == {"extractor", "latent"}
    assert set(slices["actor"]) == {"pi", "actor"}
    assert set(slices["critic"]) == {"vf", "critic"}
    assert jax.tree.structure(join(slices)) == jax.tree.structure(PARAMS)
    assert numbers(join(slices)) == numbers(PARAMS)


def test_a_critic_with_its_own_extractor_has_no_place():
    params = {**PARAMS, "policy": {**PARAMS["policy"], "vf_extractor": {}}}
    with pytest.raises(ValueError, match="vf_extractor"):
        split(params)


def total(params, _):
    return sum(jax.tree.leaves(params))  # all gradients are 1


def test_the_trained_slices_move_each_at_its_own_rate_and_the_others_stay():
    state, _ = run(total, ("representation", "world_model"))
    np.testing.assert_allclose(numbers(state.params), [1.9, 0.3, 3, 4, 5, 6], rtol=1e-6)
    state, _ = run(total, ("actor", "critic"))
    np.testing.assert_allclose(numbers(state.params), [2, 0.5, 2.7, 3.7, 4.6, 5.6], rtol=1e-6)


def test_each_gradient_is_taken_at_the_values_that_the_step_before_left():
    """Latent w = 2 and model m = 0.5 under the loss w m: the gradient of each is the other.

    First step: w = 2 - 0.1 * 0.5 = 1.95, m = 0.5 - 0.2 * 2 = 0.1. Second: w = 1.95 - 0.1 * 0.1, m = 0.1 - 0.2 * 1.95.
    Gradients at the first step's values of the other slice would give 1.9 and -0.3.
    """

    def loss(params, _):
        return params["policy"]["latent"]["w"] * params["world_model"]["reward"]["w"]

    state, _ = run(loss, ("representation", "world_model"), inputs=(0.0, 0.0))
    np.testing.assert_allclose(numbers(state.params)[:2], [1.94, -0.29], rtol=1e-5)


def test_each_slice_has_a_bound_on_its_gradient_of_its_own():
    def loss(params, _):
        return 1000.0 * params["policy"]["latent"]["w"] + 0.5 * params["world_model"]["reward"]["w"]

    state, metrics = run(loss, ("representation", "world_model"), optax.clip_by_global_norm(1.0))
    # The latent's gradient becomes 1, the model's stays 0.5: together bounded it would be 0.0005.
    np.testing.assert_allclose(numbers(state.params)[:2], [2 - 0.1, 0.5 - 0.2 * 0.5], rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], [np.hypot(1000.0, 0.5)], rtol=1e-6)


def test_inputs_are_taken_one_by_one():
    state, metrics = run(lambda params, x: x * total(params, x), ("critic",), inputs=(1.0, 2.0, 4.0))
    np.testing.assert_allclose(numbers(state.params)[4:], [5 - 0.4 * 7, 6 - 0.4 * 7], rtol=1e-6)
    assert metrics["n_updates"].shape == (3,)


def test_only_the_optimizers_of_trained_slices_advance():
    optimizer = make_optimizer(0.5)
    state, _ = run(total, ("actor",), optimizer, inputs=(0.0, 0.0))
    counts = {name: int(opt[1].count) for name, opt in state.opt_state.items()}
    assert counts == {"representation": 0, "world_model": 0, "actor": 2, "critic": 0}


def test_a_slice_without_parameters_does_no_harm():
    params = {**PARAMS, "policy": {**PARAMS["policy"], "latent": {}}}
    state, metrics = run(total, ("representation", "world_model"), make_optimizer(0.5), params=params)
    assert state.params["policy"]["latent"] == {}
    assert np.isfinite(metrics["grad_norm"]).all()
