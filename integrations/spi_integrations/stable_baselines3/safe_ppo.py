"""Safe baselines as algorithms: our PPO on an environment that it wraps itself.

``PPOLag`` and ``PPOPID``, which have a critic of costs instead, are in ``spi_plugins.algorithms.deep_spi``.
"""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from spi_integrations.stable_baselines3.account_env import (
    AccountVecEnv,
    VecCostMonitor,
    VecSauteBudget,
)
from spi_integrations.stable_baselines3.constrained_envs import (
    BudgetedVecEnv,
    LimitedVecEnv,
    unconstrained,
)
from spi_plugins.algorithms.deep_spi import CONSTRAINT_HYPERPARAMETERS, PPO
from spi_plugins.algorithms.environments import is_template, prepare_env
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, GymVectorEnvAdapter, as_vec_env
from spi_plugins.hyperparameters import Hyperparameter
from spi_wrappers import CostLimit
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.vector import CostLimit as VectorCostLimit

_Wrapper = TypeVar("_Wrapper", bound=VecEnvWrapper)


class _UnconstrainedPPO(PPO):
    """PPO without a constraint of its own: the environment keeps the limit."""

    cost_limit: float
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        name: each for name, each in PPO.hyperparameters.items() if name not in CONSTRAINT_HYPERPARAMETERS
    }


class WrappingPPO(_UnconstrainedPPO):
    """PPO on an environment that it wraps; a subclass defines how.

    A functional environment stays one, so that rollouts and updates are compiled as ``PPO``'s.
    """

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        n_envs: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        env = None if env is None else self.wrap_env(env, n_envs=n_envs, seed=seed)
        super().__init__(policy, env, seed=seed, **kwargs)

    def wrap_env(self, env: Any, *, n_envs: int | None = None, seed: int | None = None) -> VecEnv:
        """Wrap an environment as in training, for example for evaluation.

        Args:
            env: anything that ``PPO`` takes; an environment that this method has wrapped is unwrapped first.
            n_envs: copies to make of a functional environment or an id.
            seed: of a functional environment.
        """
        return self._wrapped(prepare_env(env, n_envs, seed), seed)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Wrap another environment and train on it from here on."""
        copies = self.n_envs if is_template(env) else None
        super().set_env(self.wrap_env(env, n_envs=copies, seed=self.seed), force_reset)

    @abstractmethod
    def _wrapped(self, env: VecEnv, seed: int | None) -> VecEnv: ...


class PPOSaute(WrappingPPO):
    """Sauté PPO: PPO that sees the remaining budget (Sootla et al. 2022, arXiv:2202.06558).

    The environment is wrapped in ``VecCostMonitor`` and ``VecSauteBudget``, so observations have one more number or
    key than the environment's: evaluate on ``model.wrap_env(env)``.

    Args:
        policy: as in ``PPO``.
        env: an environment with ``info["cost"]`` at each step.
        cost_limit: the budget of an episode; above 0.
        unsafe_reward: reward of a step once the budget is spent.
        saute_gamma: discount of the cost in (0, 1].
        **kwargs: ``PPO``'s other arguments.

    Raises:
        TypeError: observations cannot be extended.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *WrappingPPO.stored_arguments,
        *("cost_limit", "unsafe_reward", "saute_gamma"),
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        cost_limit: float = 25.0,
        unsafe_reward: float = -1.0,
        saute_gamma: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.cost_limit = real("cost_limit", cost_limit, above=0.0)
        self.unsafe_reward = real("unsafe_reward", unsafe_reward)
        self.saute_gamma = real("saute_gamma", saute_gamma, above=0.0, at_most=1.0)
        super().__init__(policy, env, **kwargs)

    def _wrapped(self, env: VecEnv, seed: int | None) -> VecEnv:
        return self._adapt_loaded_env(env, vars(self))

    @classmethod
    def _adapt_loaded_env(cls, env: VecEnv, arguments: Mapping[str, Any]) -> VecEnv:
        how = {
            "budget": arguments["cost_limit"],
            "gamma": arguments["saute_gamma"],
            "unsafe_reward": arguments["unsafe_reward"],
        }
        env = unconstrained(env)
        if isinstance(env, FunctionalVecEnv):
            return BudgetedVecEnv(env, **how)
        return VecSauteBudget(_monitored(_without(env, VecSauteBudget)), **how)


class PPOEarly(WrappingPPO):
    """Early-terminated PPO: an episode ends in the step that brings its cost above the limit.

    The environment is wrapped in ``spi_wrappers.CostLimit`` and ``VecCostMonitor``. Return and cost in the log
    are those of the shortened episodes.

    Args:
        policy: as in ``PPO``.
        env: an environment with ``info["cost"]`` at each step; not a ``VecEnv`` that is wrapped, EnvPool's, or has
            its copies in other processes: wrap their single environments in ``CostLimit`` and use ``PPO``.
        cost_limit: allowed cost of an episode.
        limit_reward: replaces the reward of the step that ends an episode unless ``None``.
        **kwargs: ``PPO``'s other arguments.

    Raises:
        TypeError: the environment cannot be wrapped.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *WrappingPPO.stored_arguments,
        "cost_limit",
        "limit_reward",
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        cost_limit: float = 25.0,
        limit_reward: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.cost_limit = real("cost_limit", cost_limit, at_least=0.0)
        self.limit_reward = None if limit_reward is None else real("limit_reward", limit_reward)
        super().__init__(policy, env, **kwargs)

    def _wrapped(self, env: VecEnv, seed: int | None) -> VecEnv:
        env = env.source if isinstance(env, _LimitedVecEnv) else unconstrained(env)
        if isinstance(env, FunctionalVecEnv):
            return LimitedVecEnv(env, limit=self.cost_limit, reward=self.limit_reward)
        limited = _limit_rows(env, {"limit": self.cost_limit, "reward": self.limit_reward})
        if seed is not None:
            limited.seed(seed)
        return _LimitedVecEnv(limited, env)


class _LimitedVecEnv(VecCostMonitor):
    """Remembers the environment without the limit, so that another limit can replace it."""

    def __init__(self, venv: VecEnv, source: VecEnv) -> None:
        super().__init__(venv)
        self.source = source


def _limit_rows(env: VecEnv, how: Mapping[str, Any]) -> VecEnv:
    """A ``VecEnv`` of the same copies whose episodes end above the limit."""
    if isinstance(env, GymVectorEnvAdapter):
        return as_vec_env(VectorCostLimit(env.env, **how))
    if isinstance(env, DummyVecEnv):
        return as_vec_env(DummyVecEnv([functools.partial(CostLimit, single, **how) for single in env.envs]))
    raise TypeError(
        f"ppo_early cannot end single episodes of {type(env).__name__}. Wrap the single environments in "
        "spi_wrappers.CostLimit, or a Gymnasium VectorEnv in spi_wrappers.vector.CostLimit, and use 'ppo'."
    )


def _without(env: VecEnv, wrapper: type[_Wrapper]) -> VecEnv:
    """The environment without ``wrapper``, if that is outermost."""
    return env.venv if isinstance(env, wrapper) else env


def _monitored(env: VecEnv) -> VecEnv:
    inner: VecEnv = env
    while isinstance(inner, AccountVecEnv):
        if isinstance(inner, VecCostMonitor):
            return env
        inner = inner.venv
    return VecCostMonitor(env)
