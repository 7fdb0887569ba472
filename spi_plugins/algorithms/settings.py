"""Arguments of the algorithms that are not the agents': rollouts, replay, environments, logs and devices."""

import dataclasses
from typing import Any, Literal

from stable_baselines3.common.utils import LinearSchedule

from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.hyperparameters import hyperparameter
from spi_plugins.planners.planner import Planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShellSettings:
    """What every algorithm takes."""

    n_envs: int | None = hyperparameter(
        None,
        "Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1)",
        low=1,
        high=2**20,
    )
    stats_window_size: int = hyperparameter(100, "Episodes in the log's running means", low=1, high=10**9)
    tensorboard_log: str | None = hyperparameter(None, "Folder for TensorBoard logs, if any")
    policy_kwargs: dict[str, Any] | None = hyperparameter(
        None,
        "Sizes of the networks: `net_arch`, `latent_arch`, `activation_fn`, `ortho_init`, `log_std_init`, `full_std`, "
        "`use_expln`, `share_features_extractor`, `normalize_images`, `conv_layers`, `image_features`, "
        "`categorical_latent`; `features_extractor_class` (a Flax NNX module) with `features_extractor_kwargs`; and "
        "`optimizer_class` (Adam or AdamW) with `optimizer_kwargs` "
        "(`betas`, `eps`, `weight_decay`)",
    )
    verbose: int = hyperparameter(0, "0 for silent, 1 for information, 2 for debugging", low=0)
    seed: int | None = hyperparameter(None, "Seed of networks, actions and environment", low=0)
    device: Any = hyperparameter("auto", 'Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningRate:
    """One learning rate for all networks."""

    learning_rate: float | str | Schedule = hyperparameter(
        LinearSchedule(2.5e-4, 0.0, 1.0),
        "A number, or a function of the remaining progress, which falls from 1 to 0",
        low=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """What algorithms that learn from fresh rollouts take."""

    n_steps: int | None = hyperparameter(
        None, "Steps of each environment in a rollout; `None` for as many as make 1024 transitions", low=1
    )
    batch_size: int | None = hyperparameter(
        None,
        "Transitions in a minibatch; the last one is smaller if this does not divide `n_steps * n_envs`. `None` for "
        "the divisor nearest to a quarter of that",
        low=2,
    )
    clip_range: float | str | Schedule = hyperparameter(
        0.1,
        "Allowed change of the probability ratio: a number or a function of the remaining progress",
        above=0,
        source="arXiv:1707.06347, Eq. 7",
    )
    use_sde: bool = hyperparameter(
        False,
        "Explore by noise that depends on the state (gSDE), for actions in a Box",
        source="arXiv:2005.05719",
    )
    compiled: bool | None = hyperparameter(
        None,
        "Run rollout and update as one program: `None` if possible, `True` to insist, `False` to step in Python",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldModelSettings:
    """What algorithms that learn a latent world model take."""

    world_model_kwargs: dict[str, Any] | None = hyperparameter(None, "Further fields of `DeepMDPConfig`")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamSettings:
    """What DreamSPI takes besides its agent's settings: schedules, and a size that may be left open."""

    actor_learning_rate: float | str | Schedule = hyperparameter(
        LinearSchedule(2.75e-5, 0.0, 1.0),
        "Learning rate of the actor's layers on the latent: a number or a function of the remaining progress",
        low=0,
    )
    critic_learning_rate: float | str | Schedule = hyperparameter(
        LinearSchedule(2.75e-5, 0.0, 1.0), "Learning rate of the critic's layers on the latent", low=0
    )
    encoder_learning_rate: float | str | Schedule = hyperparameter(
        LinearSchedule(2e-4, 0.0, 1.0), "Learning rate of the encoder", low=0
    )
    world_model_learning_rate: float | str | Schedule = hyperparameter(
        LinearSchedule(2e-4, 0.0, 1.0), "Learning rate of transition, reward and termination", low=0
    )
    wm_clip_range: float | str | Schedule = hyperparameter(
        0.1, "Clip range of the phase on real steps; `clip_range` is that of the dreams", above=0
    )
    imagination_batch_size: int | None = hyperparameter(
        None,
        "Imagined steps in a minibatch; `None` for `batch_size`",
        low=2,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanningSettings:
    """What algorithms that plan take besides their agent's settings: replay, planner and sizes."""

    learning_rate: float | str | Schedule = hyperparameter(
        3e-4,
        "A number, or a function of the remaining progress, which falls from 1 to 0",
        low=0,
    )
    buffer_size: int = hyperparameter(1_000_000, "Slots of the replay buffer for all environments", low=1)
    buffer_device: Literal["auto", "device", "host"] = hyperparameter(
        "auto",
        'Where the replay buffer lives: `"device"`, `"host"` for memory-mapped files, or `"auto"` for the device if '
        "the buffer takes less than half of its memory",
    )
    learning_starts: int = hyperparameter(1000, "Steps with random actions before the first update", low=0)
    batch_size: int | None = hyperparameter(
        None, 'Windows in a gradient step; `None` for 256, or 64 with `model_size="small"`', low=1
    )
    train_freq: int = hyperparameter(100, "Steps of each environment between two updates", low=1)
    gradient_steps: int = hyperparameter(
        -1,
        "Gradient steps of an update; -1 for as many as environment steps were taken",
        low=1,
        also=(-1,),
    )
    planner: str | Planner = hyperparameter("mppi", "Name of a planner (`spi list planners`), or a `Planner`")
    planner_kwargs: dict[str, Any] | None = hyperparameter(None, "Settings of a planner given by name")
    decision: Literal["mean", "bootstrap"] | None = hyperparameter(
        None,
        'When to follow the plan instead of the policy: `None` for always, `"mean"` if its value is not lower (and its '
        'cost value not higher), `"bootstrap"` if that cannot be excluded',
    )
    model_size: Literal["5m", "small"] = hyperparameter(
        "5m",
        'The papers\' `"5m"`, for a GPU, or `"small"`; `policy_kwargs` and `planner_kwargs` override what it sets',
    )
    loss_kwargs: dict[str, Any] | None = hyperparameter(None, "Further fields of `SPOWLConfig`")
    official: bool = hyperparameter(False, "Reproduce the published code's errors, see `docs/spowl.md`")
    info_metrics: bool = hyperparameter(
        False, 'Put reports of the planner into `info["plan"]`, for callbacks'
    )
