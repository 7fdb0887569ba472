"""What PPO, DeepSPI, DeepMDP and DreamSPI share: sizes of minibatches, and the agent's configs."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from spi_plugins.agents.constraint import Constraint, CostConfig
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.algorithms.constraints import check_constraint, episode_limits, make_method
from spi_plugins.algorithms.devices import check_memory
from spi_plugins.algorithms.on_policy import OnPolicyAlgorithm
from spi_plugins.algorithms.policy_kwargs import features_extractor, optimizer
from spi_plugins.algorithms.settings import WorldModelSettings
from spi_plugins.archive import Archive
from spi_plugins.buffers import slot_bytes
from spi_plugins.fitting.deep_mdp import make_deep_mdp_world
from spi_plugins.hyperparameters import Rule, configured, declared
from spi_plugins.losses.deep_spi import Auxiliary
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.types import COST_KEY
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig, TransitionDensity
from spi_plugins.world_models.model import WorldModel

# Fields of DeepMDPConfig that are arguments; the others are keys of `world_model_kwargs`.
WORLD_MODEL_HYPERPARAMETERS = {
    **declared(DeepMDPConfig, "transition_density", "lipschitz"),
    "termination_model": declared(DeepMDPConfig)["termination"]._replace(name="termination_model"),
    **declared(WorldModelSettings),
}

# Where a model file has the costs of episodes that were running.
_RUNNING = "run/constraint/running"


def _divisors(total: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(total) + 1) if total % d == 0]
    return sorted({d for pair in small for d in (pair, total // pair)} - {1})


def warn_truncated(name: str, size: int, product: str, total: int) -> None:
    """Warn, in SB3's words, that the last minibatch of an epoch is smaller than the others."""
    if total % size == 0:
        return
    close = sorted(sorted(_divisors(total), key=lambda d: abs(d - size))[:4])
    warnings.warn(
        f"You have specified a mini-batch size of {size}, but because there are {product} steps, after every "
        f"{total // size} untruncated mini-batches, there will be a truncated mini-batch of size {total % size}. Sizes "
        f"near {name}={size} that divide it: {', '.join(map(str, close))}.",
        stacklevel=2,
    )


class ClippedAlgorithm(OnPolicyAlgorithm):
    """An on-policy algorithm whose agent takes minibatches of a rollout for the clipped surrogate."""

    auxiliary: ClassVar[Auxiliary]
    gamma: float
    n_epochs: int
    normalize_advantage: bool
    transition_density: TransitionDensity
    lipschitz: bool
    termination_model: bool
    world_model_kwargs: dict[str, Any]

    constraint: str | None = None
    cost_limit: float | Mapping[str, float] | None = None
    constraint_kwargs: dict[str, Any]

    def _check_arguments(self) -> None:
        self._world_model_config()
        if "constraint" in self.hyperparameters:
            check_constraint(self.constraint, self.cost_limit, self.constraint_kwargs)

    def _choose_batches(self) -> None:
        """Fill in the sizes that were left open, and check them."""
        self.automatic_arguments |= {
            name for name in ("n_steps", "batch_size") if getattr(self, name) is None
        }
        if self.n_steps is None:
            self.n_steps = self._rule("n_steps")(self.n_envs)
        total = self.n_steps * self.n_envs
        product = f"n_steps * n_envs = {self.n_steps} * {self.n_envs} = {total}"
        if self.normalize_advantage:
            reason = "a minibatch of one has no mean to compare with; or pass normalize_advantage=False."
            if total < 2:
                raise ValueError(f"{product} must be at least 2: {reason}")
            if self.batch_size == 1:
                raise ValueError(f"batch_size must be at least 2, got 1: {reason}")
        if self.batch_size is None:
            size = self._rule("batch_size")(total, self.n_envs)
            self.batch_size = min(
                _divisors(total) or [1], key=lambda d: (d % self.devices.number > 0, abs(d - size))
            )
        self.devices.check_divides("batch_size", min(self.batch_size, total))
        warn_truncated("batch_size", self.batch_size, product, total)
        observations, actions = self._specs()
        numbers = 4 * total * self.n_epochs  # of the rows, as the epochs visit them
        check_memory(
            f"A rollout of {product} steps",
            total * slot_bytes(observations, actions.size) + numbers,
            self.jax_device,
        )

    def _rule(self, name: str) -> Callable[..., int]:
        """How a size that was left open is chosen."""
        rule: Rule = getattr(self.hyperparameters[name].by_policy, self.default_kind)
        assert rule.value is not None
        return rule.value

    def _make_agent(self) -> OnPolicyAgent:
        self._choose_batches()
        return make_deep_spi(
            *self._specs(),
            self._policy_config(),
            self._agent_config(),
            self._world_model_config(),
            self._constraint(),
        )

    def _constraint(self) -> Constraint | None:
        """The constraint, if there is one; a limit that was left open is then known."""
        if self.constraint is None:
            return None
        limits = episode_limits(self.cost_limit, self.env)
        self.cost_limit = limits if len(limits) > 1 or COST_KEY not in limits else limits[COST_KEY]
        method = make_method(self.constraint, self.constraint_kwargs)
        return Constraint(
            method, tuple(limits), tuple(limits.values()), self.n_envs, self._configured(CostConfig)
        )

    @property
    def multipliers(self) -> dict[str, float]:
        """The price of each cost by its name in the infos; empty without a constraint that has prices."""
        constraint = self.agent.constraint
        if constraint is None or constraint.method.multipliers is None:
            return {}
        with self._exchange:
            prices = constraint.method.multipliers(self._agent_state.constraint.method)
        return dict(zip(constraint.names, np.asarray(prices).tolist(), strict=True))

    @property
    def episode_cost_limit(self) -> float | None:
        """The limit of an episode's ``info["cost"]``, if there is one."""
        limit = self.cost_limit
        return limit.get(COST_KEY) if isinstance(limit, Mapping) else limit

    def _restore(self, file: Archive) -> None:
        """Take all arrays of a file; costs of running episodes only of as many copies, for others begin new ones."""
        watched = getattr(self._agent_state, "constraint", None)
        stored = file.arrays.get(_RUNNING)
        if watched is not None and stored is not None and stored.shape != watched.running.shape:
            file = file._replace(arrays=file.arrays | {_RUNNING: np.asarray(watched.running)})
        super()._restore(file)

    def _policy_config(self, **defaults: Any) -> ActorCriticConfig:
        config = self.policy_class.config(self._specs()[0], {**defaults, **self.policy_kwargs})
        extractor = features_extractor(self.observation_space, self.policy_kwargs)
        return dataclasses.replace(config, use_sde=self.use_sde, features_extractor=extractor)

    def _agent_config(self, **others: Any) -> DeepSPIConfig:
        return self._configured(
            DeepSPIConfig, auxiliary=self.auxiliary, optimizer=optimizer(self.policy_kwargs), **others
        )

    def _world_model_config(self) -> DeepMDPConfig:
        if self.auxiliary == "none":
            return DeepMDPConfig()
        return configured(
            DeepMDPConfig,
            self.world_model_kwargs,
            "world_model_kwargs",
            transition_density=self.transition_density,
            lipschitz=self.lipschitz,
            termination=self.termination_model,
            cost=self.constraint is not None,
        )

    def _world(self) -> WorldModel | None:
        if self.agent.world_model is None:
            return None
        if self._policy_config().features_extractor is not None:
            raise ValueError(
                "A world model whose encoder is a features_extractor_class cannot be saved alone: its file holds no "
                "code. save() keeps the whole model."
            )
        observations, actions = self._specs()
        return make_deep_mdp_world(
            observations,
            actions,
            encoder=dataclasses.asdict(self._policy_config()),
            model=dataclasses.asdict(self._world_model_config()),
            gamma=self.gamma,
        )
