"""Whole trainings on the confounding grid as one program: seeds side by side, each update in exact numbers."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.agents.rollout import EnvStep, Runner, collect
from spi_plugins.certificates.enumerated import NetworkTables, read_networks
from spi_plugins.envs import autoreset
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.envs.confounding_grid_exact import all_observations
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

N_ENVS, N_STEPS = 128, 8  # the paper's rollout


class Setting(NamedTuple):
    """A training but for its seed. ``rate`` and ``clip`` may change without a new compilation."""

    config: DeepSPIConfig
    model: DeepMDPConfig = DeepMDPConfig()
    networks: ActorCriticConfig = ActorCriticConfig(encoder="mlp", pi=(64, 2), vf=(64, 64))
    rate: float = 1e-3
    clip: float = 0.1


@functools.partial(jax.jit, static_argnames=("env", "config", "model", "networks", "n_updates"))
def _train(
    env: FunctionalEnv, config: Any, model: Any, networks: Any, n_updates: int, *traced: jax.Array
) -> NetworkTables:
    keys, rate, clip, observations = traced
    agent = make_deep_spi(env.observation_spec, env.action_spec, networks, config, model)

    def env_step(state: Any, action: jax.Array) -> tuple[Any, EnvStep]:
        state, out = autoreset.step(env, env.params, state, action)
        valid = jnp.ones_like(out.terminated)
        return state, EnvStep(out.obs, out.final_obs, out.reward, out.terminated, out.truncated, valid, {})

    def read(params: Any, key: jax.Array) -> NetworkTables:
        return read_networks(agent.policy, agent.world_model, params, observations, key)

    def one(runner: Runner, _: None) -> tuple[Runner, NetworkTables]:
        found = collect(agent, env_step, N_STEPS, runner)
        state, _metrics = agent.update(found.runner.state, found.rollout, rate, ClipRanges(clip), None)
        return found.runner._replace(state=state), read(state.params, state.key)

    def seed(key: jax.Array) -> NetworkTables:
        init_key, env_key = jax.random.split(key)
        state = agent.init(init_key)
        env_state, obs = autoreset.reset(env, env.params, jax.random.split(env_key, N_ENVS))
        first = read(state.params, key)
        _, rest = jax.lax.scan(one, Runner(state, env_state, obs), None, length=n_updates)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)

    return jax.lax.map(seed, keys)


def train(env: FunctionalEnv, setting: Setting, seeds: list[int], n_updates: int) -> NetworkTables:
    """Train all seeds; tables before the first update and after each one, ``[seeds, updates + 1, ...]``, float64."""
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    found = _train(
        env, setting.config, setting.model, setting.networks, n_updates,
        keys, jnp.float32(setting.rate), jnp.float32(setting.clip), jnp.asarray(all_observations(env)),
    )  # fmt: skip
    tables: NetworkTables = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
    return tables
