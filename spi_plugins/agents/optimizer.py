"""The optimizer of on-policy agents, and its settings."""

import dataclasses
from typing import Literal

import optax

from spi_plugins.hyperparameters import Config, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config):
    """Adam under torch's and optax's names; the learning rate comes with each update."""

    kind: Literal["adam", "adamw"] = "adam"
    b1: float = hyperparameter(0.9, "Decay of the mean of gradients", low=0, below=1)
    b2: float = hyperparameter(0.999, "Decay of the mean of their squares", low=0, below=1)
    eps: float = hyperparameter(1e-5, "Added to the root of that mean", above=0)
    weight_decay: float | None = hyperparameter(
        None,
        "Pull of all parameters toward 0: `None` for 0 with Adam and 0.01 with AdamW, as in torch",
        low=0,
    )


def make_optimizer(
    max_grad_norm: float, config: OptimizerConfig | None = None
) -> optax.GradientTransformation:
    """Adam behind a bound on the gradient's norm; ``move`` applies the learning rate.

    As in torch, Adam adds the decay to the gradient, AdamW to the step.
    """
    config = config or OptimizerConfig()
    decay = config.weight_decay if config.weight_decay is not None else 0.01 * (config.kind == "adamw")
    parts = [
        optax.clip_by_global_norm(max_grad_norm),
        optax.scale_by_adam(config.b1, config.b2, config.eps),
    ]
    if decay:
        parts.insert(1 if config.kind == "adam" else 2, optax.add_decayed_weights(decay))
    return optax.chain(*parts)
