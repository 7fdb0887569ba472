"""Fresh steps of an on-policy model under given parameters, and what a second set of parameters says of them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.actions import model_action, to_action
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.stepping import advance
from spi_plugins.certificates.model_errors import ModelErrors, Transitions, model_errors, step_errors
from spi_plugins.certificates.ratios import Extremes, gaussian_extremes, ratio_extremes
from spi_plugins.certificates.values import LatentOutcome, latent_returns
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.heads import action_features
from spi_plugins.spaces import action_spec, to_device
from spi_plugins.types import ActionSpec, Observation, Params

HORIZON = 50  # of rollouts in the latent model


class Behavior(NamedTuple):
    """``N`` steps of whole episodes, on the host."""

    obs: Observation  # [N, ...]
    next_obs: Observation
    action: NDArray[Any]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    episode: NDArray[np.int64]  # numbered from 0

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted, of each episode."""
        return _totals(self.episode, self.reward)

    def discounted_returns(self, gamma: float) -> NDArray[np.float64]:
        """Discounted, of each episode."""
        first = np.flatnonzero(np.r_[True, np.diff(self.episode) > 0])
        time = np.arange(len(self.episode)) - first[self.episode]
        return _totals(self.episode, gamma**time * self.reward)


def play(model: OnPolicyAlgorithm, params: Params, env: VecEnv, n_episodes: int, seed: int = 0) -> Behavior:
    """Play sampled actions for ``n_episodes``; each copy's share is fixed beforehand, not to favor short episodes."""
    act = jax.jit(model.agent.act)
    key, count = jax.random.key(seed), env.num_envs
    left = np.array([(n_episodes + i) // count for i in range(count)])
    obs = to_device(env.observation_space, env.reset())
    rows: list[tuple[Any, ...]] = []
    while left.any():
        key, act_key = jax.random.split(key)
        acted = act(params, obs, act_key)
        stepped = advance(env, to_action(env.action_space, np.asarray(acted.env_action)))
        reached = stepped.reached(env.observation_space)
        rows.append(
            (
                obs,
                reached,
                np.asarray(acted.action),
                stepped.reward,
                stepped.terminated,
                left > 0,
                stepped.done,
            )
        )
        left = left - (stepped.done & (left > 0))
        obs = stepped.next_obs
    stacked = [jax.tree.map(lambda *x: np.stack(x, axis=1), *each) for each in zip(*rows, strict=True)]
    counts, done = stacked[-2:]
    obs, reached, action, reward, terminated = (
        jax.tree.map(lambda x: x[counts], each) for each in stacked[:-2]
    )
    ended = np.cumsum(done, axis=1) - done  # episodes of a copy that ended before a step
    shares = [(n_episodes + i) // count for i in range(count)]
    first = np.concatenate([[0], np.cumsum(shares)[:-1]])
    return Behavior(obs, reached, action, reward, terminated, (ended + first[:, None])[counts])


def _totals(episode: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    totals: NDArray[Any] = np.bincount(episode, weights=values)
    return totals.astype(np.float64)


class Look(NamedTuple):
    """What an update did, in the states of the old policy's fresh episodes."""

    extremes: Extremes  # of the ratios, over every action if they are discrete
    log_ratio: NDArray[np.float64]  # of each episode, summed over the actions taken
    errors: ModelErrors | None  # without a world model there is none
    latent_returns: NDArray[np.float64] | None  # of the new policy in its model, one from each first state
    latents: NDArray[np.float32]


def look(model: OnPolicyAlgorithm, old: Params, new: Params, behavior: Behavior, seed: int = 0) -> Look:
    """Compare two sets of parameters on steps of the old one; model errors are those of the new one."""
    agent, spec, n_steps = model.agent, action_spec(model.action_space), len(behavior.reward)
    evaluate, measure = _compiled(agent, spec, float(model.gamma))  # type: ignore[attr-defined]
    # Filled up to a power of two, or every number of steps would compile anew.
    rows = jax.tree.map(lambda x: jnp.asarray(np.resize(x, (_power(n_steps), *x.shape[1:]))), behavior[:-1])
    obs, next_obs, action, reward, terminated = rows
    (before, _), (after, z) = (evaluate(params, obs) for params in (old, new))
    box = spec.kind == "box"
    extremes = gaussian_extremes(before, after) if box else ratio_extremes(spec, before, after)
    distribution = action_distribution(spec)
    change = distribution.log_prob(after, action) - distribution.log_prob(before, action)
    errors, returns = None, None
    if measure is not None:
        data = Transitions(z, model_action(spec, action), reward, evaluate(new, next_obs)[1], terminated)
        steps, sampled = measure(new, data, jax.random.key(seed))
        features = np.concatenate(
            [np.asarray(x).reshape(len(x), -1) for x in (z, action_features(spec, data.action))], 1
        )
        steps = jax.tree.map(lambda x: np.asarray(x[:n_steps]), steps)
        errors = model_errors(steps, behavior.episode, features[:n_steps])
        first = np.flatnonzero(np.r_[True, np.diff(behavior.episode) > 0])
        returns = np.asarray(sampled, np.float64)[first]
    return Look(
        Extremes(*(each[:n_steps] for each in extremes)),
        _totals(behavior.episode, np.asarray(change[:n_steps])),
        errors,
        returns,
        np.asarray(z[:n_steps]).reshape(n_steps, -1),
    )


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()


@functools.lru_cache(maxsize=4)
def _compiled(agent: OnPolicyAgent, spec: ActionSpec, gamma: float) -> tuple[Any, Any]:
    """Action parameters and latents of observations; and, with a world model, its errors and returns."""

    def evaluate(params: Params, obs: Observation) -> tuple[jax.Array, jax.Array]:
        features = agent.policy.features(params["policy"], obs)
        z = agent.policy.latent(params["policy"], features)
        return agent.policy.evaluate(params["policy"], obs, features, z).parameters, z

    model, distribution = agent.world_model, action_distribution(spec)
    if model is None:
        return jax.jit(evaluate), None

    def measure(params: Params, data: Transitions, key: jax.Array) -> Any:
        world = params["world_model"]

        def step(z: jax.Array, key: jax.Array) -> LatentOutcome:
            act_key, next_key = jax.random.split(key)
            parameters = agent.policy.actor(params["policy"], z)
            action = model_action(spec, distribution.sample(parameters, act_key))
            next_z = model.predict(world, z, action, next_key)
            ends = jnp.zeros(len(z)) if model.termination is None else model.termination(world, next_z)
            return LatentOutcome(next_z, model.reward(world, z, action), ends)

        error_key, return_key = jax.random.split(key)
        steps = step_errors(model, world, step, data, error_key, horizon=HORIZON, gamma=gamma)
        return steps, latent_returns(step, data.z, return_key, HORIZON, gamma)

    return jax.jit(evaluate), jax.jit(measure)
