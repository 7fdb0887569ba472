"""The policy's only step in an update, for constraint methods that make it themselves."""

import jax
import jax.numpy as jnp

from spi_plugins.agents.constraint import centered
from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.on_policy import Parts, evaluate
from spi_plugins.constraints.method import Surrogates
from spi_plugins.distributions import masked
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.returns import masked_mean, normalize
from spi_plugins.types import Params, PyTree

# The parts of the policy that only the actor reads, where actor and critic share no layers.
_ACTOR = ("latent", "pi", "actor")


def check_separate(config: ActorCriticConfig, *, has_model: bool) -> None:
    """Refuse networks that a critic's or a model's gradients would move together with the policy.

    Raises:
        ValueError: says what is shared.
    """
    if has_model:
        raise ValueError(
            "constraint='cpo' and its like make the policy's step themselves, which a world model in the encoder "
            "would undo: use it with PPO."
        )
    if config.vf is None or config.encoder != "mlp" or config.latent is not None:
        raise ValueError(
            "constraint='cpo' and its like make the policy's step themselves, so actor and critic must share no "
            "layers: use MlpPolicy without latent_arch."
        )


def step_policy(parts: Parts, params: Params, rows: Minibatch, method_state: PyTree) -> Params:
    """All parameters, with the policy's after the method's step on all rows."""
    constraint = parts.constraint
    assert constraint is not None
    assert constraint.method.step is not None
    assert parts.distribution.kl is not None
    assert rows.cost_advantage is not None
    kl, n_rows = parts.distribution.kl, rows.reward.shape[0]
    obs = jax.tree.map(lambda x: x[:n_rows], rows.obs)
    old = masked(evaluate(parts, params, obs).parameters, rows.action_masks)
    reward, cost = rows.advantage, rows.cost_advantage
    if parts.config.normalize_advantage:
        reward, cost = normalize(reward, rows.valid), centered(cost, rows.valid)

    def complete(actor: Params) -> Params:
        return {**params, "policy": {**params["policy"], **actor}}

    def surrogates(actor: Params) -> Surrogates:
        new = masked(evaluate(parts, complete(actor), obs).parameters, rows.action_masks)
        ratio = jnp.exp(parts.distribution.log_prob(new, rows.action) - rows.log_prob)
        costs = [masked_mean(ratio * cost[:, k], rows.valid) for k in range(cost.shape[1])]
        divergence = masked_mean(kl(new, old), rows.valid)
        return Surrogates(masked_mean(ratio * reward, rows.valid), jnp.stack(costs), divergence)

    actor = {name: params["policy"][name] for name in _ACTOR if name in params["policy"]}
    return complete(constraint.method.step(method_state, surrogates, actor))
