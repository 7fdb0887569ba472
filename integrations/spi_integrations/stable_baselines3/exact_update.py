"""Exact certificates of an update, where the environment has tables of all its states."""

import functools
from typing import Any

import jax
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.certificates import finite
from spi_plugins.certificates.enumerated import NetworkTables, certify_update, read_networks
from spi_plugins.certificates.finite import FiniteMDP
from spi_plugins.certificates.result import Certificate
from spi_plugins.spaces import action_spec, to_device
from spi_plugins.types import Params


def exact_update(
    model: OnPolicyAlgorithm, old: Params, new: Params, env: VecEnv, seed: int = 0
) -> dict[str, Certificate]:
    """What ``certificates.enumerated`` says of the step from ``old`` to ``new``; nothing where it does not apply.

    It applies to a bare ``FunctionalVecEnv`` whose environment has ``tables``, and to one discrete action.
    """
    if not isinstance(env, FunctionalVecEnv) or env.functional.tables is None:
        return {}
    if action_spec(model.action_space).kind != "discrete":
        return {}
    tables, read = env.functional.tables(env.params), _compiled(model.agent)
    gamma = float(model.gamma)  # type: ignore[attr-defined]
    mdp = FiniteMDP(tables.transition, tables.reward, tables.start, gamma)
    observations = to_device(env.observation_space, tables.observations)
    key = jax.random.key(seed)
    before, after = (jax.tree.map(np.asarray, read(params, observations, key)) for params in (old, new))
    limit = env.functional.max_episode_steps
    cut = () if limit is None else (f"episodes go on after the limit of {limit} steps",)
    return certify_update(finite.without_terminal(mdp, tables.terminal), tables.terminal, before, after, cut)


@functools.lru_cache(maxsize=4)
def _compiled(agent: OnPolicyAgent) -> Any:
    def read(params: Params, observations: Any, key: jax.Array) -> NetworkTables:
        return read_networks(agent.policy, agent.world_model, params, observations, key)

    return jax.jit(read)
