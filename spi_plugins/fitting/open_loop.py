"""Errors of a world model that is rolled out along given actions without correction."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.actions import restored_action
from spi_plugins.buffers import Windows
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.model import Model


class OpenLoop(NamedTuple):
    """Means over windows after 1 to ``H`` steps of the model's means; 0 where no window is that long."""

    latent_error: Float[Array, " H"]  # root mean square, between predicted and encoded latent
    latent_change: Float[Array, " H"]  # the same of the first latent: the error if nothing changed
    reward_error: Float[Array, " H"]  # mean absolute
    cost_error: Float[Array, " H"]  # mean absolute, 0 without costs
    termination_error: Float[Array, " H"]  # Brier score
    share: Float[Array, " H"]  # share of the windows that lie within one episode so far


def open_loop(model: Model, params: Params, actions: ActionSpec, windows: Windows) -> OpenLoop:
    """Roll the model along the actions of real windows, each of which counts up to the end of its episode."""
    shape = windows.done.shape
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), windows.obs)
    z = model.encode(params, rows).reshape(*shape, *model.spec.latent_shape)
    inside = jnp.cumprod(windows.valid, axis=0, dtype=bool)

    def one(predicted: Array, inputs: tuple[Array, ...]) -> tuple[Array, OpenLoop]:
        true_z, action, reward, cost, terminated, inside = inputs
        step = model.step(params, predicted, restored_action(actions, action), None)
        mean_cost = jnp.mean(step.cost, axis=0) if model.spec.n_costs else cost
        n = jnp.maximum(jnp.sum(inside), 1)

        def mean(x: Array) -> Array:
            return jnp.sum(jnp.where(inside, x, 0.0)) / n

        def distance(a: Array, b: Array) -> Array:
            return jnp.sqrt(mean(jnp.mean(((a - b) ** 2).reshape(len(a), -1), axis=1)))

        return step.next_z, OpenLoop(
            latent_error=distance(step.next_z, true_z),
            latent_change=distance(z[0], true_z),
            reward_error=mean(jnp.abs(step.reward - reward)),
            cost_error=mean(jnp.abs(mean_cost - cost)),
            termination_error=mean((step.terminated - terminated) ** 2),
            share=jnp.mean(inside.astype(jnp.float32)),
        )

    inputs = (z[1:], windows.action, windows.reward, windows.cost, windows.terminated, inside)
    errors: OpenLoop = jax.lax.scan(one, z[0], inputs)[1]
    return errors


def in_words(errors: Mapping[str, Sequence[float]]) -> str:
    """How far ahead the latent is predicted better than by saying that nothing changes.

    Args:
        errors: the fields of an ``OpenLoop`` as lists.
    """
    pairs = list(zip(errors["latent_error"], errors["latent_change"], errors["share"], strict=True))
    known = [(error, change) for error, change, share in pairs if share > 0]
    if not known:
        return "No episode was long enough to test predictions."
    reach = next((i for i, (error, change) in enumerate(known) if error >= change), len(known))
    first = f"{known[0][0]:.3g} against {known[0][1]:.3g} after 1 step"
    if not reach:
        return f"Predictions are no better than that nothing changes ({first}): fit to more steps, or longer."
    ahead = "1 step" if reach == 1 else f"{reach} steps"
    return f"Predictions are better than that nothing changes up to {ahead} ahead (latent error {first})."
