"""Networks on an environment whose states are enumerated: read as tables, and what is exact of an update there."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from spi_plugins.certificates import bounds, finite, tabular
from spi_plugins.certificates.finite import Abstraction, FiniteMDP
from spi_plugins.certificates.result import Certificate
from spi_plugins.certificates.tabular import Pair
from spi_plugins.networks.actor_critic import ActorCritic
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.deep_mdp import DeepMDP

N_DRAWS = 8  # of the model's next latent


class NetworkTables(NamedTuple):
    """What networks say of every state. Arrays of JAX, or of NumPy on the host.

    Attributes:
        log_policy: logarithms of the probabilities.
        latent: of each state.
        transition: where the latent model leads: frequencies of the states whose latents are nearest to what it draws;
            ``None`` without a model.
        reward: of the latent model.
    """

    log_policy: Float[Any, "*N S A"]
    latent: Float[Any, "*N S Z"]
    transition: Float[Any, "*N S A S"] | None
    reward: Float[Any, "*N S A"] | None

    @property
    def policy(self) -> Float[np.ndarray, "*N S A"]:
        """Probabilities in float64, whose rows sum to 1."""
        rows = np.exp(np.asarray(self.log_policy, np.float64))
        normalized: Float[np.ndarray, "*N S A"] = rows / rows.sum(axis=-1, keepdims=True)
        return normalized


def read_networks(
    policy: ActorCritic, model: DeepMDP | None, params: Params, observations: Observation, key: Array
) -> NetworkTables:
    """Read a policy of one discrete action, and its latent model, at the observations of all states.

    The latent model becomes a finite one whose latents are the states. Every finite model gives a bound that holds;
    this one is as good as the nearest latent tells what the network foresees.
    """
    features = policy.features(params["policy"], observations)
    z = policy.latent(params["policy"], features)
    log_policy = jax.nn.log_softmax(policy.evaluate(params["policy"], observations, features, z).parameters)
    if model is None:
        return NetworkTables(log_policy, z, None, None)
    n_states, n_actions = log_policy.shape
    repeated = jnp.repeat(z, n_actions, axis=0)
    actions = jnp.tile(jnp.arange(n_actions, dtype=jnp.int32), n_states)

    def reached(key: Array) -> Array:
        drawn = model.predict(params["world_model"], repeated, actions, key)
        gap = jnp.square(drawn[:, None] - z[None]).reshape(len(drawn), n_states, -1)
        return jnp.argmin(jnp.sum(gap, axis=-1), axis=-1)

    draws = jax.vmap(reached)(jax.random.split(key, N_DRAWS))
    frequencies = jnp.mean(jax.nn.one_hot(draws, n_states), axis=0)
    reward = model.reward(params["world_model"], repeated, actions)
    return NetworkTables(
        log_policy,
        z,
        frequencies.reshape(n_states, n_actions, n_states),
        reward.reshape(n_states, n_actions),
    )


def read_model(read: NetworkTables, terminal: Bool[np.ndarray, " S"]) -> Abstraction:
    """The latent model that was read, with a latent for each state; the terminal ones end the episode."""
    transition = np.where(terminal, 0.0, np.asarray(read.transition, np.float64))
    transition[..., terminal, :, :] = 0.0
    reward = np.where(terminal[:, None], 0.0, np.asarray(read.reward, np.float64))
    return Abstraction(np.broadcast_to(np.arange(len(terminal)), reward.shape[:-1]), transition, reward)


_EXACT = ("the tables are the process",)


def certify_update(
    mdp: FiniteMDP,
    terminal: Bool[np.ndarray, " S"],
    old: NetworkTables,
    new: NetworkTables,
    assumptions: tuple[str, ...] = (),
) -> dict[str, Certificate]:
    """Everything that is exact of an update, by a short name.

    Args:
        mdp: the environment, in which terminal states end the episode; see ``finite.without_terminal``.
        terminal: which states they are.
        old: the networks before the update.
        new: after it.
        assumptions: further ones.
    """
    assumed = (*_EXACT, *assumptions)

    def exact(name: str, value: Any) -> Certificate:
        return Certificate(name, float(value), 1.0, assumed)

    pair = Pair(old.policy, new.policy)
    ratios = tabular.ratios(*pair)
    values = [float(finite.value(mdp, policy)) for policy in pair]
    advantage = finite.averaged(finite.advantages(mdp, pair.old), pair.new)
    visits = finite.visits(mdp, pair.old, mdp.gamma).sum(axis=-1)
    constant = 1.0 + max(float(ratios.largest) - 1.0, 1.0 - float(ratios.smallest))
    free = bounds.model_free(
        (1 - mdp.gamma) * float(visits @ advantage),
        float(np.abs(advantage).max()),
        constant,
        mdp.gamma,
        assumed,
    )
    found = {
        "exact_improvement": exact("improvement", values[1] - values[0]),
        "exact_old_return": exact("return before", values[0]),
        "exact_new_return": exact("return after", values[1]),
        "exact_ratio_max": exact("largest ratio over all states and actions", ratios.largest),
        "exact_ratio_min": exact("smallest ratio over all states and actions", ratios.smallest),
        "exact_bound_model_free": free._replace(name="lower bound of the improvement, without a model"),
    }
    if new.transition is None:
        return found
    model = read_model(new, terminal)
    v = tabular.model_values(mdp, model, pair.new)
    steps = finite.visits(mdp, pair.old, 1.0)
    errors = [
        float((steps * each).sum() / steps.sum()) if np.isfinite(steps).all() else np.inf
        for each in tabular.model_errors(mdp, model, v)[:2]
    ]
    constants = tabular.lipschitz_constants(model, pair.new, v)
    bound, theorem = (
        tabular.certify(mdp, model, pair, theorem=each)._replace(assumptions=assumed)
        for each in (False, True)
    )
    return found | {
        "exact_bound": bound._replace(name="lower bound of the improvement, from the latent model"),
        "exact_bound_theorem": theorem._replace(name="lower bound of the improvement, by the theorem"),
        "exact_L_R": exact("reward error of the latent model, L1", errors[0]),
        "exact_L_P": exact("transition error of the latent model", errors[1]),
        "exact_K_R": exact("reward constant, averaged over actions", constants.reward),
        "exact_K_P": exact("transition constant, averaged over actions", constants.transition),
        "exact_K_V": exact("constant of the latent values", constants.value),
    }
