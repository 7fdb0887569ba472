"""Distillation of plans: a policy that imitates the first actions of a planner, at the latents of many states."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.gradient_steps import move
from spi_plugins.agents.optimizer import make_optimizer
from spi_plugins.types import Params
from spi_plugins.world_models.tdmpc import TDMPC


def imitate(
    world: TDMPC,
    policy: Params,
    z: Float[Array, "N Z"],
    target: Float[Array, "N A"],
    key: Array,
    *,
    n_updates: int,
    batch_size: int,
    learning_rate: float,
) -> tuple[Params, Float[Array, "2"]]:
    """Fit a policy to actions by Adam, whose learning rate falls to 0 along a cosine.

    Args:
        world: whose policy it is.
        policy: its parameters at the start.
        z: latents, which stay as they are: the encoder is not trained.
        target: vectors of the actions to imitate there.
        key: draws the batches.
        n_updates: gradient steps.
        batch_size: pairs in a gradient step, drawn with replacement.
        learning_rate: at the start.

    Returns:
        The policy, and the mean ``ActionHead.imitation`` over all pairs before and after.
    """
    optimizer = make_optimizer(max_grad_norm=20.0)
    rate = optax.cosine_decay_schedule(learning_rate, n_updates)

    def loss(policy: Params, z: Array, target: Array) -> Float[Array, ""]:
        parameters = world.forward("policy", {"policy": policy}, z)
        return jnp.mean(world.head.imitation(parameters, target))

    def body(i: Array, carry: tuple[Params, optax.OptState]) -> tuple[Params, optax.OptState]:
        policy, opt_state = carry
        index = jax.random.randint(jax.random.fold_in(key, i), (batch_size,), 0, len(z))
        changes, opt_state = optimizer.update(jax.grad(loss)(policy, z[index], target[index]), opt_state)
        return move(policy, changes, jnp.asarray(rate(i))), opt_state

    fitted, _ = jax.lax.fori_loop(0, n_updates, body, (policy, optimizer.init(policy)))
    return fitted, jnp.stack([loss(policy, z, target), loss(fitted, z, target)])
