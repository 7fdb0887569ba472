"""``MlpPolicy``, ``CnnPolicy`` and ``MultiInputPolicy``: SB3's names for ``networks.actor_critic``."""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import jax
import numpy as np
from gymnasium import spaces

from spi_plugins.actions import from_action, to_action
from spi_plugins.algorithms import policy_kwargs as read
from spi_plugins.algorithms.action_masks import given_masks
from spi_plugins.algorithms.copies import load_policy
from spi_plugins.algorithms.observations import to_batch
from spi_plugins.archive import PathOrFile
from spi_plugins.hyperparameters import declared
from spi_plugins.networks.actor_critic import ActorCriticConfig, EncoderKind
from spi_plugins.networks.images import is_picture
from spi_plugins.types import ArraySpec, Observation, ObservationSpec

# Keys that the algorithm reads.
_APART = (*read.OPTIMIZER_KEYS, *read.EXTRACTOR_KEYS)
_ALLOWED = ("net_arch", "latent_arch", "activation_fn", *_APART, *declared(ActorCriticConfig))

_SEPARATE = MappingProxyType({"pi": (64, 64), "vf": (64, 64)})


class Policy:
    """``model.policy``: predicts for users, and knows its spaces. The algorithm holds the arrays.

    Copies and pickles hold the whole model, see ``JaxAlgorithm.save``, without environment and replay buffer.

    Attributes:
        observation_space: of one observation.
        action_space: of one action.
        model: the algorithm that it belongs to, if any.
    """

    model: Any = None
    encoder: ClassVar[EncoderKind]
    default_net_arch: ClassVar[Any]
    default_activation: ClassVar[str]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        decide: Callable[..., Any],
    ):
        self.observation_space = observation_space
        self.action_space = action_space
        self._decide = decide

    @classmethod
    def config(cls, spec: ObservationSpec, policy_kwargs: Mapping[str, Any]) -> ActorCriticConfig:
        """Translate ``policy_kwargs``.

        Raises:
            ValueError: an unknown keyword or value, or observations that the policy cannot read.
        """
        unknown = sorted(set(policy_kwargs) - set(_ALLOWED))
        if unknown:
            raise ValueError(f"policy_kwargs has unknown keys {unknown}; allowed are {', '.join(_ALLOWED)}.")
        cls.check_observations(spec)
        policy_kwargs = read.own_extractor(cls.encoder, policy_kwargs)
        given = {key: value for key, value in policy_kwargs.items() if key not in _APART}
        arch = given.pop("net_arch", None)
        if arch is None:
            # As in SB3, another extractor is followed by layers as vectors are.
            arch = _SEPARATE if policy_kwargs.get("features_extractor_class") else cls.default_net_arch
        pi, vf = read.widths(arch)
        # As in SB3 both have the same widths, but a CNN's trunk is shared, as in the papers' code.
        if vf is None and not (cls.encoder == "cnn" and given.get("share_features_extractor", True)):
            vf = pi
        readers: dict[str, Callable[[Any], Any]] = {
            "conv_layers": read.conv_layers,
            "categorical_latent": read.categories,
            "log_std_init": float,
            "actor_lipschitz": float,
        }
        latent = read.latent_widths(given.pop("latent_arch", None))
        activation = read.activation_name(given.pop("activation_fn", None) or cls.default_activation)
        for name, value in given.items():
            declared(ActorCriticConfig)[name].check(value)
            if name in readers and value is not None:
                given[name] = readers[name](value)
        return ActorCriticConfig(
            encoder=cls.encoder, pi=pi, vf=vf, latent=latent, activation=activation, **given
        )

    @classmethod
    def check_observations(cls, spec: ObservationSpec) -> None:
        """Refuse observations that this policy cannot read, naming the policy that can."""
        if not isinstance(spec, ArraySpec):
            raise ValueError(f"{cls.__name__} reads one array; for Dict observations use 'MultiInputPolicy'.")

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray[Any, Any], Any]:
        """Actions for one observation or a batch.

        Args:
            observation: ``[*obs]`` or ``[B, *obs]``, or a dict of such arrays; images with either order of
                axes.
            state: of agents that plan, the plans that the last call returned; ``None`` at the start. Others
                pass it through.
            episode_start: ``[B]``, where an episode begins and its plan must be dropped.
            deterministic: the most likely action instead of a sample; no exploration noise.
            action_masks: which actions are allowed, ``[n]`` or ``[B, n]`` booleans; ``n`` counts the values of all
                entries of a discrete action, in order. ``None`` allows all.

        Returns:
            The actions, batched as the observations were, inside the action space; and the state for the
            next call.

        Raises:
            ValueError: the observation has a wrong shape or holds NaN or infinity, ``state`` and ``episode_start``
                belong to another number of environments, or ``action_masks`` do not fit or allow nothing.
        """
        batch, batched = to_batch(self.observation_space, observation)
        masks = self._masks(action_masks, batch)
        action, state = self._choose(batch, state, episode_start, deterministic, *masks)
        # With an ellipsis a single action is an array even if it is one number, as SB3's are.
        return (action if batched else action[0, ...]), state

    def _choose(
        self, batch: Observation, state: Any, episode_start: Any, deterministic: bool, *masks: Any
    ) -> tuple[np.ndarray[Any, Any], Any]:
        """Actions for a batch, with masks or without."""
        decision = self._decide(batch, *masks, deterministic=deterministic)
        return to_action(self.action_space, decision), state

    def _masks(self, given: Any, batch: Observation) -> tuple[np.ndarray[Any, Any], ...]:
        """The masks ``[B, P]`` that a user gave, or nothing."""
        if given is None:
            return ()
        return (given_masks(self.action_space, given, len(jax.tree.leaves(batch)[0])),)

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.attrgetter("policy"), (self._owner(),)

    def _owner(self) -> Any:
        if self.model is None:
            raise ValueError(f"This {type(self).__name__} belongs to no model, which would hold its arrays.")
        return self.model

    @property
    def squash_output(self) -> bool:
        """Whether actions are mapped into their bounds by tanh."""
        return self.model is not None and bool(self.model.policy_kwargs.get("squash_output", False))

    @property
    def device(self) -> jax.Device:
        """Where the arrays live."""
        device: jax.Device = self._owner().jax_device
        return device

    def save(self, path: PathOrFile) -> None:
        """Write the model that the policy belongs to, as its ``save`` does."""
        self._owner().save(path)

    @classmethod
    def load(cls, path: PathOrFile, device: Any = "auto") -> Self:
        """Read a policy from its model's file.

        Args:
            path: what ``save`` wrote, of the policy or of the model.
            device: as in the constructor of an algorithm.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: the file is damaged, of an algorithm that is not registered, or holds another policy.
        """
        policy: Self = load_policy(cls, path, device)
        return policy

    def predict_values(self, observation: Observation) -> np.ndarray[Any, Any]:
        """The critic's values ``[B, 1]`` of one observation or a batch, as training uses them."""
        critic = self._critic()
        batch, _ = to_batch(self.observation_space, observation)
        return critic.values_of(batch)[:, None]  # type: ignore[no-any-return]

    def evaluate_actions(
        self, observation: Observation, actions: Any, action_masks: Any = None
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Values ``[B, 1]``, log-probabilities ``[B]`` and entropies ``[B]``, as training uses them.

        Args:
            observation: one or a batch, as ``predict`` takes them.
            actions: one for each observation, in the action space or, for a ``Box``, before clipping; with
                ``squash_output`` in [-1, 1].
            action_masks: as ``predict`` takes them; of an action that is not allowed the log-probability is huge and
                negative.
        """
        critic = self._critic()
        batch, _ = to_batch(self.observation_space, observation)
        shape = (len(jax.tree.leaves(batch)[0]), *(self.action_space.shape or ()))
        action = from_action(self.action_space, np.asarray(actions)).reshape(shape)
        value, log_prob, entropy = critic.evaluations_of(batch, action, *self._masks(action_masks, batch))
        return value[:, None], log_prob, entropy

    def _critic(self) -> Any:
        owner = self._owner()
        if not hasattr(owner, "values_of"):
            raise NotImplementedError(
                f"A {type(owner).__name__} plans: it has no values of observations and no probabilities of actions."
            )
        return owner

    def set_training_mode(self, mode: bool) -> None:
        """Do nothing: no layer behaves differently in training. SB3's tools call this."""


class MlpPolicy(Policy):
    """Dense layers on the flattened observation; the latent state is the actor's last hidden layer."""

    encoder = "mlp"
    default_net_arch = _SEPARATE
    default_activation = "tanh"


class CnnPolicy(Policy):
    """Convolutions on one image, gray or colored, or on a stack of them; the latent state is their last feature map."""

    encoder = "cnn"
    default_net_arch = (512,)
    default_activation = "relu"

    @classmethod
    def check_observations(cls, spec: ObservationSpec) -> None:
        """Refuse anything but images, of any dtype, gray, colored or stacked."""
        super().check_observations(spec)
        if isinstance(spec, ArraySpec) and not is_picture(spec):
            raise ValueError(
                f"CnnPolicy reads images (a Box with two to four axes), got {spec.kind} observations "
                f"of shape {spec.shape} and dtype {spec.dtype}; use 'MlpPolicy'."
            )


class MultiInputPolicy(Policy):
    """Dict observations: images through convolutions, the rest flattened, then dense layers."""

    encoder = "multi_input"
    default_net_arch = _SEPARATE
    default_activation = "tanh"

    @classmethod
    def check_observations(cls, spec: ObservationSpec) -> None:
        """Refuse observations that are not a Dict."""
        if isinstance(spec, ArraySpec):
            raise ValueError(
                f"MultiInputPolicy reads Dict observations, got {spec.kind} observations of shape "
                f"{spec.shape}; use 'MlpPolicy' or 'CnnPolicy'."
            )
