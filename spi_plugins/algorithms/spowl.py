"""``SPOWL`` and ``TDMPC2`` under SB3's face: one agent, with costs and without."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from spi_plugins import plugins
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.algorithms.planning import PlanningAlgorithm
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.checks import check_choice, check_integer, check_number
from spi_plugins.planners.decision import adaptive
from spi_plugins.planners.planner import Planner
from spi_plugins.world_models.tdmpc import TDMPCConfig

ModelSize = Literal["5m", "small"]
Decision = Literal["bootstrap", "mean"]

_MODEL_SIZES: dict[str, dict[str, Any]] = {
    "5m": {},
    "small": {"encoder_hidden": (64,), "latent_dim": 64, "hidden": (64, 64)},
}
_BATCH_SIZES = {"5m": 256, "small": 64}
_PLANNER_SIZES: dict[str, dict[str, Any]] = {
    "5m": {},
    "small": {"num_samples": 64, "num_prior": 8, "num_elites": 16, "iterations": 3},
}
# Fields of the configurations that are arguments of their own, or follow from others.
_OWN_MODEL_FIELDS = {"gamma", "cost_gamma", "horizon", "official_log_prob"}
_OWN_FIELDS = {
    *("model", "batch_size", "tau", "ent_coef", "max_grad_norm", "lagrangian", "cost_limit"),
    *("official_consistency", "official_scale", "official_boundaries"),
}


class TDMPC2(PlanningAlgorithm):
    """TD-MPC2 (arXiv:2310.16828): plan by MPPI in a learned latent world; costs are not looked at.

    The same agent as ``SPOWL`` without costs, so that the two compare. Steps are the environment's: wrap it in
    ``spi_wrappers.ActionRepeat`` for the papers' frames.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"`` or ``"MultiInputPolicy"``.
        env: see ``JaxAlgorithm``; actions in a ``Box``.
        learning_rate: a number or a function of the remaining progress (1 to 0).
        buffer_size: slots of the replay buffer, of all environments together.
        buffer_device: ``"device"``, ``"host"`` for files that are mapped into memory, or ``"auto"``: the device if the
            buffer takes less than half of its memory.
        learning_starts: steps with uniform actions before the first update.
        batch_size: windows in a gradient step; by default 256, or 64 of the small size.
        tau: rate at which the slow critics follow.
        gamma: discount per step; the papers' is for episodes of 200 steps.
        horizon: steps of a training window and of a plan.
        train_freq: steps of each environment between two updates.
        gradient_steps: of an update; -1 for as many as steps came in, all environments together.
        ent_coef: weight of the policy's entropy.
        max_grad_norm: bound of the gradient's norm, of model and policy each.
        planner: a registered name (``spi list planners``), or a ``Planner``.
        planner_kwargs: the planner's settings; with a ``Planner`` none.
        decision: when the plan is followed instead of the policy: ``None`` always, ``"mean"`` if its value is no
            lower (and its cost value no higher), ``"bootstrap"`` if that cannot be excluded.
        model_size: ``"5m"``, the papers', for a GPU, or ``"small"``; ``policy_kwargs`` and ``planner_kwargs``
            override what it sets.
        loss_kwargs: further fields of ``SPOWLConfig``.
        official: reproduce the published code's errors, numbered in ``docs/spowl.md``.
        n_envs: copies to make of a functional environment (default 128) or an id (default 1).
        info_metrics: put what the planner reports into ``info["plan"]``, for callbacks.
        stats_window_size: episodes in the log's running means.
        tensorboard_log: folder for tensorboard.
        policy_kwargs: fields of ``TDMPCConfig``: widths, heads, dropout, bins.
        verbose: 0 silent, 1 information, 2 debugging.
        seed: of networks, actions and environment.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``.

    Raises:
        ValueError: an argument out of range.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *PlanningAlgorithm.stored_arguments,
        *(
            "buffer_size",
            "buffer_device",
            "learning_starts",
            "batch_size",
            "tau",
            "gamma",
            "horizon",
            "train_freq",
        ),
        *(
            "gradient_steps",
            "ent_coef",
            "max_grad_norm",
            "planner",
            "planner_kwargs",
            "decision",
            "model_size",
        ),
        *("loss_kwargs", "official", "info_metrics"),
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,
        buffer_device: Literal["auto", "device", "host"] = "auto",
        learning_starts: int = 1000,
        batch_size: int | None = None,
        tau: float = 0.01,
        gamma: float = 0.975,
        horizon: int = 3,
        train_freq: int = 100,
        gradient_steps: int = -1,
        ent_coef: float = 1e-4,
        max_grad_norm: float = 20.0,
        planner: str | Planner = "mppi",
        planner_kwargs: dict[str, Any] | None = None,
        decision: Decision | None = None,
        model_size: ModelSize = "5m",
        loss_kwargs: dict[str, Any] | None = None,
        official: bool = False,
        n_envs: int | None = None,
        info_metrics: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ):
        check_integer("buffer_size", buffer_size, low=1)
        check_integer("learning_starts", learning_starts, low=0)
        if batch_size is not None:
            check_integer("batch_size", batch_size, low=1)
        check_integer("horizon", horizon, low=1)
        check_integer("train_freq", train_freq, low=1)
        if gradient_steps != -1:
            check_integer("gradient_steps", gradient_steps, low=1)
        for name, value in (("tau", tau), ("gamma", gamma)):
            check_number(name, value, low=0.0, high=1.0)
        check_number("ent_coef", ent_coef, low=0.0)
        check_number("max_grad_norm", max_grad_norm, low=0.0, open_low=True)
        check_choice("model_size", model_size, tuple(_MODEL_SIZES))
        check_choice("buffer_device", buffer_device, ("auto", "device", "host"))
        check_choice("decision", decision, (None, "mean", "bootstrap"))
        for name, switch in (("official", official), ("info_metrics", info_metrics)):
            check_choice(name, switch, (True, False))
        self.batch_size = batch_size or _BATCH_SIZES[model_size]
        if not isinstance(planner, str | Planner):
            hint = " A model file has no planners but by name: load(..., planner=...)." * isinstance(
                planner, list
            )
            raise ValueError(f"planner must be a registered name or a Planner, got {planner!r}.{hint}")
        for name, kwargs in (("planner_kwargs", planner_kwargs), ("loss_kwargs", loss_kwargs)):
            if not isinstance(kwargs, Mapping | None):
                raise ValueError(f"{name} must be a dict, got {kwargs!r}.")
        if not isinstance(planner, str) and planner_kwargs:
            raise ValueError("planner_kwargs are for a planner's name; a Planner has its settings already.")
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_envs=n_envs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        self.buffer_size = buffer_size
        self.buffer_device = buffer_device
        self.learning_starts = learning_starts
        self.tau = tau
        self.gamma = gamma
        self.horizon = horizon
        self.train_freq = train_freq
        self.gradient_steps = gradient_steps
        self.ent_coef = ent_coef
        self.max_grad_norm = max_grad_norm
        self.planner = planner
        self.planner_kwargs = dict(planner_kwargs or {})
        self.decision = decision
        self.model_size = model_size
        self.loss_kwargs = dict(loss_kwargs or {})
        self.official = official
        self.info_metrics = info_metrics
        if _init_setup_model:
            if env is None:
                raise ValueError("env is missing; without one, use load() for prediction only.")
            self._setup_model()

    def _costs(self) -> dict[str, Any]:
        """The settings that only agents with costs have: of ``SPOWLConfig`` and of its model."""
        return {"lagrangian": False}

    def _model_costs(self) -> dict[str, Any]:
        return {"n_costs": 0}

    def _config(self) -> SPOWLConfig:
        own = {*_OWN_MODEL_FIELDS, *self._model_costs()}
        widths = _further(TDMPCConfig, "policy_kwargs", self.policy_kwargs, own)
        model = TDMPCConfig(
            **{
                **_MODEL_SIZES[self.model_size],
                **self._model_costs(),
                **widths,
                "gamma": self.gamma,
                "horizon": self.horizon,
            }
        )
        settings = {
            **_further(SPOWLConfig, "loss_kwargs", self.loss_kwargs, _OWN_FIELDS),
            **self._costs(),
            "model": model,
            "batch_size": self.batch_size,
            "tau": self.tau,
            "ent_coef": self.ent_coef,
            "max_grad_norm": self.max_grad_norm,
        }
        return SPOWLConfig.official(**settings) if self.official else SPOWLConfig(**settings)

    def _make_planner(self) -> Planner:
        if isinstance(self.planner, str):
            factory = plugins.resolve("planners", self.planner)
            sizes = _PLANNER_SIZES[self.model_size] if self.planner in _SIZED else {}
            planner: Planner = factory(**{**sizes, **self.planner_kwargs})
        else:
            planner = self.planner
        return planner if self.decision is None else adaptive(planner, rule=self.decision)

    def _make_agent(self) -> PlanningAgent:
        observations, actions = self._specs()
        self.policy_class.check_observations(observations)
        if actions.kind != "box":
            raise ValueError(
                f"{type(self).__name__} needs actions in a Box, got {self.action_space}; DeepSPI and PPO take others."
            )
        return make_spowl(observations, actions, self._config(), self._make_planner())

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """See ``PlanningAlgorithm.learn``. Warns if the papers' size is trained on a CPU."""
        if self.model_size == "5m" and self.jax_device.platform == "cpu":
            warnings.warn(
                f"{type(self).__name__} of the papers' size (model_size='5m') on a CPU takes seconds for every "
                "decision and every gradient step. For a CPU: model_size='small'.",
                stacklevel=2,
            )
        return super().learn(*args, **kwargs)


# Planners that have the settings of _PLANNER_SIZES.
_SIZED = ("mppi", "ccem", "safe_improvement")


def _further(cls: type[Any], argument: str, given: Mapping[str, Any], own: set[str]) -> dict[str, Any]:
    """The fields of a configuration that a dict sets, checked by name; lists, as JSON has them, become tuples."""
    allowed = {field.name for field in dataclasses.fields(cls)} - own
    unknown = sorted(set(given) - allowed)
    if unknown:
        raise ValueError(f"{argument} has unknown keys {unknown}; allowed are {', '.join(sorted(allowed))}.")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


class SPOWL(TDMPC2):
    """SPOWL (arXiv:2506.04828, ECAI 2025): a safe policy and safe plans in a learned latent world.

    The environment gives ``info["cost"]``. The policy's loss has the cost critics in an augmented Lagrangian; the
    planner fits to sequences that are no worse than the policy's in return and in cost; and a plan is followed only
    where its value is no lower and its cost value no higher than the policy's (``decision``). Deviations from the
    official code are numbered in ``docs/spowl.md``.

    Args:
        policy: as ``TDMPC2``'s, and so are ``env`` and all arguments not listed here.
        env: see ``JaxAlgorithm``.
        cost_limit: bound of the policy's mean cost *value*, the discounted sum of the costs from a step on, in the
            Lagrangian. The published default asks for almost none.
        cost_gamma: discount of costs per step.
        use_lagrangian: false leaves safety to the planner.
        planner: by default ``"safe_improvement"``.
        decision: by default ``"bootstrap"``, as the code; the paper's is ``"mean"``, ``None`` follows every plan.
        **kwargs: ``TDMPC2``'s arguments.

    Raises:
        ValueError: as ``TDMPC2``.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *TDMPC2.stored_arguments,
        *("cost_limit", "cost_gamma", "use_lagrangian"),
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *args: Any,
        cost_limit: float = 0.1,
        cost_gamma: float = 0.997,
        use_lagrangian: bool = True,
        planner: str | Planner = "safe_improvement",
        decision: Decision | None = "bootstrap",
        **kwargs: Any,
    ):
        check_number("cost_limit", cost_limit, low=0.0)
        check_number("cost_gamma", cost_gamma, low=0.0, high=1.0)
        check_choice("use_lagrangian", use_lagrangian, (True, False))
        self.cost_limit = cost_limit
        self.cost_gamma = cost_gamma
        self.use_lagrangian = use_lagrangian
        super().__init__(policy, env, *args, **{"planner": planner, "decision": decision, **kwargs})

    def _costs(self) -> dict[str, Any]:
        return {"lagrangian": self.use_lagrangian, "cost_limit": self.cost_limit}

    def _model_costs(self) -> dict[str, Any]:
        return {"cost_gamma": self.cost_gamma}
