"""Vector environments of other libraries, and costs, for Stable-Baselines3's algorithms and ours.

>>> import gymnasium as gym
>>> from spi_integrations.stable_baselines3 import as_vec_env
>>> env = as_vec_env(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync"))
>>> env.num_envs
4

``as_vec_env`` takes Gymnasium's ``VectorEnv`` in any autoreset mode, EnvPool and functional environments.
The result handles terminal observations and time limits correctly, and reports the unclipped, unshaped return of
whole episodes without a ``Monitor``.

``SafeguardCallback`` rolls back what made a policy worse; ``SPICallback`` logs what can be said of updates.

Everything else is for environments with ``info["cost"]``: statistics, callbacks, evaluation, and wrappers of any
``VecEnv``.
"""

from spi_integrations.stable_baselines3.account_env import VecCostMonitor, VecLagrangianReward, VecSauteBudget
from spi_integrations.stable_baselines3.callbacks import CostLogCallback, LagrangianCallback, StopOnCost
from spi_integrations.stable_baselines3.evaluation import (
    CostEvalCallback,
    CostEvaluation,
    evaluate_policy,
    evaluate_policy_with_cost,
)
from spi_integrations.stable_baselines3.safeguard import SafeguardCallback
from spi_integrations.stable_baselines3.spi_callback import SPICallback
from spi_plugins.algorithms.vec_envs import (
    EnvPoolVecEnv,
    FunctionalVecEnv,
    GymVectorEnvAdapter,
    NativeVecEnv,
    Rows,
    as_vec_env,
)

__all__ = [
    "CostEvalCallback",
    "CostEvaluation",
    "CostLogCallback",
    "EnvPoolVecEnv",
    "FunctionalVecEnv",
    "GymVectorEnvAdapter",
    "LagrangianCallback",
    "NativeVecEnv",
    "Rows",
    "SPICallback",
    "SafeguardCallback",
    "StopOnCost",
    "VecCostMonitor",
    "VecLagrangianReward",
    "VecSauteBudget",
    "as_vec_env",
    "evaluate_policy",
    "evaluate_policy_with_cost",
]
