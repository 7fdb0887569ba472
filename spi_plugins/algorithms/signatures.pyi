# Written by `make signatures` from the hyperparameters.
from collections.abc import Mapping
from typing import Any, Literal

from spi_plugins.algorithms.policies import Policy
from spi_plugins.algorithms.schedules import Schedule
from spi_plugins.planners.planner import Planner

class Signature: ...

class PPO(Signature):
    """Proximal policy optimization (arXiv:1707.06347) with Deep SPI's networks: its baseline.

    With ``CnnPolicy`` the defaults are those of the Deep SPI paper's code for Atari, otherwise SB3's.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
        env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
            environment, or a `FunctionalEnv`; `None` only in `load`.
        learning_rate: A number, or a function of the remaining progress, which falls from 1 to 0; by default `0.0003`, with `CnnPolicy` `'lin_2.5e-4'`.
        n_steps: Steps of each environment in a rollout; by default 2048 / `n_envs`, but at least 16, with `CnnPolicy` 1024 / `n_envs`.
        batch_size: Transitions in a minibatch; the last one is smaller if this does not divide `n_steps * n_envs`; by default 64, or half of `n_envs` if that is more, with `CnnPolicy` a quarter of the rollout.
        clip_range: Allowed change of the probability ratio: a number or a function of the remaining progress (arXiv:1707.06347, Eq. 7); by default `0.2`, with `CnnPolicy` `0.1`.
        clip_range_vf: Bound on the critic's change in an update, in return units, or a function of the remaining progress; `None` for no bound.
        use_sde: Explore by noise that depends on the state (gSDE), for actions in a Box (arXiv:2005.05719).
        compiled: Run rollout and update as one program: `None` if possible, `True` to insist, `False` to step in Python.
        n_epochs: Passes over a rollout; by default `10`, with `CnnPolicy` `4`.
        gamma: Discount per environment step.
        gae_lambda: Advantage estimate between one-step differences (0) and Monte Carlo returns (1) (arXiv:1506.02438).
        normalize_advantage: Standardize the advantages of each minibatch.
        ent_coef: Weight of the entropy bonus; by default `0.0`, with `CnnPolicy` `0.01`.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the norm of all gradients together.
        target_kl: End an update once the KL estimate passes 1.5 times this; `None` for never.
        sde_sample_freq: With `use_sde`, steps between new noise; -1 for the start of each rollout only.
        constraint: Method that keeps `info["cost"]` below `cost_limit` (`spi list constraints`); `None` ignores costs.
        cost_limit: With a `constraint`, the allowed undiscounted cost of an episode, or one for each of several costs by their names in the infos; `None` for what the environment states, or else 25.
        constraint_kwargs: Settings of the `constraint`.
        cost_gamma: With a `constraint`, discount of the costs per environment step.
        cost_gae_lambda: With a `constraint`, `gae_lambda` of the costs.
        cost_vf_coef: With a `constraint`, weight of the cost critic's loss.
        n_envs: Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1).
        stats_window_size: Episodes in the log's running means.
        tensorboard_log: Folder for TensorBoard logs, if any.
        policy_kwargs: Sizes of the networks: `net_arch`, `latent_arch`, `activation_fn`, `ortho_init`, `log_std_init`, `full_std`, `use_expln`, `squash_output`, `share_features_extractor`, `normalize_images`, `conv_layers`, `image_features`, `categorical_latent`, `actor_lipschitz`; `features_extractor_class` (a Flax NNX module) with `features_extractor_kwargs`; and `optimizer_class` (Adam or AdamW) with `optimizer_kwargs` (`betas`, `eps`, `weight_decay`).
        verbose: 0 for silent, 1 for information, 2 for debugging.
        seed: Seed of networks, actions and environment.
        device: Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices.

    Raises:
        ValueError: an argument is out of range.
    """

    n_steps: int
    batch_size: int
    clip_range: float | str | Schedule
    clip_range_vf: float | str | Schedule | None
    use_sde: bool
    compiled: bool | None
    n_epochs: int
    gamma: float
    gae_lambda: float
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    target_kl: float | None
    sde_sample_freq: int
    constraint: str | None
    cost_limit: float | Mapping[str, float] | None
    constraint_kwargs: dict[str, Any]
    cost_gamma: float
    cost_gae_lambda: float
    cost_vf_coef: float
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | str | Schedule | None = None,
        n_steps: int | None = None,
        batch_size: int | None = None,
        n_epochs: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | str | Schedule | None = None,
        clip_range_vf: float | str | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float | None = None,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        *,
        compiled: bool | None = None,
        target_kl: float | None = None,
        constraint: str | None = None,
        cost_limit: float | Mapping[str, float] | None = None,
        constraint_kwargs: dict[str, Any] | None = None,
        cost_gamma: float = 0.99,
        cost_gae_lambda: float = 0.95,
        cost_vf_coef: float = 0.5,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ) -> None: ...

class DeepSPI(Signature):
    """Deep SPI (arXiv:2510.12312, ICLR 2026): model losses inside the clipped surrogate.

    The advantage becomes the per-sample utility ``A - α_R ℓ_R - α_P ℓ_P``, which the ratio multiplies and the
    clip bounds.
    The deviations from the official code are numbered in ``docs/deep_spi.md``. With both coefficients 0 this
    is ``PPO`` bit for bit.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
        env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
            environment, or a `FunctionalEnv`; `None` only in `load`.
        learning_rate: A number, or a function of the remaining progress, which falls from 1 to 0; by default `0.0003`, with `CnnPolicy` `'lin_2.5e-4'`.
        n_steps: Steps of each environment in a rollout; by default 2048 / `n_envs`, but at least 16, with `CnnPolicy` 1024 / `n_envs`.
        batch_size: Transitions in a minibatch; the last one is smaller if this does not divide `n_steps * n_envs`; by default 64, or half of `n_envs` if that is more, with `CnnPolicy` a quarter of the rollout.
        clip_range: Allowed change of the probability ratio: a number or a function of the remaining progress (arXiv:1707.06347, Eq. 7); by default `0.2`, with `CnnPolicy` `0.1`.
        clip_range_vf: Bound on the critic's change in an update, in return units, or a function of the remaining progress; `None` for no bound.
        use_sde: Explore by noise that depends on the state (gSDE), for actions in a Box (arXiv:2005.05719).
        compiled: Run rollout and update as one program: `None` if possible, `True` to insist, `False` to step in Python.
        n_epochs: Passes over a rollout; by default `10`, with `CnnPolicy` `4`.
        gamma: Discount per environment step.
        gae_lambda: Advantage estimate between one-step differences (0) and Monte Carlo returns (1) (arXiv:1506.02438).
        normalize_advantage: Standardize the advantages of each minibatch.
        ent_coef: Weight of the entropy bonus; by default `0.0`, with `CnnPolicy` `0.01`.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the norm of all gradients together.
        target_kl: End an update once the KL estimate passes 1.5 times this; `None` for never.
        sde_sample_freq: With `use_sde`, steps between new noise; -1 for the start of each rollout only.
        reward_loss_coef: Weight of the reward loss, alpha_R in the paper.
        transition_loss_coef: Weight of the transition loss, alpha_P in the paper; the loss is a sum over the latent's dimensions.
        piecewise_auxiliary: Subtract each sample's own model loss; `False`: its mean.
        drift_coef: Weight of the drift; `None`: clipped surrogate.
        neighborhood: How the policy is kept near the old one: `"clip"` by the surrogate alone, which bounds no ratio; `"strict"` also walks an update back until every action's ratio in every state of the rollout is in `[2 - C, C]` (discrete actions).
        C: Bound of the strict neighborhood; `None` for 1 + `clip_range`, `"1/gamma"` for the largest that the paper's theorems allow.
        transition_density: Distribution of the next latent: `"mixture"` of normals, `"normal"`, `"deterministic"` (that of DeepMDP), or `"categorical"` for categorical latents.
        lipschitz: Certified 1-Lipschitz latent model; `False` for plain networks with a gradient penalty, which categorical latents need.
        termination_model: Also learn to predict termination, which dreams need.
        world_model_kwargs: Further fields of `DeepMDPConfig`.
        constraint: Method that keeps `info["cost"]` below `cost_limit` (`spi list constraints`); `None` ignores costs.
        cost_limit: With a `constraint`, the allowed undiscounted cost of an episode, or one for each of several costs by their names in the infos; `None` for what the environment states, or else 25.
        constraint_kwargs: Settings of the `constraint`.
        cost_gamma: With a `constraint`, discount of the costs per environment step.
        cost_gae_lambda: With a `constraint`, `gae_lambda` of the costs.
        cost_vf_coef: With a `constraint`, weight of the cost critic's loss.
        n_envs: Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1).
        stats_window_size: Episodes in the log's running means.
        tensorboard_log: Folder for TensorBoard logs, if any.
        policy_kwargs: Sizes of the networks: `net_arch`, `latent_arch`, `activation_fn`, `ortho_init`, `log_std_init`, `full_std`, `use_expln`, `squash_output`, `share_features_extractor`, `normalize_images`, `conv_layers`, `image_features`, `categorical_latent`, `actor_lipschitz`; `features_extractor_class` (a Flax NNX module) with `features_extractor_kwargs`; and `optimizer_class` (Adam or AdamW) with `optimizer_kwargs` (`betas`, `eps`, `weight_decay`).
        verbose: 0 for silent, 1 for information, 2 for debugging.
        seed: Seed of networks, actions and environment.
        device: Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices.

    Raises:
        ValueError: an argument is out of range, or ``world_model_kwargs`` has an unknown key.
    """

    n_steps: int
    batch_size: int
    clip_range: float | str | Schedule
    clip_range_vf: float | str | Schedule | None
    use_sde: bool
    compiled: bool | None
    n_epochs: int
    gamma: float
    gae_lambda: float
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    target_kl: float | None
    sde_sample_freq: int
    reward_loss_coef: float
    transition_loss_coef: float
    piecewise_auxiliary: bool
    drift_coef: float | None
    neighborhood: Literal["clip", "strict"]
    C: float | str | None
    transition_density: Literal["deterministic", "normal", "mixture", "categorical"]
    lipschitz: bool
    termination_model: bool
    world_model_kwargs: dict[str, Any]
    constraint: str | None
    cost_limit: float | Mapping[str, float] | None
    constraint_kwargs: dict[str, Any]
    cost_gamma: float
    cost_gae_lambda: float
    cost_vf_coef: float
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | str | Schedule | None = None,
        n_steps: int | None = None,
        batch_size: int | None = None,
        n_epochs: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | str | Schedule | None = None,
        clip_range_vf: float | str | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float | None = None,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        *,
        compiled: bool | None = None,
        target_kl: float | None = None,
        reward_loss_coef: float = 0.01,
        transition_loss_coef: float = 0.0005,
        piecewise_auxiliary: bool = True,
        drift_coef: float | None = None,
        neighborhood: Literal["clip", "strict"] = "clip",
        C: float | str | None = None,
        transition_density: Literal["deterministic", "normal", "mixture", "categorical"] = "mixture",
        lipschitz: bool = True,
        termination_model: bool = False,
        world_model_kwargs: dict[str, Any] | None = None,
        constraint: str | None = None,
        cost_limit: float | Mapping[str, float] | None = None,
        constraint_kwargs: dict[str, Any] | None = None,
        cost_gamma: float = 0.99,
        cost_gae_lambda: float = 0.95,
        cost_vf_coef: float = 0.5,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ) -> None: ...

class DeepMDP(DeepSPI):
    """DeepMDP (arXiv:1906.02736) on PPO: the same model losses, added to the clipped surrogate.

    Arguments and defaults are those of ``DeepSPI``, for a comparison of like with like."""

class DreamSPI(Signature):
    """DreamSPI, the model-based variant in the code published with Deep SPI (arXiv:2510.12312, ICLR 2026).

    Real steps fit encoder and world model by the Deep SPI loss; actor and critic learn from short dreams in that model,
    by the clipped surrogate. The deviations from the official code are numbered in ``docs/dream_spi.md``.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
        env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
            environment, or a `FunctionalEnv`; `None` only in `load`.
        actor_learning_rate: Learning rate of the actor's layers on the latent: a number or a function of the remaining progress; by default `'lin_1e-3'`, with `CnnPolicy` `'lin_2.75e-5'`.
        critic_learning_rate: Learning rate of the critic's layers on the latent; by default `'lin_1e-3'`, with `CnnPolicy` `'lin_2.75e-5'`.
        encoder_learning_rate: Learning rate of the encoder; by default `'lin_1e-3'`, with `CnnPolicy` `'lin_2e-4'`.
        world_model_learning_rate: Learning rate of transition, reward and termination; by default `'lin_1e-3'`, with `CnnPolicy` `'lin_2e-4'`.
        wm_clip_range: Clip range of the phase on real steps; `clip_range` is that of the dreams; by default `0.2`, with `CnnPolicy` `0.1`.
        imagination_batch_size: Imagined steps in a minibatch; `None` for `batch_size`.
        n_steps: Steps of each environment in a rollout; by default 1024 / `n_envs`, with `CnnPolicy` 1024 / `n_envs`.
        batch_size: Transitions in a minibatch; the last one is smaller if this does not divide `n_steps * n_envs`; by default a quarter of the rollout, with `CnnPolicy` a quarter of the rollout.
        clip_range: Allowed change of the probability ratio: a number or a function of the remaining progress (arXiv:1707.06347, Eq. 7); by default `0.2`, with `CnnPolicy` `0.1`.
        clip_range_vf: Bound on the critic's change in an update, in return units, or a function of the remaining progress; `None` for no bound.
        use_sde: Explore by noise that depends on the state (gSDE), for actions in a Box (arXiv:2005.05719).
        compiled: Run rollout and update as one program: `None` if possible, `True` to insist, `False` to step in Python.
        n_epochs: Passes over a rollout; by default `8`, with `CnnPolicy` `4`.
        gamma: Discount per environment step.
        gae_lambda: Advantage estimate between one-step differences (0) and Monte Carlo returns (1) (arXiv:1506.02438).
        normalize_advantage: Standardize the advantages of each minibatch.
        ent_coef: Weight of the entropy bonus; by default `0.0`, with `CnnPolicy` `0.01`.
        vf_coef: Weight of the value loss.
        max_grad_norm: Bound on the norm of all gradients together.
        sde_sample_freq: With `use_sde`, steps between new noise; -1 for the start of each rollout only.
        reward_loss_coef: Weight of the reward loss, alpha_R in the paper; by default `1.0`, with `CnnPolicy` `0.01`.
        transition_loss_coef: Weight of the transition loss, alpha_P in the paper; the loss is a sum over the latent's dimensions; by default `100.0`, with `CnnPolicy` `0.0005`.
        piecewise_auxiliary: Subtract each sample's own model loss; `False`: its mean.
        drift_coef: Weight of the drift; `None`: clipped surrogate.
        neighborhood: How the policy is kept near the old one: `"clip"` by the surrogate alone, which bounds no ratio; `"strict"` also walks an update back until every action's ratio in every state of the rollout is in `[2 - C, C]` (discrete actions).
        C: Bound of the strict neighborhood; `None` for 1 + `clip_range`, `"1/gamma"` for the largest that the paper's theorems allow.
        termination_loss: Loss of the termination predictor; the published `"smooth_l1"` has no gradient where the model is sure and wrong, so it may learn to say "never" and stay there.
        transition_density: Distribution of the next latent: `"mixture"` of normals, `"normal"`, `"deterministic"` (that of DeepMDP), or `"categorical"` for categorical latents; by default `'deterministic'`, with `CnnPolicy` `'mixture'`.
        lipschitz: Certified 1-Lipschitz latent model; `False` for plain networks with a gradient penalty, which categorical latents need; by default `False`, with `CnnPolicy` `True`.
        world_model_kwargs: Further fields of `DeepMDPConfig`; by default `{'residual': True}`, with `CnnPolicy` `None`.
        dyna: Let actor and critic learn from real steps as well.
        imagination_horizon: Steps of a dream; by default `16`, with `CnnPolicy` `8`.
        imagination_epochs: Passes over the dreams.
        n_imagination_rollouts: Rounds of dreams after each rollout.
        soft_termination: Discount what follows by the predicted probability of termination; otherwise termination is sampled.
        replay_size: Steps of past rollouts to keep on the device and in the model file, with two observations each; 0 for none.
        n_replays: With `replay_size`, rollouts' worth of past sequences from which encoder and world model learn after each rollout, in `n_epochs` passes each.
        replay_correction: Correction for the policies that collected them: `"ratio"` weighs the steps by probability ratios, `"vtrace"` also corrects targets and advantages (arXiv:1802.01561).
        n_envs: Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1).
        stats_window_size: Episodes in the log's running means.
        tensorboard_log: Folder for TensorBoard logs, if any.
        policy_kwargs: Sizes of the networks: `net_arch`, `latent_arch`, `activation_fn`, `ortho_init`, `log_std_init`, `full_std`, `use_expln`, `squash_output`, `share_features_extractor`, `normalize_images`, `conv_layers`, `image_features`, `categorical_latent`, `actor_lipschitz`; `features_extractor_class` (a Flax NNX module) with `features_extractor_kwargs`; and `optimizer_class` (Adam or AdamW) with `optimizer_kwargs` (`betas`, `eps`, `weight_decay`).
        verbose: 0 for silent, 1 for information, 2 for debugging.
        seed: Seed of networks, actions and environment.
        device: Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices.

    Raises:
        ValueError: an argument is out of range, or a loss coefficient is 0.
    """

    actor_learning_rate: float | str | Schedule
    critic_learning_rate: float | str | Schedule
    encoder_learning_rate: float | str | Schedule
    world_model_learning_rate: float | str | Schedule
    wm_clip_range: float | str | Schedule
    imagination_batch_size: int
    n_steps: int
    batch_size: int
    clip_range: float | str | Schedule
    clip_range_vf: float | str | Schedule | None
    use_sde: bool
    compiled: bool | None
    n_epochs: int
    gamma: float
    gae_lambda: float
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    sde_sample_freq: int
    reward_loss_coef: float
    transition_loss_coef: float
    piecewise_auxiliary: bool
    drift_coef: float | None
    neighborhood: Literal["clip", "strict"]
    C: float | str | None
    termination_loss: Literal["cross_entropy", "smooth_l1"]
    transition_density: Literal["deterministic", "normal", "mixture", "categorical"]
    lipschitz: bool
    world_model_kwargs: dict[str, Any]
    dyna: bool
    imagination_horizon: int
    imagination_epochs: int
    n_imagination_rollouts: int
    soft_termination: bool
    replay_size: int
    n_replays: int
    replay_correction: Literal["ratio", "vtrace"]
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        *,
        actor_learning_rate: float | str | Schedule | None = None,
        critic_learning_rate: float | str | Schedule | None = None,
        encoder_learning_rate: float | str | Schedule | None = None,
        world_model_learning_rate: float | str | Schedule | None = None,
        wm_clip_range: float | str | Schedule | None = None,
        imagination_batch_size: int | None = None,
        n_steps: int | None = None,
        batch_size: int | None = None,
        clip_range: float | str | Schedule | None = None,
        clip_range_vf: float | str | Schedule | None = None,
        use_sde: bool = False,
        compiled: bool | None = None,
        n_epochs: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        normalize_advantage: bool = True,
        ent_coef: float | None = None,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        sde_sample_freq: int = -1,
        reward_loss_coef: float | None = None,
        transition_loss_coef: float | None = None,
        piecewise_auxiliary: bool = True,
        drift_coef: float | None = None,
        neighborhood: Literal["clip", "strict"] = "clip",
        C: float | str | None = None,
        termination_loss: Literal["cross_entropy", "smooth_l1"] = "cross_entropy",
        transition_density: Literal["deterministic", "normal", "mixture", "categorical"] | None = None,
        lipschitz: bool | None = None,
        world_model_kwargs: dict[str, Any] | None = None,
        dyna: bool = False,
        imagination_horizon: int | None = None,
        imagination_epochs: int = 1,
        n_imagination_rollouts: int = 1,
        soft_termination: bool = False,
        replay_size: int = 0,
        n_replays: int = 1,
        replay_correction: Literal["ratio", "vtrace"] = "vtrace",
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ) -> None: ...

class TDMPC2(Signature):
    """TD-MPC2 (arXiv:2310.16828): plan by MPPI in a learned latent world and ignore costs.

    The same agent as ``SPOWL`` without costs, so that the two compare. Steps are the environment's: wrap it in
    ``spi_wrappers.ActionRepeat`` for the papers' frames. Discrete actions are ours, see ``docs/spowl.md``.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
        env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
            environment, or a `FunctionalEnv`; `None` only in `load`.
        learning_rate: A number, or a function of the remaining progress, which falls from 1 to 0.
        buffer_size: Slots of the replay buffer for all environments.
        buffer_device: Where the replay buffer lives: `"device"`, `"host"` for memory-mapped files, or `"auto"` for the device if the buffer takes less than half of its memory.
        learning_starts: Steps with random actions before the first update.
        batch_size: Windows in a gradient step; `None` for 256, or 64 with `model_size="small"`.
        train_freq: Steps of each environment between two updates.
        gradient_steps: Gradient steps of an update; -1 for as many as environment steps were taken.
        pretrain_steps: Gradient steps of the first update instead, so that plans and policy are trained before they act; 0 for no such phase. With `learning_starts=0` they are taken on a replay buffer that was loaded, before the first step.
        random_scale: Factor on the random actions of the start; small ones are cautious. Discrete actions have no size.
        planner: Name of a planner (`spi list planners`), or a `Planner`.
        planner_kwargs: Settings of a planner given by name.
        decision: When to follow the plan instead of the policy: `None` for always, `"mean"` if its value is not lower (and its cost value not higher), `"bootstrap"` if that cannot be excluded.
        model_size: The papers' `"5m"`, for a GPU, or `"small"`; `policy_kwargs` and `planner_kwargs` override what it sets.
        loss_kwargs: Further fields of `SPOWLConfig`.
        official: Reproduce the published code's errors, see `docs/spowl.md`.
        precision: Of matrix products on an accelerator: `"highest"` for float32, `"tf32"` or `"bf16"` for speed.
        info_metrics: Put reports of the planner into `info["plan"]`, for callbacks.
        compiled: Run steps and gradient steps as one program: `None` if possible, `True` to insist, `False` to step in Python.
        overlap_updates: Begin an update while environments in Python make the last step before it, which its first 50 gradient steps then do not know; for a small `train_freq`.
        tau: Rate at which the slow critics follow.
        ent_coef: Weight of the policy's entropy.
        max_grad_norm: Bound on the gradient norm of model and policy each.
        gamma: Discount of rewards per step.
        horizon: Steps of a training window, and of a plan by default.
        episodic: Also predict whether an episode has ended; for environments with terminal states (TD-MPC2's code).
        n_envs: Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1).
        stats_window_size: Episodes in the log's running means.
        tensorboard_log: Folder for TensorBoard logs, if any.
        policy_kwargs: Further settings of the world model, fields of `TDMPCConfig`.
        verbose: 0 for silent, 1 for information, 2 for debugging.
        seed: Seed of networks, actions and environment.
        device: Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices.

    Raises:
        ValueError: an argument is out of range.
    """

    buffer_size: int
    buffer_device: Literal["auto", "device", "host"]
    learning_starts: int
    batch_size: int
    train_freq: int
    gradient_steps: int
    pretrain_steps: int
    random_scale: float
    planner: str | Planner
    planner_kwargs: dict[str, Any]
    decision: Literal["mean", "bootstrap"] | None
    model_size: Literal["5m", "small"]
    loss_kwargs: dict[str, Any]
    official: bool
    precision: Literal["highest", "tf32", "bf16"]
    info_metrics: bool
    compiled: bool | None
    overlap_updates: bool
    tau: float
    ent_coef: float
    max_grad_norm: float
    gamma: float
    horizon: int
    episodic: bool
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | str | Schedule = 0.0003,
        buffer_size: int = 1000000,
        learning_starts: int = 1000,
        batch_size: int | None = None,
        tau: float = 0.01,
        gamma: float = 0.975,
        train_freq: int = 100,
        gradient_steps: int = -1,
        *,
        buffer_device: Literal["auto", "device", "host"] = "auto",
        pretrain_steps: int = 0,
        random_scale: float = 1.0,
        planner: str | Planner = "mppi",
        planner_kwargs: dict[str, Any] | None = None,
        decision: Literal["mean", "bootstrap"] | None = None,
        model_size: Literal["5m", "small"] = "5m",
        loss_kwargs: dict[str, Any] | None = None,
        official: bool = False,
        precision: Literal["highest", "tf32", "bf16"] = "highest",
        info_metrics: bool = False,
        compiled: bool | None = None,
        overlap_updates: bool = False,
        ent_coef: float = 0.0001,
        max_grad_norm: float = 20.0,
        horizon: int = 3,
        episodic: bool = False,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ) -> None: ...

class SPOWL(Signature):
    """SPOWL (arXiv:2506.04828, ECAI 2025): a safe policy and safe plans in a learned latent world.

    The environment must report ``info["cost"]``. The policy's loss has the cost critics in an augmented Lagrangian; the
    planner fits to sequences that are no worse than the policy's in return and in cost; and a plan is followed only
    where its value is no lower and its cost value no higher than the policy's (``decision``; the paper's rule is
    ``"mean"``). Deviations from the official code are numbered in ``docs/spowl.md``.

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
        env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
            environment, or a `FunctionalEnv`; `None` only in `load`.
        learning_rate: A number, or a function of the remaining progress, which falls from 1 to 0.
        buffer_size: Slots of the replay buffer for all environments.
        buffer_device: Where the replay buffer lives: `"device"`, `"host"` for memory-mapped files, or `"auto"` for the device if the buffer takes less than half of its memory.
        learning_starts: Steps with random actions before the first update.
        batch_size: Windows in a gradient step; `None` for 256, or 64 with `model_size="small"`.
        train_freq: Steps of each environment between two updates.
        gradient_steps: Gradient steps of an update; -1 for as many as environment steps were taken.
        pretrain_steps: Gradient steps of the first update instead, so that plans and policy are trained before they act; 0 for no such phase. With `learning_starts=0` they are taken on a replay buffer that was loaded, before the first step.
        random_scale: Factor on the random actions of the start; small ones are cautious. Discrete actions have no size.
        planner: Name of a planner (`spi list planners`), or a `Planner`.
        planner_kwargs: Settings of a planner given by name.
        decision: When to follow the plan instead of the policy: `None` for always, `"mean"` if its value is not lower (and its cost value not higher), `"bootstrap"` if that cannot be excluded.
        model_size: The papers' `"5m"`, for a GPU, or `"small"`; `policy_kwargs` and `planner_kwargs` override what it sets.
        loss_kwargs: Further fields of `SPOWLConfig`.
        official: Reproduce the published code's errors, see `docs/spowl.md`.
        precision: Of matrix products on an accelerator: `"highest"` for float32, `"tf32"` or `"bf16"` for speed.
        info_metrics: Put reports of the planner into `info["plan"]`, for callbacks.
        compiled: Run steps and gradient steps as one program: `None` if possible, `True` to insist, `False` to step in Python.
        overlap_updates: Begin an update while environments in Python make the last step before it, which its first 50 gradient steps then do not know; for a small `train_freq`.
        tau: Rate at which the slow critics follow.
        ent_coef: Weight of the policy's entropy.
        max_grad_norm: Bound on the gradient norm of model and policy each.
        gamma: Discount of rewards per step.
        horizon: Steps of a training window, and of a plan by default.
        episodic: Also predict whether an episode has ended; for environments with terminal states (TD-MPC2's code).
        cost_limit: Bound on the policy's mean cost value, the discounted sum of costs from a step on, not on an episode's cost; the published default allows almost none.
        use_lagrangian: Costs in the policy's loss; `False`: in plans only.
        multiplier_horizon: Gradient steps in which the multipliers take the course of the published ones over 990 thousand: start and growth of the penalty are multiplied by 990 000 / `multiplier_horizon`; `None` for the published course.
        cost_gamma: Discount of costs per step.
        shield: Bound on the cost critics' mean plus their standard deviation: where an action exceeds it, the one of the lowest among it and 16 uniform ones is executed; `None` for no shield (after arXiv:2010.14497).
        n_envs: Copies to make of a functional environment (`None`: 128) or of an id (`None`: 1).
        stats_window_size: Episodes in the log's running means.
        tensorboard_log: Folder for TensorBoard logs, if any.
        policy_kwargs: Further settings of the world model, fields of `TDMPCConfig`.
        verbose: 0 for silent, 1 for information, 2 for debugging.
        seed: Seed of networks, actions and environment.
        device: Where the arrays live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`; `"all"` or a number for several devices.

    Raises:
        ValueError: an argument is out of range.
    """

    buffer_size: int
    buffer_device: Literal["auto", "device", "host"]
    learning_starts: int
    batch_size: int
    train_freq: int
    gradient_steps: int
    pretrain_steps: int
    random_scale: float
    planner: str | Planner
    planner_kwargs: dict[str, Any]
    decision: Literal["mean", "bootstrap"] | None
    model_size: Literal["5m", "small"]
    loss_kwargs: dict[str, Any]
    official: bool
    precision: Literal["highest", "tf32", "bf16"]
    info_metrics: bool
    compiled: bool | None
    overlap_updates: bool
    tau: float
    ent_coef: float
    max_grad_norm: float
    gamma: float
    horizon: int
    episodic: bool
    cost_limit: float
    use_lagrangian: bool
    multiplier_horizon: int | None
    cost_gamma: float
    shield: float | None
    def __init__(
        self,
        policy: str | type[Policy],
        env: Any,
        learning_rate: float | str | Schedule = 0.0003,
        buffer_size: int = 1000000,
        learning_starts: int = 1000,
        batch_size: int | None = None,
        tau: float = 0.01,
        gamma: float = 0.975,
        train_freq: int = 100,
        gradient_steps: int = -1,
        *,
        buffer_device: Literal["auto", "device", "host"] = "auto",
        pretrain_steps: int = 0,
        random_scale: float = 1.0,
        planner: str | Planner = "safe_improvement",
        planner_kwargs: dict[str, Any] | None = None,
        decision: Literal["mean", "bootstrap"] | None = "bootstrap",
        model_size: Literal["5m", "small"] = "5m",
        loss_kwargs: dict[str, Any] | None = None,
        official: bool = False,
        precision: Literal["highest", "tf32", "bf16"] = "highest",
        info_metrics: bool = False,
        compiled: bool | None = None,
        overlap_updates: bool = False,
        ent_coef: float = 0.0001,
        max_grad_norm: float = 20.0,
        horizon: int = 3,
        episodic: bool = False,
        cost_limit: float = 0.1,
        use_lagrangian: bool = True,
        multiplier_horizon: int | None = None,
        cost_gamma: float = 0.997,
        shield: float | None = None,
        n_envs: int | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
    ) -> None: ...
