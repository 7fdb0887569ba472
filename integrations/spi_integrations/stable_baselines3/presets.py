"""Safe baselines as algorithms: our PPO on an environment that it wraps by itself."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from spi_integrations.stable_baselines3.account_env import AccountVecEnv
from spi_integrations.stable_baselines3.monitor import VecCostMonitor
from spi_integrations.stable_baselines3.shaping import VecLagrangianReward, VecSauteBudget
from spi_plugins.agents.on_policy import DeepSPIMetrics
from spi_plugins.algorithms.deep_spi import PPO
from spi_plugins.algorithms.environments import prepare_env
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, GymVectorEnvAdapter, as_vec_env
from spi_wrappers import CostLimit
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.accounts.multiplier import DEFAULT_LR, Multiplier, PIDGains
from spi_wrappers.vector import CostLimit as VectorCostLimit

_Wrapper = TypeVar("_Wrapper", bound=VecEnvWrapper)


class PPOLag(PPO):
    """PPO-Lagrangian: PPO on ``r - λ c``, and λ learned by gradient ascent.

    The environment is wrapped in ``VecCostMonitor`` and ``VecLagrangianReward``. λ moves once in a rollout, by
    the mean cost of the episodes that ended in it, and is logged as ``train/lagrange_multiplier``. λ and all
    that moves it are part of the model file. There is one critic, of the shaped reward, where the papers' code
    has one for the cost as well.

    Args:
        policy: as ``PPO``'s, and so are all arguments not listed here.
        env: gives ``info["cost"]`` at each step.
        cost_limit: allowed undiscounted cost of an episode.
        lagrange_lr: step size of λ, per unit of cost and rollout.
        lagrange_init: λ at first.
        lagrange_max: upper bound of λ.
        lagrange_normalize: divide the reward by ``1 + λ``.
        lagrange_state: a ``Multiplier.state_dict()`` to go on from; its limit is replaced by ``cost_limit``.
        n_envs: copies to make of a functional environment or an id.
        seed: of networks, actions and environment.
        **kwargs: ``PPO``'s other arguments.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range; or at a step, the cost is missing or no finite number.

    Attributes:
        multiplier: what λ is the ``value`` of.
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
        n_envs: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.lagrange_lr = lagrange_lr
        self._begin_multiplier(
            Multiplier(cost_limit, lr=lagrange_lr, init=lagrange_init, maximum=lagrange_max, manual=True),
            lagrange_state,
        )
        self.lagrange_init, self.lagrange_max = lagrange_init, lagrange_max
        self.lagrange_normalize = lagrange_normalize
        env = None if env is None else self._wrapped(prepare_env(env, n_envs, seed))
        super().__init__(policy, env, seed=seed, **kwargs)

    @property
    def cost_limit(self) -> float:
        """Allowed undiscounted cost of an episode."""
        return self.multiplier.limit

    @property
    def lagrange_state(self) -> dict[str, Any]:
        """Where the multiplier stands."""
        return self.multiplier.state_dict()

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """See ``JaxAlgorithm.set_env``; the environment is wrapped."""
        super().set_env(self._wrapped(prepare_env(env, None, self.seed)), force_reset)

    def _begin_multiplier(self, multiplier: Multiplier, state: Mapping[str, Any] | None) -> None:
        if state is not None:
            multiplier.load_state_dict({**state, "limit": multiplier.limit})
        self.multiplier = multiplier

    def _wrapped(self, env: VecEnv) -> VecEnv:
        # What another model has wrapped has the other's λ.
        env = _without(env, VecLagrangianReward)
        return VecLagrangianReward(
            _monitored(env), multiplier=self.multiplier, normalize=self.lagrange_normalize
        )

    def _log_update(self, metrics: DeepSPIMetrics) -> None:
        super()._log_update(metrics)
        self.logger.record("train/lagrange_multiplier", self.multiplier.update())


class PPOPID(PPOLag):
    """PPO-Lagrangian whose λ is that of a PID controller (Stooke et al. 2020, arXiv:2007.03964).

    Args:
        policy: as ``PPOLag``'s, and so are all arguments not listed here.
        env: gives ``info["cost"]`` at each step.
        pid: a mapping of some of the gains of ``spi_wrappers.PIDGains``, or these; there is no
            ``lagrange_lr``.
        **kwargs: ``PPOLag``'s other arguments.

    Raises:
        TypeError: an argument is no number, or ``pid`` no mapping.
        ValueError: an argument is out of range, or a gain is unknown.
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

    def _begin_multiplier(self, multiplier: Multiplier, state: Mapping[str, Any] | None) -> None:
        settings = {key: value for key, value in multiplier.settings().items() if key != "lr"}
        super()._begin_multiplier(Multiplier(**settings, pid=self._gains), state)


class PPOSaute(PPO):
    """Sauté PPO: PPO that sees what is left of the budget (Sootla et al. 2022, arXiv:2202.06558).

    The environment is wrapped in ``VecCostMonitor`` and ``VecSauteBudget``, so observations have one number or
    one key more than the environment's: evaluate on ``model.wrap_env(env)``.

    Args:
        policy: as ``PPO``'s, and so are all arguments not listed here.
        env: gives ``info["cost"]`` at each step.
        cost_limit: the budget of an episode; above 0.
        unsafe_reward: what a step earns once the budget is spent.
        saute_gamma: discount of the cost in (0, 1].
        n_envs: copies to make of a functional environment or an id.
        seed: of networks, actions and environment.
        **kwargs: ``PPO``'s other arguments.

    Raises:
        TypeError: an argument is no number, or observations cannot be extended.
        ValueError: an argument is out of range; or at a step, the cost is missing or no finite number.
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
        n_envs: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.cost_limit = real("cost_limit", cost_limit, above=0.0)
        self.unsafe_reward = real("unsafe_reward", unsafe_reward)
        self.saute_gamma = real("saute_gamma", saute_gamma, above=0.0, at_most=1.0)
        env = None if env is None else self.wrap_env(env, n_envs=n_envs, seed=seed)
        super().__init__(policy, env, seed=seed, **kwargs)

    def wrap_env(self, env: Any, *, n_envs: int | None = None, seed: int | None = None) -> VecEnv:
        """An environment whose observations are what the policy wants, for evaluation.

        Args:
            env: anything that ``PPO`` takes; not wrapped yet, or by this method.
            n_envs: copies to make of a functional environment or an id.
            seed: of a functional environment.
        """
        return self._saute(prepare_env(env, n_envs, seed), vars(self))

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """See ``JaxAlgorithm.set_env``; the environment is wrapped."""
        super().set_env(self.wrap_env(env, seed=self.seed), force_reset)

    @classmethod
    def _adapt_loaded_env(cls, env: VecEnv, arguments: Mapping[str, Any]) -> VecEnv:
        return cls._saute(env, arguments)

    @staticmethod
    def _saute(env: VecEnv, arguments: Mapping[str, Any]) -> VecEnv:
        return VecSauteBudget(
            _monitored(_without(env, VecSauteBudget)),
            budget=arguments["cost_limit"],
            gamma=arguments["saute_gamma"],
            unsafe_reward=arguments["unsafe_reward"],
        )


class PPOEarly(PPO):
    """Early-terminated PPO: an episode ends in the step that brings its cost above the limit.

    The environment is wrapped in ``spi_wrappers.CostLimit`` and ``VecCostMonitor``. Return and cost in the log
    are those of the episodes that were cut short.

    Args:
        policy: as ``PPO``'s, and so are all arguments not listed here.
        env: gives ``info["cost"]`` at each step; not a ``VecEnv`` whose copies live in other processes, are
            EnvPool's or are wrapped: wrap their single environments in ``CostLimit`` and use ``PPO``.
        cost_limit: allowed cost of an episode.
        limit_reward: what replaces the reward of the step that ends an episode, if anything.
        n_envs: copies to make of a functional environment or an id.
        seed: of networks, actions and environment.
        **kwargs: ``PPO``'s other arguments.

    Raises:
        TypeError: an argument is no number, or the environment cannot be wrapped.
        ValueError: an argument is out of range; or at a step, the cost is missing or no finite number.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (*PPO.stored_arguments, "cost_limit", "limit_reward")

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        cost_limit: float = 25.0,
        limit_reward: float | None = None,
        n_envs: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.cost_limit = real("cost_limit", cost_limit, at_least=0.0)
        self.limit_reward = None if limit_reward is None else real("limit_reward", limit_reward)
        env = None if env is None else self._limited(prepare_env(env, n_envs, seed), seed)
        super().__init__(policy, env, seed=seed, **kwargs)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """See ``JaxAlgorithm.set_env``; the environment is wrapped."""
        super().set_env(self._limited(prepare_env(env, None, self.seed), self.seed), force_reset)

    def _limited(self, env: VecEnv, seed: int | None) -> VecEnv:
        if isinstance(env, _LimitedVecEnv):
            env = env.source
        how: dict[str, Any] = {"limit": self.cost_limit, "reward": self.limit_reward}
        limited = _limit_rows(env, how)
        if seed is not None:
            limited.seed(seed)
        return _LimitedVecEnv(limited, env)


class _LimitedVecEnv(VecCostMonitor):
    """Remembers what it was made of, so that another limit can take the place of this one."""

    def __init__(self, venv: VecEnv, source: VecEnv) -> None:
        super().__init__(venv)
        self.source = source


def _limit_rows(env: VecEnv, how: Mapping[str, Any]) -> VecEnv:
    """A ``VecEnv`` of the same copies whose episodes end above a limit."""
    vector: VectorEnv[Any, Any, Any]
    if isinstance(env, FunctionalVecEnv):
        from spi_wrappers.functional import FunctionalVectorEnv

        vector = FunctionalVectorEnv(env.num_envs, env.functional)
        return as_vec_env(VectorCostLimit(vector, **how))
    if isinstance(env, GymVectorEnvAdapter):
        return as_vec_env(VectorCostLimit(env.env, **how))
    if isinstance(env, DummyVecEnv):
        return DummyVecEnv([_maker(CostLimit(single, **how)) for single in env.envs])
    raise TypeError(
        f"ppo_early cannot end single episodes of a {type(env).__name__}. Wrap the single environments in "
        "spi_wrappers.CostLimit, or a Gymnasium VectorEnv in spi_wrappers.vector.CostLimit, and use 'ppo'."
    )


def _maker(env: CostLimit) -> Callable[[], CostLimit]:
    return lambda: env


def _without(env: VecEnv, wrapper: type[_Wrapper]) -> VecEnv:
    """The environment inside of ``wrapper``, if that is outermost."""
    return env.venv if isinstance(env, wrapper) else env


def _monitored(env: VecEnv) -> VecEnv:
    inner: VecEnv = env
    while isinstance(inner, AccountVecEnv):
        if isinstance(inner, VecCostMonitor):
            return env
        inner = inner.venv
    return VecCostMonitor(env)
