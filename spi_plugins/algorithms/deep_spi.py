"""``DeepSPI``, ``DeepMDP`` and ``PPO`` under SB3's face: one agent, three places for the model losses."""

from typing import Any, ClassVar, Literal

from stable_baselines3.common.utils import LinearSchedule

from spi_plugins.agents.deep_spi.config import DeepSPIConfig, PPOConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS, ClippedAlgorithm
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.algorithms.settings import LearningRate, RolloutSettings, ShellSettings
from spi_plugins.hyperparameters import declared
from spi_plugins.losses.deep_spi import Auxiliary


class _OnRollouts(ClippedAlgorithm):
    """Learns from real steps alone."""

    def _make_agent(self) -> OnPolicyAgent:
        self._choose_batches()
        return make_deep_spi(
            *self._specs(), self._policy_config(), self._agent_config(), self._world_model_config()
        )


class PPO(_OnRollouts):
    """Proximal policy optimization (arXiv:1707.06347) with Deep SPI's networks: its baseline.

    The defaults are those of the Deep SPI paper's code for Atari, not SB3's.

    Raises:
        ValueError: an argument is out of range, or the batch size does not divide the rollout.
    """

    auxiliary: ClassVar[Auxiliary] = "none"
    hyperparameters = (
        declared(LearningRate)
        | declared(RolloutSettings)
        | declared(PPOConfig, without=("batch_size",))
        | declared(ShellSettings)
    )

    # <signature of PPO>
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | Schedule = LinearSchedule(start=0.00025, end=0.0, end_fraction=1.0),
        n_steps: int | None = None,
        batch_size: int | None = None,
        *,
        clip_range: float | Schedule = 0.1,
        compiled: bool | None = None,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range_vf: float | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(policy, env, locals())

    # </signature>


class DeepSPI(_OnRollouts):
    r"""Deep SPI (arXiv:2510.12312, ICLR 2026): model losses inside the clipped surrogate.

    The advantage becomes the per-sample utility
    :math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P`, which the ratio multiplies and the clip bounds.
    The deviations from the official code are numbered in ``docs/deep_spi.md``. With both coefficients 0 this
    is ``PPO`` bit for bit.

    Raises:
        ValueError: an argument is out of range, or ``world_model_kwargs`` has an unknown key.
    """

    auxiliary: ClassVar[Auxiliary] = "utility"
    hyperparameters = (
        declared(LearningRate)
        | declared(RolloutSettings)
        | declared(DeepSPIConfig, without=("batch_size", "auxiliary", "termination_loss"))
        | WORLD_MODEL_HYPERPARAMETERS
        | declared(ShellSettings)
    )

    # <signature of DeepSPI>
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | Schedule = LinearSchedule(start=0.00025, end=0.0, end_fraction=1.0),
        n_steps: int | None = None,
        batch_size: int | None = None,
        *,
        clip_range: float | Schedule = 0.1,
        compiled: bool | None = None,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range_vf: float | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        reward_loss_coef: float = 0.01,
        transition_loss_coef: float = 0.0005,
        piecewise_auxiliary: bool = True,
        drift_coef: float | None = None,
        transition_density: Literal["deterministic", "normal", "mixture", "categorical"] = "mixture",
        lipschitz: bool = True,
        termination_model: bool = False,
        world_model_kwargs: dict[str, Any] | None = None,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(policy, env, locals())

    # </signature>


class DeepMDP(_OnRollouts):
    """DeepMDP (arXiv:1906.02736) on PPO: the same model losses, added to the clipped surrogate.

    Arguments and defaults are those of ``DeepSPI``, for a comparison of like with like.
    """

    auxiliary: ClassVar[Auxiliary] = "additive"
    hyperparameters = DeepSPI.hyperparameters

    # <signature of DeepMDP>
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | Schedule = LinearSchedule(start=0.00025, end=0.0, end_fraction=1.0),
        n_steps: int | None = None,
        batch_size: int | None = None,
        *,
        clip_range: float | Schedule = 0.1,
        compiled: bool | None = None,
        n_epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range_vf: float | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        reward_loss_coef: float = 0.01,
        transition_loss_coef: float = 0.0005,
        piecewise_auxiliary: bool = True,
        drift_coef: float | None = None,
        transition_density: Literal["deterministic", "normal", "mixture", "categorical"] = "mixture",
        lipschitz: bool = True,
        termination_model: bool = False,
        world_model_kwargs: dict[str, Any] | None = None,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(policy, env, locals())

    # </signature>
