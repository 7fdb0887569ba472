"""Conformance of world models: pure functions of the right shapes, and losses that training lowers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spi_plugins.testing.actions import random_actions
from spi_plugins.testing.requirement import require, require_equal
from spi_plugins.types import ActionSpec


def check_world_model(
    model: Any, latents: Any, action_spec: ActionSpec, *, num_updates: int = 50, learning_rate: float = 1e-2
) -> None:
    """Check that a model keeps the contract of ``register_world_models``, and fit it to one batch.

    The batch is a world that a model can learn: every latent leads to the one after it in ``latents``, with a
    reward of 1 for the first half of the batch and 0 for the second, which ends.

    Args:
        model: what the factory returned: ``init``, ``losses``, ``predict``, ``reward`` and ``termination``,
            as in ``spi_plugins.world_models.deep_mdp.DeepMDP``.
        latents: float32 ``[B, *latent_shape]`` with B at least 2, such as an encoder gives them.
        action_spec: the action that the model was built for.
        num_updates: steps of gradient descent (Adam) in which the sum of the losses must fall.
        learning_rate: of these.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    for name in ("init", "losses", "predict", "reward"):
        require(callable(getattr(model, name, None)), f"The model must have a function {name!r}.")
    require(hasattr(model, "termination"), "The model must have a field 'termination', a function or None.")
    z = jnp.asarray(latents, jnp.float32)
    require(
        z.ndim >= 2 and len(z) >= 2, f"latents must be [B, *latent_shape] with B >= 2, got {list(z.shape)}."
    )
    action = jnp.asarray(random_actions(action_spec, np.random.default_rng(0), (len(z),)))
    params = jax.jit(model.init)(jax.random.key(0))
    _check_params(model, params)
    _check_predictions(model, params, z, action)
    _check_losses(model, params, z, action, num_updates, learning_rate)


def _check_params(model: Any, params: Any) -> None:
    leaves = jax.tree.leaves(params)
    require(leaves, "init must give a pytree with at least one array of parameters.")
    require(
        all(isinstance(leaf, jax.Array) and jnp.isfinite(leaf).all() for leaf in leaves),
        "init must give finite arrays.",
    )
    for first, second in zip(leaves, jax.tree.leaves(model.init(jax.random.key(0))), strict=True):
        require(
            jnp.allclose(first, second, rtol=1e-4, atol=1e-6),
            "init must give the same parameters for the same key.",
        )


def _check_predictions(model: Any, params: Any, z: jax.Array, action: jax.Array) -> None:
    key = jax.random.key(1)
    predict = jax.jit(model.predict)
    next_z = predict(params, z, action, key)
    _check_array("predict", next_z, z.shape)
    require_equal(predict(params, z, action, key), next_z, "predict must give the same for the same key.")
    _check_array("reward", jax.jit(model.reward)(params, z, action), (len(z),))
    if model.termination is not None:
        probability = jax.jit(model.termination)(params, z)
        _check_array("termination", probability, (len(z),))
        require(
            ((probability >= 0) & (probability <= 1)).all(),
            f"termination must give probabilities, got {probability}.",
        )


def _check_losses(
    model: Any, params: Any, z: jax.Array, action: jax.Array, num_updates: int, learning_rate: float
) -> None:
    first_half = jnp.arange(len(z)) < len(z) // 2
    batch = (z, action, first_half.astype(jnp.float32), jnp.roll(z, -1, axis=0), ~first_half)
    optimizer = optax.adam(learning_rate)

    def total(params: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        losses = model.losses(params, *batch, key)
        return jnp.stack([value.mean() for value in losses]).sum(), losses

    @jax.jit
    def update(params: Any, state: Any, key: jax.Array) -> Any:
        (value, losses), gradient = jax.value_and_grad(total, has_aux=True)(params, key)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, losses, optax.tree.norm(gradient)

    state, values = optimizer.init(params), []
    for key in jax.random.split(jax.random.key(2), num_updates):
        params, state, value, losses, norm = update(params, state, key)
        values.append(float(value))
        if len(values) == 1:
            for name, loss in losses._asdict().items():
                _check_array(f"losses().{name}", loss, (len(z),))
            require(
                jnp.isfinite(norm) and norm > 0, f"The losses must have finite gradients, not all 0: {norm}."
            )
    # Losses are noisy where the model samples: means of a few, not single values.
    window = max(num_updates // 5, 1)
    before, after = float(np.mean(values[:window])), float(np.mean(values[-window:]))
    require(
        after < before,
        f"{num_updates} updates on one batch must lower the losses: {before:g} became {after:g}.",
    )


def _check_array(name: str, value: Any, shape: tuple[int, ...]) -> None:
    got = getattr(value, "dtype", None), getattr(value, "shape", None)
    require(got == (jnp.float32, shape), f"{name} must give float32 {list(shape)}, got {got[0]} {got[1]}.")
    require(jnp.isfinite(value).all(), f"{name} must be finite.")
