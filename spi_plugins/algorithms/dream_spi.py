"""``DreamSPI`` under SB3's face: the world model learns from real steps, the policy in its dreams."""

import warnings
from typing import Any, ClassVar

import numpy as np

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, ReplayConfig
from spi_plugins.agents.dream_spi.update import DreamSPIMetrics, make_dream_spi
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms import signatures
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS, ClippedAlgorithm, warn_truncated
from spi_plugins.algorithms.devices import check_memory
from spi_plugins.algorithms.schedules import remaining_progress, scheduled
from spi_plugins.algorithms.settings import (
    CNN_DEFAULTS,
    DREAM_MLP_DEFAULTS,
    DreamSettings,
    RolloutSettings,
    ShellSettings,
)
from spi_plugins.archive import Archive
from spi_plugins.arrays import flatten_arrays
from spi_plugins.hyperparameters import Range, by_policy, declared
from spi_plugins.losses.deep_spi import Auxiliary
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig

# In the order of agents.slices.SLICES.
_LEARNING_RATES = (
    "encoder_learning_rate",
    "world_model_learning_rate",
    "actor_learning_rate",
    "critic_learning_rate",
)
_CLIP_RANGES = ("wm_clip_range", "clip_range")
# Of the gradient steps on dreams; the others are a world model's.
_LOGGED = (
    *("loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction"),
    *("grad_norm", "ratio_min", "ratio_max", "ratio_outside", "explained_variance"),
)
_MODEL_LOSSES = ("reward_loss", "transition_loss", "termination_loss")
# Where a model file has past rollouts.
_REPLAY = "run/replay/"


class DreamSPI(signatures.DreamSPI, ClippedAlgorithm):
    """DreamSPI, the model-based variant in the code published with Deep SPI (arXiv:2510.12312, ICLR 2026).

    Real steps fit encoder and world model by the Deep SPI loss; actor and critic learn from short dreams in that model,
    by the clipped surrogate. The deviations from the official code are numbered in ``docs/dream_spi.md``.

    Raises:
        ValueError: an argument is out of range, or a loss coefficient is 0.
    """

    auxiliary: ClassVar[Auxiliary] = "utility"
    # Termination is always learned, since dreams need it. The first phase does not train the policy whose KL divergence
    # `target_kl` would bound.
    hyperparameters = by_policy(
        declared(DreamSettings)
        | declared(RolloutSettings)
        | declared(DeepSPIConfig, without=("batch_size", "auxiliary", "target_kl"))
        | {"termination_loss": declared(DeepSPIConfig)["termination_loss"]._replace(default="cross_entropy")}
        # A part of the model without its loss would stay as it was initialized.
        | {
            name: each._replace(range=Range(low=0, open_low=True))
            for name, each in declared(DeepSPIConfig, "reward_loss_coef", "transition_loss_coef").items()
        }
        | {name: value for name, value in WORLD_MODEL_HYPERPARAMETERS.items() if name != "termination_model"}
        | declared(DreamSPIConfig, without=("imagination_batch_size",))
        | declared(ReplayConfig)
        | declared(ShellSettings),
        DREAM_MLP_DEFAULTS,
        CNN_DEFAULTS,
    )
    termination_model = True
    learns_masked = False

    def _check_arguments(self) -> None:
        super()._check_arguments()
        self._configured(DreamSPIConfig, real=self._agent_config(batch_size=1), imagination_batch_size=1)

    def _choose_batches(self) -> None:
        super()._choose_batches()
        if self.imagination_batch_size is None:
            self.automatic_arguments |= {"imagination_batch_size"}
            self.imagination_batch_size = self.batch_size
        self.devices.check_divides("imagination_batch_size", self.imagination_batch_size)
        steps = self.n_steps * self.n_envs * self.imagination_horizon
        product = f"{self.n_steps} * {self.n_envs} * {self.imagination_horizon} = {steps}"
        numbers = 4 * (self.imagination_epochs + 8)  # of a dreamed step, at least
        check_memory(f"Dreaming {product} steps", steps * numbers, self.jax_device)
        warn_truncated(
            "imagination_batch_size",
            self.imagination_batch_size,
            f"n_steps * n_envs * imagination_horizon = {product}",
            steps,
        )

    def _policy_config(self, **defaults: Any) -> ActorCriticConfig:
        # Actor and critic stand on the latent: the feature map, or a layer of its own on vectors.
        latent: list[int] = [] if self.policy_class.encoder == "cnn" else [64]
        return super()._policy_config(latent_arch=latent, **defaults)

    def _dream_config(self) -> DreamSPIConfig:
        sizes = {"n_steps": self.n_steps, "n_envs": self.n_envs}
        replay = self._configured(ReplayConfig, **sizes) if self.replay_size else None
        return self._configured(DreamSPIConfig, real=self._agent_config(), replay=replay)

    def _make_agent(self) -> OnPolicyAgent:
        self._choose_batches()
        return make_dream_spi(
            *self._specs(), self._policy_config(), self._dream_config(), self._world_model_config()
        )

    def _restore(self, file: Archive) -> None:
        """Take all arrays of a file; of past rollouts only such as this model would have collected."""
        own = {f"{_REPLAY}{key}": value for key, value in flatten_arrays(self._agent_state.replay).items()}
        stored = {key: value for key, value in file.arrays.items() if key.startswith(_REPLAY)}
        if {key: x.shape for key, x in own.items()} != {key: x.shape for key, x in stored.items()}:
            warnings.warn(
                "The file's past rollouts do not fit this model's replay_size and n_steps; it begins without any.",
                stacklevel=2,
            )
            rest = {key: value for key, value in file.arrays.items() if key not in stored}
            file = file._replace(arrays=rest | own)
        super()._restore(file)

    def rates(self, num_timesteps: int, total_timesteps: int) -> tuple[Any, ClipRanges]:
        """The four learning rates and the clip ranges for the update after ``num_timesteps``, float32.

        They depend on environment steps, however many gradient steps an update takes.
        """
        remaining = remaining_progress(num_timesteps, total_timesteps)

        learning_rates = [scheduled(name, getattr(self, name), remaining) for name in _LEARNING_RATES]
        return np.asarray(learning_rates, np.float32), self._clip_ranges(remaining, *_CLIP_RANGES)

    def _log_update(self, metrics: DreamSPIMetrics) -> None:
        record = self.logger.record
        learning_rates, clip_range = self.rates(self.num_timesteps, self._total_timesteps)
        for name, value in zip(_LEARNING_RATES, learning_rates, strict=True):
            record(f"train/{name}", float(value))
        for name, value in zip(_CLIP_RANGES, clip_range.ratio, strict=True):
            record(f"train/{name}", float(value))
        self._record_value_clip(clip_range)
        self._record_metrics(metrics.real._replace(loss=metrics.loss))
        for name in _LOGGED:
            record(f"dream/{name}", float(getattr(metrics.dreams, name)))
        if metrics.replayed is not None:
            for name in (*_LOGGED, *_MODEL_LOSSES):
                record(f"replay/{name}", float(getattr(metrics.replayed, name)))
        for name, value in metrics.imagined._asdict().items():
            record(f"dream/{name}", float(value))
