"""``SPOWL`` and ``TDMPC2`` under SB3's face: one agent, with costs and without."""

import warnings
from typing import Any, ClassVar, Literal

from spi_plugins import plugins
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.agents.spowl.config import OFFICIAL_ERRORS, SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.algorithms import signatures
from spi_plugins.algorithms.action_masks import offers_masks
from spi_plugins.algorithms.planning import PlanningAlgorithm
from spi_plugins.algorithms.settings import PlanningSettings, SafetySettings, ShellSettings
from spi_plugins.backend import at_precision
from spi_plugins.hyperparameters import configured, declared
from spi_plugins.planners.decision import adaptive
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.shield import shielded
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

_MODEL_SIZES: dict[str, dict[str, Any]] = {
    "5m": {},
    "small": {"encoder_hidden": (64,), "latent_dim": 64, "hidden": (64, 64)},
}
_BATCH_SIZES = {"5m": 256, "small": 64}
_PLANNER_SIZES: dict[str, dict[str, Any]] = {
    "5m": {},
    "small": {"num_samples": 64, "num_prior": 8, "num_elites": 16, "iterations": 3},
}
# Planners that have these settings.
_SIZED = ("mppi", "ccem", "safe_improvement")
_HYPERPARAMETERS = (
    declared(PlanningSettings)
    | declared(SPOWLConfig, "tau", "ent_coef", "max_grad_norm")
    | declared(TDMPCConfig, "gamma", "horizon", "episodic")
)
_SHELL = declared(ShellSettings)
_SHELL["policy_kwargs"] = _SHELL["policy_kwargs"]._replace(
    help="Further settings of the world model, fields of `TDMPCConfig`"
)


class _Planning(PlanningAlgorithm):
    """What SPOWL and TD-MPC2 share."""

    has_costs: ClassVar[bool] = True
    batch_size: int
    planner: str | Planner
    planner_kwargs: dict[str, Any]
    decision: Literal["mean", "bootstrap"] | None
    model_size: Literal["5m", "small"]
    shield: float | None = None
    loss_kwargs: dict[str, Any]
    official: bool
    precision: Literal["highest", "tf32", "bf16"]

    def _check_arguments(self) -> None:
        if not isinstance(self.planner, str | Planner):
            hint = " A model file has planners only by name: load(..., planner=...)."
            raise ValueError(
                f"planner must be a registered name or a Planner, got {self.planner!r}."
                f"{hint if isinstance(self.planner, list) else ''}"
            )
        if isinstance(self.planner, Planner) and self.planner_kwargs:
            raise ValueError("planner_kwargs are for a planner's name; a Planner already has its settings.")
        self.batch_size = self.batch_size or _BATCH_SIZES[self.model_size]
        self._config()
        self._make_planner()

    def _config(self) -> SPOWLConfig:
        model = configured(
            TDMPCConfig,
            {**_MODEL_SIZES[self.model_size], **self.policy_kwargs},
            "policy_kwargs",
            **self._own(TDMPCConfig),
            **({} if self.has_costs else {"n_costs": 0}),
            official_log_prob=self.official,
        )
        return configured(
            SPOWLConfig,
            self.loss_kwargs,
            "loss_kwargs",
            model=model,
            **self._own(SPOWLConfig),
            **({} if self.has_costs else {"use_lagrangian": False, "cost_limit": 0.0}),
            **dict.fromkeys(OFFICIAL_ERRORS, self.official),
        )

    def _own(self, cls: type[Any]) -> dict[str, Any]:
        """Fields of a config that are arguments of their own."""
        return {name: getattr(self, name) for name in declared(cls) if name in self.hyperparameters}

    def _make_planner(self) -> Planner:
        if isinstance(self.planner, str):
            factory = plugins.resolve("planners", self.planner)
            sizes = _PLANNER_SIZES[self.model_size] if self.planner in _SIZED else {}
            planner: Planner = factory(**{**sizes, **self.planner_kwargs})
        else:
            planner = self.planner
        if self.decision is not None:
            planner = adaptive(planner, rule=self.decision)
        return planner if self.shield is None else shielded(planner, self.shield)

    def _make_agent(self) -> PlanningAgent:
        observations, actions = self._specs()
        self.policy_class.check_observations(observations)
        agent = make_spowl(observations, actions, self._config(), self._make_planner())
        parts = ("act", "step", "update")
        if actions.nvec and self.random_scale != 1.0:
            raise ValueError(
                f"random_scale must be 1 for discrete actions, which have no size, got {self.random_scale!r}."
            )
        precise = {name: at_precision(getattr(agent, name), self.precision) for name in parts}
        return agent._replace(**precise, random_scale=self.random_scale)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """See ``PlanningAlgorithm.learn``. Warns if the papers' size is trained on a CPU, or masks are ignored."""
        if self.env is not None and offers_masks(self.env):
            warnings.warn(
                f"{type(self).__name__} ignores action_masks(): its plans may contain any action.",
                stacklevel=2,
            )
        if self.model_size == "5m" and self.jax_device.platform == "cpu":
            warnings.warn(
                f"{type(self).__name__} of the papers' size (model_size='5m') on a CPU takes seconds for every "
                "decision and every gradient step. For a CPU: model_size='small'.",
                stacklevel=2,
            )
        return super().learn(*args, **kwargs)


class TDMPC2(signatures.TDMPC2, _Planning):
    """TD-MPC2 (arXiv:2310.16828): plan by MPPI in a learned latent world and ignore costs.

    The same agent as ``SPOWL`` without costs, so that the two compare. Steps are the environment's: wrap it in
    ``spi_wrappers.ActionRepeat`` for the papers' frames. Discrete actions are ours, see ``docs/spowl.md``.

    Raises:
        ValueError: an argument is out of range.
    """

    has_costs = False
    hyperparameters = _HYPERPARAMETERS | _SHELL


class SPOWL(signatures.SPOWL, _Planning):
    """SPOWL (arXiv:2506.04828, ECAI 2025): a safe policy and safe plans in a learned latent world.

    The environment must report ``info["cost"]``. The policy's loss has the cost critics in an augmented Lagrangian; the
    planner fits to sequences that are no worse than the policy's in return and in cost; and a plan is followed only
    where its value is no lower and its cost value no higher than the policy's (``decision``; the paper's rule is
    ``"mean"``). Deviations from the official code are numbered in ``docs/spowl.md``.

    Raises:
        ValueError: an argument is out of range.
    """

    # ``cost_limit`` bounds the discounted cost from a step on, not an episode's.
    episode_cost_limit: ClassVar[float | None] = None
    hyperparameters = (
        _HYPERPARAMETERS
        | {"planner": _HYPERPARAMETERS["planner"]._replace(default="safe_improvement")}
        | {"decision": _HYPERPARAMETERS["decision"]._replace(default="bootstrap")}
        | declared(SPOWLConfig, "cost_limit", "use_lagrangian", "multiplier_horizon")
        | declared(TDMPCConfig, "cost_gamma")
        | declared(SafetySettings)
        | _SHELL
    )
