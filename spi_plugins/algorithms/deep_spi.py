"""``DeepSPI``, ``DeepMDP`` and ``PPO`` under SB3's face: one agent, three places for the model losses."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from stable_baselines3.common.utils import LinearSchedule

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule, check_schedule
from spi_plugins.checks import check_choice, check_integer, check_number
from spi_plugins.fitting.deep_mdp import make_deep_mdp_world
from spi_plugins.losses.deep_spi import Auxiliary
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.world_models.deep_mdp import DeepMDPConfig
from spi_plugins.world_models.model import WorldModel

TransitionDensity = Literal["deterministic", "normal", "mixture", "categorical"]
DENSITIES = ("deterministic", "normal", "mixture", "categorical")
# The official batch: 128 environments times 8 steps.
DEFAULT_ROLLOUT = 1024


class PPO(OnPolicyAlgorithm):
    """Proximal policy optimization (arXiv:1707.06347) with Deep SPI's networks: its baseline.

    The defaults are those of the Deep SPI paper's code for Atari, not SB3's.

    Args:
        policy: ``"MlpPolicy"``, ``"CnnPolicy"`` or ``"MultiInputPolicy"``.
        env: see ``JaxAlgorithm``.
        learning_rate: a number or a function of the remaining progress (1 to 0); by default 2.5e-4 annealed
            to 0.
        n_steps: steps of each environment in a rollout; by default as many as make 1024 transitions (8 for
            the papers' 128 environments).
        batch_size: transitions in a minibatch, a divisor of ``n_steps * n_envs``; by default the one
            nearest to a quarter of them.
        n_epochs: passes over each rollout.
        gamma: discount per environment step.
        gae_lambda: trade-off of the advantage estimate between bias (0) and variance (1).
        clip_range: a number or a function of the remaining progress; the neighborhood is ``[1 - c, 1 + c]``.
        clip_range_vf: bound on the critic's change in an update, in return units; ``None`` for no bound.
        normalize_advantage: zero mean and unit deviation within each minibatch.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: bound on the global gradient norm.
        target_kl: stop an update's remaining steps once the KL estimate passes 1.5 times this.
        n_envs: copies to make of a functional environment (default 128) or an id (default 1).
        compiled: scan rollout and update in one program: ``None`` where the environment allows it (functional
            environments, envpool on Linux), ``True`` to insist, ``False`` to step in Python.
        stats_window_size: episodes in the log's running means.
        tensorboard_log: folder for tensorboard.
        policy_kwargs: sizes of the networks, see ``JaxAlgorithm``.
        verbose: 0 silent, 1 information, 2 debugging.
        seed: of networks, actions and environment.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``.

    Raises:
        ValueError: an argument out of range, or a batch size that does not divide the rollout.
    """

    auxiliary: ClassVar[Auxiliary] = "none"
    stored_arguments: ClassVar[tuple[str, ...]] = (
        *OnPolicyAlgorithm.stored_arguments,
        *("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "clip_range_vf"),
        *("normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm", "target_kl", "compiled"),
    )
    schedules: ClassVar[tuple[str, ...]] = ("learning_rate", "clip_range")

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | Schedule = LinearSchedule(2.5e-4, 0.0, 1.0),  # noqa: B008  stateless
        n_steps: int | None = None,
        batch_size: int | None = None,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.1,
        clip_range_vf: float | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        n_envs: int | None = None,
        compiled: bool | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ):
        if n_steps is not None:
            check_integer("n_steps", n_steps, low=1)
        if batch_size is not None:
            check_integer("batch_size", batch_size, low=2)
        check_integer("n_epochs", n_epochs, low=1)
        for name, value in (("gamma", gamma), ("gae_lambda", gae_lambda)):
            check_number(name, value, low=0.0, high=1.0)
        for name, value in (("ent_coef", ent_coef), ("vf_coef", vf_coef)):
            check_number(name, value, low=0.0)
        check_number("max_grad_norm", max_grad_norm, low=0.0, open_low=True)
        for name, optional in (("clip_range_vf", clip_range_vf), ("target_kl", target_kl)):
            if optional is not None:
                check_number(name, optional, low=0.0, open_low=True)
        check_choice("compiled", compiled, (None, True, False))
        check_schedule("clip_range", clip_range, open_low=True)
        self.clip_range = clip_range
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
        sizes = {"n_steps": n_steps, "batch_size": batch_size}
        self.automatic_arguments = frozenset(name for name, size in sizes.items() if size is None)
        self.n_steps = n_steps  # type: ignore[assignment]  # chosen in _setup_model, by the number of copies
        self.batch_size = batch_size  # type: ignore[assignment]
        self.n_epochs = n_epochs
        self.gamma = gamma
        self.gae_lambda = gae_lambda
        self.clip_range_vf = clip_range_vf
        self.normalize_advantage = normalize_advantage
        self.ent_coef = ent_coef
        self.vf_coef = vf_coef
        self.max_grad_norm = max_grad_norm
        self.target_kl = target_kl
        self.compiled = compiled
        if _init_setup_model:
            if env is None:
                raise ValueError("env is missing; without one, use load() for prediction only.")
            self._setup_model()

    def _choose_batches(self) -> None:
        """Fill in the sizes that were left open, and check that minibatches divide the rollout."""
        if self.n_steps is None:
            # A multiple of the steps after which four minibatches come out even.
            even = 4 // math.gcd(4, self.n_envs)
            self.n_steps = max(DEFAULT_ROLLOUT // self.n_envs // even, 1) * even
        total = self.n_steps * self.n_envs
        product = f"n_steps * n_envs = {self.n_steps} * {self.n_envs} = {total}"
        if total < 2:
            raise ValueError(f"{product} must be at least 2: a minibatch of one has no mean to compare with.")
        divisors = [d for d in range(2, total + 1) if total % d == 0]
        if self.batch_size is None:
            self.batch_size = min(divisors, key=lambda d: abs(d - total / 4))
        if total % self.batch_size:
            close = sorted(divisors, key=lambda d: abs(d - self.batch_size))[:4]
            raise ValueError(
                f"batch_size={self.batch_size} does not divide {product}; nearby sizes that do: "
                f"{', '.join(map(str, sorted(close)))}."
            )

    def _objective(self) -> dict[str, Any]:
        """The settings that only agents with a world model have."""
        return {}

    def _world_model_config(self) -> DeepMDPConfig:
        return DeepMDPConfig()

    def _world(self) -> WorldModel | None:
        if self.agent.world_model is None:
            return None
        observations, actions = self._specs()
        return make_deep_mdp_world(
            observations,
            actions,
            encoder=dataclasses.asdict(self._policy_config()),
            model=dataclasses.asdict(self._world_model_config()),
            gamma=self.gamma,
        )

    def _policy_config(self) -> ActorCriticConfig:
        return self.policy_class.config(self._specs()[0], self.policy_kwargs)

    def _agent_config(self) -> DeepSPIConfig:
        return DeepSPIConfig(
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_epochs=self.n_epochs,
            batch_size=self.batch_size,
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef,
            max_grad_norm=self.max_grad_norm,
            normalize_advantage=self.normalize_advantage,
            clip_range_vf=self.clip_range_vf,
            target_kl=self.target_kl,
            auxiliary=self.auxiliary,
            **self._objective(),
        )

    def _make_agent(self) -> OnPolicyAgent:
        self._choose_batches()
        return make_deep_spi(
            *self._specs(), self._policy_config(), self._agent_config(), self._world_model_config()
        )


class DeepSPI(PPO):
    r"""Deep SPI (arXiv:2510.12312, ICLR 2026): model losses inside the clipped surrogate.

    The advantage becomes the per-sample utility
    :math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P`, which the ratio multiplies and the clip bounds.
    The deviations from the official code are numbered in ``docs/deep_spi.md``. With both coefficients 0 this
    is ``PPO`` bit for bit.

    Args:
        policy: as ``PPO``'s, and so are ``env`` and all arguments not listed here.
        env: see ``JaxAlgorithm``.
        reward_loss_coef: :math:`\alpha_R`.
        transition_loss_coef: :math:`\alpha_P`; the transition loss is a sum over the latent's dimensions.
        transition_density: ``"mixture"`` of normals, ``"normal"``, ``"deterministic"``, ``"categorical"``.
        lipschitz: certified 1-Lipschitz latent model; false uses plain networks with a gradient penalty.
        termination_model: also learn to predict termination (dreams need it).
        piecewise_auxiliary: subtract each sample's own loss; false subtracts the minibatch mean.
        drift_coef: ``None`` for the clipped surrogate, else the weight of the mirror-learning drift form.
        world_model_kwargs: further fields of ``DeepMDPConfig``.
        **kwargs: ``PPO``'s arguments.

    Raises:
        ValueError: as ``PPO``, or an unknown key in ``world_model_kwargs``.
    """

    auxiliary: ClassVar[Auxiliary] = "utility"
    stored_arguments: ClassVar[tuple[str, ...]] = (
        *PPO.stored_arguments,
        *("reward_loss_coef", "transition_loss_coef", "transition_density", "lipschitz", "termination_model"),
        *("piecewise_auxiliary", "drift_coef", "world_model_kwargs"),
    )

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *args: Any,
        reward_loss_coef: float = 0.01,
        transition_loss_coef: float = 5e-4,
        transition_density: TransitionDensity = "mixture",
        lipschitz: bool = True,
        termination_model: bool = False,
        piecewise_auxiliary: bool = True,
        drift_coef: float | None = None,
        world_model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        check_number("reward_loss_coef", reward_loss_coef, low=0.0)
        check_number("transition_loss_coef", transition_loss_coef, low=0.0)
        check_choice("transition_density", transition_density, DENSITIES)
        if drift_coef is not None:
            check_number("drift_coef", drift_coef, low=0.0)
        own = {"transition_density", "lipschitz", "termination"}
        allowed = {field.name for field in dataclasses.fields(DeepMDPConfig)} - own
        unknown = sorted(set(world_model_kwargs or {}) - allowed)
        if unknown:
            raise ValueError(
                f"world_model_kwargs has unknown keys {unknown}; allowed are {', '.join(sorted(allowed))}."
            )
        self.reward_loss_coef = reward_loss_coef
        self.transition_loss_coef = transition_loss_coef
        self.transition_density = transition_density
        self.lipschitz = lipschitz
        self.termination_model = termination_model
        self.piecewise_auxiliary = piecewise_auxiliary
        self.drift_coef = drift_coef
        self.world_model_kwargs = dict(world_model_kwargs or {})
        super().__init__(policy, env, *args, **kwargs)

    def _objective(self) -> dict[str, Any]:
        return {
            "reward_loss_coef": self.reward_loss_coef,
            "transition_loss_coef": self.transition_loss_coef,
            "piecewise_auxiliary": self.piecewise_auxiliary,
            "drift_coef": self.drift_coef,
        }

    def _world_model_config(self) -> DeepMDPConfig:
        # Widths come as lists out of a model file or a YAML file.
        further: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.world_model_kwargs.items()
        }
        return DeepMDPConfig(
            transition_density=self.transition_density,
            lipschitz=self.lipschitz,
            termination=self.termination_model,
            **further,
        )


class DeepMDP(DeepSPI):
    """DeepMDP (arXiv:1906.02736) on PPO: the same model losses, added beside the clipped surrogate.

    Arguments and defaults are those of ``DeepSPI``, for a comparison of like with like.
    """

    auxiliary: ClassVar[Auxiliary] = "additive"
