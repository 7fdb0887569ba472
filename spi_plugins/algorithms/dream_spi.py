"""``DreamSPI`` under SB3's face: the world model learns from real steps, the policy in its dreams."""

import warnings
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from spi_plugins.agents.deep_spi.config import Correction, TerminationLoss
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, ReplayConfig
from spi_plugins.agents.dream_spi.update import make_dream_spi
from spi_plugins.agents.on_policy import DeepSPIMetrics, OnPolicyAgent
from spi_plugins.algorithms.deep_spi import DeepSPI
from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule, check_schedule, check_scheduled
from spi_plugins.archive import Archive
from spi_plugins.arrays import flatten_arrays
from spi_plugins.checks import check_choice, check_integer, check_number
from spi_plugins.networks.actor_critic import ActorCriticConfig

# In the order of agents.slices.SLICES.
_LEARNING_RATES = (
    "encoder_learning_rate",
    "world_model_learning_rate",
    "actor_learning_rate",
    "critic_learning_rate",
)
_CLIP_RANGES = ("wm_clip_range", "clip_range")
# Arguments of DeepSPI that mean nothing here: four rates take the place of one, dreams need ends, and the KL divergence
# that a target would bound is that of a policy which the first phase does not train.
_REFUSED = ("learning_rate", "termination_model", "target_kl")
# Of the gradient steps on dreams; the others are a world model's.
_LOGGED = (
    *("loss", "policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction"),
    *("grad_norm", "ratio_min", "ratio_max", "ratio_outside", "explained_variance"),
)
_MODEL_LOSSES = ("reward_loss", "transition_loss", "termination_loss")
# Where a model file has past rollouts.
_REPLAY = "run/replay/"


class DreamSPI(DeepSPI):
    """DreamSPI, the model-based variant in the code published with Deep SPI (arXiv:2510.12312, ICLR 2026).

    Real steps fit encoder and world model by the Deep SPI loss; actor and critic learn from short dreams in that model,
    by the clipped surrogate. The deviations from the official code are numbered in ``docs/dream_spi.md``.

    Args:
        policy: as ``PPO``'s, and so are ``env`` and all arguments not listed here or at ``DeepSPI``.
        env: see ``JaxAlgorithm``.
        encoder_learning_rate: a number or a function of the remaining progress (1 to 0); by default 2e-4 annealed to 0.
        world_model_learning_rate: the same, of transition, reward and termination.
        actor_learning_rate: the same, of the actor's layers on the latent; by default 2.75e-5 annealed to 0.
        critic_learning_rate: the same, of the critic's.
        wm_clip_range: the clip range of the phase on real steps, a number or a function of the remaining progress;
            ``clip_range`` is that of the dreams.
        dyna: let actor and critic learn from real steps, too.
        imagination_horizon: steps of a dream.
        imagination_epochs: passes over the dreams.
        imagination_batch_size: imagined steps in a minibatch, a divisor of ``n_steps * n_envs * imagination_horizon``;
            by default ``batch_size``.
        n_imagination_rollouts: times that dreams are made and learned from after each rollout.
        termination_loss: ``"cross_entropy"``, or the official ``"smooth_l1"``, under which a model may come to say
            "never" and stay there.
        soft_termination: the predicted probability of an end discounts what follows; by default the end is drawn.
        replay_size: steps of past rollouts to keep, with two observations each, on the device and in the model file; 0
            for none.
        n_replays: with ``replay_size``, rollouts' worth of past sequences from which encoder and world model learn
            after each rollout, in ``n_epochs`` passes each.
        replay_correction: what makes up for the policies that collected them: ``"ratio"`` weighs the steps by
            probability ratios, ``"vtrace"`` corrects targets and advantages, too.
        **kwargs: the arguments of ``DeepSPI`` and ``PPO``, but for ``learning_rate``, ``termination_model`` (always
            on) and ``target_kl``.

    Raises:
        ValueError: as ``DeepSPI``; a batch size of dreams that does not divide them, or a loss coefficient of 0.
        TypeError: one of the three arguments that there are not.
    """

    stored_arguments: ClassVar[tuple[str, ...]] = (
        *(name for name in DeepSPI.stored_arguments if name not in _REFUSED),
        *_LEARNING_RATES,
        *("wm_clip_range", "dyna", "imagination_horizon", "imagination_epochs", "imagination_batch_size"),
        *("n_imagination_rollouts", "soft_termination", "termination_loss"),
        *("replay_size", "n_replays", "replay_correction"),
    )
    schedules: ClassVar[tuple[str, ...]] = (*_LEARNING_RATES, *_CLIP_RANGES)

    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        encoder_learning_rate: float | Schedule = LinearSchedule(2e-4, 0.0, 1.0),  # noqa: B008  stateless
        world_model_learning_rate: float | Schedule = LinearSchedule(2e-4, 0.0, 1.0),  # noqa: B008
        actor_learning_rate: float | Schedule = LinearSchedule(2.75e-5, 0.0, 1.0),  # noqa: B008
        critic_learning_rate: float | Schedule = LinearSchedule(2.75e-5, 0.0, 1.0),  # noqa: B008
        wm_clip_range: float | Schedule = 0.1,
        dyna: bool = False,
        imagination_horizon: int = 8,
        imagination_epochs: int = 1,
        imagination_batch_size: int | None = None,
        n_imagination_rollouts: int = 1,
        soft_termination: bool = False,
        termination_loss: TerminationLoss = "cross_entropy",
        replay_size: int = 0,
        n_replays: int = 1,
        replay_correction: Correction = "vtrace",
        **kwargs: Any,
    ):
        for name in _REFUSED:
            if name in kwargs:
                raise TypeError(f"DreamSPI has no argument {name}; it has {', '.join(_LEARNING_RATES)}.")
        rates = (encoder_learning_rate, world_model_learning_rate, actor_learning_rate, critic_learning_rate)
        for name, rate in zip(_LEARNING_RATES, rates, strict=True):
            check_schedule(name, rate)
            setattr(self, name, rate)
        check_schedule("wm_clip_range", wm_clip_range, open_low=True)
        for name, switch in (("dyna", dyna), ("soft_termination", soft_termination)):
            check_choice(name, switch, (True, False))
        check_choice("termination_loss", termination_loss, ("cross_entropy", "smooth_l1"))
        check_integer("imagination_horizon", imagination_horizon, low=1)
        check_integer("imagination_epochs", imagination_epochs, low=1)
        check_integer("n_imagination_rollouts", n_imagination_rollouts, low=1)
        check_integer("replay_size", replay_size, low=0)
        check_integer("n_replays", n_replays, low=1)
        check_choice("replay_correction", replay_correction, ("ratio", "vtrace"))
        if imagination_batch_size is not None:
            check_integer("imagination_batch_size", imagination_batch_size, low=2)
        for name in ("reward_loss_coef", "transition_loss_coef"):
            if name in kwargs:  # without its loss, a part of the model would stay as it was drawn
                check_number(name, kwargs[name], low=0.0, open_low=True)
        self.wm_clip_range = wm_clip_range
        self.dyna = dyna
        self.imagination_horizon = imagination_horizon
        self.imagination_epochs = imagination_epochs
        self.imagination_batch_size = imagination_batch_size
        self.n_imagination_rollouts = n_imagination_rollouts
        self.soft_termination = soft_termination
        self.termination_loss = termination_loss
        self.replay_size = replay_size
        self.n_replays = n_replays
        self.replay_correction = replay_correction
        super().__init__(policy, env, learning_rate=actor_learning_rate, termination_model=True, **kwargs)

    def _choose_batches(self) -> None:
        super()._choose_batches()
        if self.imagination_batch_size is None:
            self.automatic_arguments |= {"imagination_batch_size"}
            self.imagination_batch_size = self.batch_size
        steps = self.n_steps * self.n_envs * self.imagination_horizon
        if steps % self.imagination_batch_size:
            raise ValueError(
                f"imagination_batch_size={self.imagination_batch_size} does not divide n_steps * n_envs * "
                f"imagination_horizon = {self.n_steps} * {self.n_envs} * {self.imagination_horizon} = {steps}."
            )
        if 0 < self.replay_size < self.n_steps * self.n_envs:
            raise ValueError(
                f"replay_size={self.replay_size} must be 0 or hold a rollout of n_steps * n_envs = {self.n_steps} * "
                f"{self.n_envs} = {self.n_steps * self.n_envs} steps."
            )

    def _objective(self) -> dict[str, Any]:
        return {**super()._objective(), "termination_loss": self.termination_loss}

    def _policy_config(self) -> ActorCriticConfig:
        # Actor and critic stand on the latent: the feature map, or a layer of its own on vectors.
        latent: list[int] = [] if self.policy_class.encoder == "cnn" else [64]
        return self.policy_class.config(self._specs()[0], {"latent_arch": latent, **self.policy_kwargs})

    def _dream_config(self) -> DreamSPIConfig:
        assert self.imagination_batch_size is not None
        replay = (
            ReplayConfig(
                size=self.replay_size,
                n_steps=self.n_steps,
                n_envs=self.n_envs,
                n_replays=self.n_replays,
                correction=self.replay_correction,
            )
            if self.replay_size
            else None
        )
        return DreamSPIConfig(
            real=self._agent_config(),
            dyna=self.dyna,
            imagination_horizon=self.imagination_horizon,
            imagination_epochs=self.imagination_epochs,
            imagination_batch_size=self.imagination_batch_size,
            n_imagination_rollouts=self.n_imagination_rollouts,
            soft_termination=self.soft_termination,
            replay=replay,
        )

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

    def rates(self, num_timesteps: int, total_timesteps: int) -> tuple[Any, Any]:
        """The four learning rates and two clip ranges for the update after ``num_timesteps``, float32.

        They depend on environment steps, however many gradient steps an update takes; a last rollout that goes past the
        total leaves them at their end.
        """
        remaining = max(1.0 - num_timesteps / total_timesteps, 0.0)

        def at(names: tuple[str, ...]) -> np.ndarray[Any, Any]:
            values = (FloatSchedule(getattr(self, name))(remaining) for name in names)
            checked = [check_scheduled(name, value) for name, value in zip(names, values, strict=True)]
            return np.asarray(checked, np.float32)

        return at(_LEARNING_RATES), at(_CLIP_RANGES)

    def _log_update(self, metrics: DeepSPIMetrics) -> None:
        record = self.logger.record
        rates = self.rates(self.num_timesteps, self._total_timesteps)
        for names, values in zip((_LEARNING_RATES, _CLIP_RANGES), rates, strict=True):
            for name, value in zip(names, values, strict=True):
                record(f"train/{name}", float(value))
        self._record_metrics(metrics)
        for name in _LOGGED:
            record(f"dream/{name}", float(getattr(metrics.dream.steps, name)))
        if metrics.dream.replayed is not None:
            for name in (*_LOGGED, *_MODEL_LOSSES):
                record(f"replay/{name}", float(getattr(metrics.dream.replayed, name)))
        for name, value in metrics.dream.imagined._asdict().items():
            record(f"dream/{name}", float(value))
