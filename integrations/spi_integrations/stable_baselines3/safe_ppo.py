"""Safe baselines as algorithms: our PPO on an environment that it wraps itself."""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from spi_integrations.stable_baselines3.account_env import (
    AccountVecEnv,
    VecCostMonitor,
    VecLagrangianReward,
    VecSauteBudget,
)
from spi_integrations.stable_baselines3.constrained_envs import (
    BudgetedVecEnv,
    LimitedVecEnv,
    PricedVecEnv,
    unconstrained,
)
from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics
from spi_plugins.agents.on_policy import OnPolicyMetrics
from spi_plugins.algorithms.collector import RolloutCollector
from spi_plugins.algorithms.deep_spi import PPO
from spi_plugins.algorithms.environments import is_template, prepare_env
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, GymVectorEnvAdapter, as_vec_env
from spi_wrappers import CostLimit
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.accounts.multiplier import DEFAULT_LR, Multiplier, PIDGains
from spi_wrappers.vector import CostLimit as VectorCostLimit

_Wrapper = TypeVar("_Wrapper", bound=VecEnvWrapper)


class WrappingPPO(PPO):
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


class PPOLag(WrappingPPO):
    """PPO-Lagrangian: PPO on ``r - λ c``, with λ learned by gradient ascent.

    The environment is wrapped in ``VecCostMonitor`` and ``VecLagrangianReward``. λ moves once per rollout, by the
    mean cost of the episodes that ended in it, and is logged as ``train/lagrange_multiplier``. The multiplier's
    settings and state are part of the model file. There is one critic, of the shaped reward, where the papers'
    code has another one for the cost.

    Args:
        policy: as in ``PPO``.
        env: an environment with ``info["cost"]`` at each step.
        cost_limit: allowed undiscounted cost of an episode.
        lagrange_lr: step size of λ, per unit of cost and rollout.
        lagrange_init: initial λ.
        lagrange_max: upper bound of λ.
        lagrange_normalize: divide the reward by ``1 + λ``.
        lagrange_state: a ``Multiplier.state_dict()`` to continue from; its limit is replaced by ``cost_limit``.
        **kwargs: ``PPO``'s other arguments.

    Attributes:
        multiplier: λ is its ``value``.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *PPO.stored_arguments,
        *("cost_limit", "lagrange_lr", "lagrange_init", "lagrange_max", "lagrange_normalize"),
        "lagrange_state",
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        cost_limit: float = 25.0,
        lagrange_lr: float = DEFAULT_LR,
        lagrange_init: float = 0.0,
        lagrange_max: float | None = None,
        lagrange_normalize: bool = False,
        lagrange_state: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.lagrange_lr, self.lagrange_init, self.lagrange_max = lagrange_lr, lagrange_init, lagrange_max
        self.lagrange_normalize = lagrange_normalize
        self.multiplier = self._new_multiplier(cost_limit)
        if lagrange_state is not None:
            self.multiplier.load_state_dict({**lagrange_state, "limit": self.multiplier.limit})
        super().__init__(policy, env, **kwargs)

    @property
    def cost_limit(self) -> float:
        """Allowed undiscounted cost of an episode."""
        return self.multiplier.limit

    @property
    def lagrange_state(self) -> dict[str, Any]:
        """The state of the multiplier; within a rollout that a file will begin again, the one at its start."""
        state = self.multiplier.state_dict()
        return state if getattr(self, "_rollout_start", None) is None else {**state, "pending": []}

    def _new_multiplier(self, limit: float, **rule: Any) -> Multiplier:
        rule = rule or {"lr": self.lagrange_lr}
        return Multiplier(limit, init=self.lagrange_init, maximum=self.lagrange_max, manual=True, **rule)

    def _wrapped(self, env: VecEnv, seed: int | None) -> VecEnv:
        # An environment that another model has wrapped has that model's λ.
        env = unconstrained(env)
        if isinstance(env, FunctionalVecEnv):
            return PricedVecEnv(env, self.multiplier, normalize=self.lagrange_normalize)
        env = _monitored(_without(env, VecLagrangianReward))
        return VecLagrangianReward(env, multiplier=self.multiplier, normalize=self.lagrange_normalize)

    def _update(self, collector: RolloutCollector, end: int, total: int) -> OnPolicyMetrics:
        with self._exchange:  # a file has either both updates or none
            metrics = super()._update(collector, end, total)
            self.multiplier.update()
        return metrics

    def _log_update(self, metrics: DeepSPIMetrics) -> None:
        super()._log_update(metrics)
        self.logger.record("train/lagrange_multiplier", self.multiplier.value)


class PPOPID(PPOLag):
    """PPO-Lagrangian with a PID controller for λ (Stooke et al. 2020, arXiv:2007.03964).

    Args:
        policy: as in ``PPO``.
        env: an environment with ``info["cost"]`` at each step.
        pid: ``spi_wrappers.PIDGains``, or a mapping of some of them by name; it replaces ``lagrange_lr``.
        **kwargs: ``PPOLag``'s other arguments.

    Raises:
        TypeError: ``pid`` is not a mapping.
        ValueError: a gain is unknown.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *(name for name in PPOLag.stored_arguments if name != "lagrange_lr"),
        "pid",
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        pid: PIDGains | Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if "lagrange_lr" in kwargs:
            raise TypeError("PPOPID has no lagrange_lr: the gains in pid take its place.")
        self._gains = PIDGains() if pid is None else PIDGains.read(pid)
        super().__init__(policy, env, **kwargs)

    @property
    def pid(self) -> dict[str, Any]:
        """The gains by name."""
        settings: dict[str, Any] = self.multiplier.settings()["pid"]
        return settings

    def _new_multiplier(self, limit: float, **rule: Any) -> Multiplier:
        return super()._new_multiplier(limit, pid=self._gains, **rule)


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
        *PPO.stored_arguments,
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

    stored_arguments: ClassVar[tuple[str, ...]] = (*PPO.stored_arguments, "cost_limit", "limit_reward")

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
