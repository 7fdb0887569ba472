"""Arguments of the algorithms that are not the agents': rollouts, replay, environments, logs and devices."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.hyperparameters import Rule, hyperparameter
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
        "`use_expln`, `squash_output`, `share_features_extractor`, `normalize_images`, `conv_layers`, "
        "`image_features`, `categorical_latent`, `actor_lipschitz`; `features_extractor_class` (a Flax NNX module) "
        "with `features_extractor_kwargs`; and `optimizer_class` (Adam or AdamW) with `optimizer_kwargs` "
        "(`betas`, `eps`, `weight_decay`)",
    )
    verbose: int = hyperparameter(0, "0 for silent, 1 for information, 2 for debugging", low=0)
    seed: int | None = hyperparameter(None, "Seed of networks, actions and environment", low=0)
    device: Any = hyperparameter(
        "auto",
        'Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices',
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningRate:
    """One learning rate for all networks."""

    learning_rate: float | str | Schedule = hyperparameter(
        "lin_2.5e-4",
        "A number, or a function of the remaining progress, which falls from 1 to 0",
        low=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """What algorithms that learn from fresh rollouts take."""

    n_steps: int | None = hyperparameter(None, "Steps of each environment in a rollout", low=1)
    batch_size: int | None = hyperparameter(
        None,
        "Transitions in a minibatch; the last one is smaller if this does not divide `n_steps * n_envs`",
        low=1,
    )
    clip_range: float | str | Schedule = hyperparameter(
        0.1,
        "Allowed change of the probability ratio: a number or a function of the remaining progress",
        above=0,
        source="arXiv:1707.06347, Eq. 7",
    )
    clip_range_vf: float | str | Schedule | None = hyperparameter(
        None,
        "Bound on the critic's change in an update, in return units, or a function of the remaining progress; `None` "
        "for no bound",
        above=0,
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


def _steps(n_envs: int, *, transitions: int, least: int, unit: int) -> int:
    """Steps of each environment whose transitions are a multiple of ``unit``."""
    even = unit // math.gcd(unit, n_envs)
    return max(transitions // n_envs // even, -(-least // even)) * even


# Sizes that are left open. The paper's rollout: 1024 transitions in 4 minibatches.
CNN_DEFAULTS: Mapping[str, Any] = {
    "n_steps": Rule("1024 / `n_envs`", functools.partial(_steps, transitions=1024, least=1, unit=4)),
    "batch_size": Rule("a quarter of the rollout", lambda total, n_envs: total / 4),
}
# SB3's numbers for one environment: 2048 steps in minibatches of 64. With more copies a rollout keeps its 2048
# transitions, so that a run has as many updates; hundreds of copies get more transitions and larger minibatches.
MLP_DEFAULTS: Mapping[str, Any] = {
    "learning_rate": 3e-4,
    "n_steps": Rule(
        "2048 / `n_envs`, but at least 16", functools.partial(_steps, transitions=2048, least=16, unit=64)
    ),
    "batch_size": Rule(
        "64, or half of `n_envs` if that is more", lambda total, n_envs: min(max(64, n_envs / 2), total)
    ),
    "n_epochs": 10,
    "clip_range": 0.2,
    "ent_coef": 0.0,
}


# DreamSPI on vectors, as measured on CartPole (docs/results/dream_spi.md). The latent has few numbers, and model errors
# as small as the change of the state in one step matter: the coefficients are much larger than the published ones.
DREAM_MLP_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("actor_learning_rate", "critic_learning_rate", "encoder_learning_rate", "world_model_learning_rate"),
        "lin_1e-3",
    ),
    **CNN_DEFAULTS,
    "n_epochs": 8,
    "clip_range": 0.2,
    "wm_clip_range": 0.2,
    "ent_coef": 0.0,
    "imagination_horizon": 16,
    "transition_density": "deterministic",
    "lipschitz": False,
    "reward_loss_coef": 1.0,
    "transition_loss_coef": 100.0,
    "world_model_kwargs": {"residual": True},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstraintSettings:
    """How the cost of an episode is kept below a limit."""

    constraint: str | None = hyperparameter(
        None,
        'Method that keeps `info["cost"]` below `cost_limit` (`spi list constraints`); `None` ignores costs',
    )
    cost_limit: float | Mapping[str, float] | None = hyperparameter(
        None,
        "With a `constraint`, the allowed undiscounted cost of an episode, or one for each of several costs by their "
        "names in the infos; `None` for what the environment states, or else 25",
        low=0,
    )
    constraint_kwargs: dict[str, Any] | None = hyperparameter(None, "Settings of the `constraint`")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldModelSettings:
    """What algorithms that learn a latent world model take."""

    world_model_kwargs: dict[str, Any] | None = hyperparameter(None, "Further fields of `DeepMDPConfig`")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamSettings:
    """What DreamSPI takes besides its agent's settings: schedules, and a size that may be left open."""

    actor_learning_rate: float | str | Schedule = hyperparameter(
        "lin_2.75e-5",
        "Learning rate of the actor's layers on the latent: a number or a function of the remaining progress",
        low=0,
    )
    critic_learning_rate: float | str | Schedule = hyperparameter(
        "lin_2.75e-5", "Learning rate of the critic's layers on the latent", low=0
    )
    encoder_learning_rate: float | str | Schedule = hyperparameter(
        "lin_2e-4", "Learning rate of the encoder", low=0
    )
    world_model_learning_rate: float | str | Schedule = hyperparameter(
        "lin_2e-4", "Learning rate of transition, reward and termination", low=0
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
    pretrain_steps: int = hyperparameter(
        0,
        "Gradient steps of the first update instead, so that plans and policy are trained before they act; 0 for no "
        "such phase. With `learning_starts=0` they are taken on a replay buffer that was loaded, before the first step",
        low=0,
    )
    random_scale: float = hyperparameter(
        1.0,
        "Factor on the random actions of the start; small ones are cautious. Discrete actions have no size",
        above=0,
        high=1,
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
    precision: Literal["highest", "tf32", "bf16"] = hyperparameter(
        "highest",
        'Of matrix products on an accelerator: `"highest"` for float32, `"tf32"` or `"bf16"` for speed',
    )
    info_metrics: bool = hyperparameter(
        False, 'Put reports of the planner into `info["plan"]`, for callbacks'
    )
    compiled: bool | None = hyperparameter(
        None,
        "Run steps and gradient steps as one program: `None` if possible, `True` to insist, `False` to step in Python",
    )
    overlap_updates: bool = hyperparameter(
        False,
        "Begin an update while environments in Python make the last step before it, which its first 50 gradient steps "
        "then do not know; for a small `train_freq`",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SafetySettings:
    """What SPOWL takes besides, about the actions that are executed."""

    shield: float | None = hyperparameter(
        None,
        "Bound on the cost critics' mean plus their standard deviation: where an action exceeds it, the one of the "
        "lowest among it and 16 uniform ones is executed; `None` for no shield",
        low=0,
        source="after arXiv:2010.14497",
    )
