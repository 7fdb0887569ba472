r"""The implicit world model of SPOWL and TD-MPC2: latent dynamics without a decoder, as pure functions.

Encoder, dynamics, reward, ensembles of cost, Q and cost-Q, and the policy prior live on one latent with SimNorm.
Rewards, costs and values are distributions over 101 bins of their symlog. Sources: "Safe Planning and Policy
Optimization via World Model Learning" (arXiv:2506.04828) and its code, TD-MPC2 (arXiv:2310.16828).

The parameters are a dict with ``encoder``, ``dynamics``, ``reward``, ``value``, ``policy`` and, where the model has
them, ``cost``, ``cost_value``, ``decoder`` and ``termination``.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from spi_plugins.action_heads import make_action_head
from spi_plugins.backend import loop
from spi_plugins.distributions import Bins, TanhNormal
from spi_plugins.networks.encoders import flatten
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec, Params
from spi_plugins.world_models.model import Heads, Model, ModelSpec, Step
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig, make_all_heads, make_networks

# The networks on latents and actions whose output are bins, in the order in which they are merged into one ensemble.
HEADS = ("reward", "cost", "value", "cost_value")


class Prediction(NamedTuple):
    """Logits of every head for latents and actions in training, with dropout where the model has it."""

    reward: Float[Array, "N K"]
    cost: Float[Array, "C N K"]  # C is 0 without costs
    value: Float[Array, "E N K"]
    cost_value: Float[Array, "C N K"]


class TDMPC:
    """The networks as pure functions of the parameters.

    Attributes:
        config: the settings.
        head: what kind of actions there are. Only ``model`` takes them as they are; all other functions take vectors.
        bins: the distributions of rewards, costs and values.
        model: the model as planners see it.
        decode: ``(params, z) -> [N, O]``, the flat observation; ``None`` without a decoder.
        decoded_of: ``(obs) -> [N, O]``, the target of ``decode``; ``None`` without a decoder.
    """

    def __init__(self, observations: ObservationSpec, actions: ActionSpec, config: TDMPCConfig):
        """Build the networks."""
        self.observations, self.config = observations, config
        gaussian = TanhNormal(config.log_std_min, config.log_std_max, config.official_log_prob)
        self.head = make_action_head(actions.nvec, actions.shape, actions.size, gaussian)
        self._networks = make_networks(observations, actions.size, self.head.n_parameters, config)
        self._heads = make_all_heads(actions.size, config)
        sizes = (1, config.n_costs, config.n_values, config.n_costs)
        self._members = dict(zip(HEADS, sizes, strict=True))
        self.bins = Bins(config.n_bins, config.bin_min, config.bin_max)
        self.decode: Callable[[Params, Array], Array] | None = None
        self.decoded_of: Callable[[Observation], Array] | None = None
        if config.decoder and isinstance(observations, ArraySpec):
            self.decode = functools.partial(self.forward, "decoder")
            self.decoded_of = functools.partial(flatten, observations)
        self.model = self._model(actions)

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model that planners see."""
        return self.model.spec

    def init(self, key: Array) -> Params:
        """Draw initial parameters."""
        keys = jax.random.split(key, len(self._networks))
        return {name: net.init(k) for (name, net), k in zip(self._networks.items(), keys, strict=True)}

    def forward(self, name: str, params: Params, *inputs: Observation) -> Array:
        """Apply one of the networks."""
        return self._networks[name].apply(params[name], *inputs)

    def _step(self, params: Params, z: Array, action: Array, key: Array | None) -> Step:
        del key  # deterministic
        x = _joint(z, self.head.vector(action))
        heads = self._decoded_heads(self._ensemble(params, "reward", "cost"), x)
        next_z, terminated = self.forward("dynamics", params, x), jnp.zeros(z.shape[0])
        if self.config.episodic:
            terminated = jax.nn.sigmoid(self.termination(params, next_z))
        return Step(next_z, heads[0], heads[1:], terminated)

    def _ensemble(self, params: Params, *names: str) -> Params:
        """Networks that follow one another in ``HEADS`` as one ensemble, of parameters that are merged or not."""
        names = tuple(name for name in names if self._members[name])
        if "heads" not in params:
            return _stacked([params[name] for name in names])
        start = sum(self._members[name] for name in HEADS[: HEADS.index(names[0])])
        end = start + sum(self._members[name] for name in names)
        return jax.tree.map(lambda p: p[start:end], params["heads"])

    def _decoded_heads(self, ensemble: Params, x: Array, key: Array | None = None) -> Float[Array, "K N"]:
        return self.bins.decode(self._networks["value"].apply(ensemble, x, key))

    def termination(self, params: Params, z: Array) -> Float[Array, " N"]:
        """The logits of latents being terminal, in an ``episodic`` model."""
        return self.forward("termination", params, z)[:, 0]

    def merged(self, params: Params) -> Params:
        """The same parameters with all heads as the members of one ensemble, ``heads``; without the policy's.

        All functions of the model take these, too, except for the policy.
        """
        rest = {name: tree for name, tree in params.items() if name not in (*HEADS, "policy")}
        return {**rest, "heads": self._ensemble(params, *HEADS)}

    def unmerged(self, merged: Params) -> Params:
        """The parameters by the names of the networks, as ``init`` makes them, but without the policy's."""
        rest = {name: tree for name, tree in merged.items() if name != "heads"}
        heads = {name: self._ensemble(merged, name) for name in HEADS if self._members[name]}
        return {**rest, **heads, "reward": jax.tree.map(lambda p: p[0], heads["reward"])}

    def critics_of(self, params: Params) -> Params:
        """Both critics as one ensemble: what has slow copies as targets."""
        return self._ensemble(params, "value", "cost_value")

    def critics_by_name(self, ensemble: Params) -> Params:
        """The critics of ``critics_of``, by the names of the networks."""
        n = self.config.n_values
        by_name = {"value": jax.tree.map(lambda p: p[:n], ensemble)}
        if self.config.n_costs:
            by_name["cost_value"] = jax.tree.map(lambda p: p[n:], ensemble)
        return by_name

    def rollout(
        self,
        params: Params,
        obs: Observation,
        action: Float[Array, "H B A"],
        valid: Bool[Array, "H B"],
        target: Float[Array, "H B Z"],
    ) -> Float[Array, "H+1 B Z"]:
        """Latents under the actions; where not ``valid``, the target, which starts a new episode, comes next."""
        first = self.forward("encoder", params, obs)

        # In the backward pass a step is computed again: keeping all of its results would take more memory and kernels.
        @jax.checkpoint
        def advance(z: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            action, valid, target = step
            predicted = self.forward("dynamics", params, _joint(z, action))
            z = jnp.where(valid[:, None], predicted, target)
            return z, z

        _, following = loop(advance, first, (action, valid, target))
        return jnp.concatenate([first[None], following])

    def heads(self, params: Params, z: Array, action: Array, key: PRNGKeyArray) -> Prediction:
        """The logits for the losses."""
        logits = self._heads.apply(self._ensemble(params, *HEADS), _joint(z, action), key)
        return Prediction(*self._by_head(logits))

    def _by_head(self, rows: Float[Array, "M N *K"]) -> tuple[Array, Array, Array, Array]:
        """The rows of all heads, by network."""
        n_costs, n_values = self.config.n_costs, self.config.n_values
        reward, cost, value, cost_value = jnp.split(rows, np.cumsum([1, n_costs, n_values]))
        return reward[0], cost, value, cost_value

    def _critic(
        self, name: str, params: Params, z: Array, action: Array, members: Array | None
    ) -> Float[Array, "K N"]:
        x = _joint(z, self.head.vector(action))
        return self._decoded_heads(_members(self._ensemble(params, name), members), x)

    def critics(
        self, ensemble: Params, z: Array, action: Array, members: Array | None, key: Array | None = None
    ) -> tuple[Float[Array, "K N"], Float[Array, "E N"]]:
        """Values by the heads ``members`` (``None`` for all), and costs; with dropout if there is a key.

        The ensemble is one of ``critics_of``.
        """
        n_values = self.config.n_values
        if members is not None:
            every = jnp.concatenate([members, n_values + jnp.arange(self.config.n_costs)])
            ensemble, n_values = _members(ensemble, every), len(members)
        both = self._decoded_heads(ensemble, _joint(z, action), key)
        return both[:n_values], both[n_values:]

    def _all_heads(self, params: Params, z: Array, action: Array) -> Heads:
        """Reward, costs and both critics by all heads."""
        x = _joint(z, self.head.vector(action))
        decoded = self._decoded_heads(self._ensemble(params, *HEADS), x)
        return Heads(*self._by_head(decoded))

    def _disagreement(self, params: Params, z: Array, action: Array) -> Float[Array, " N"]:
        return jnp.std(self._critic("value", params, z, action, None), axis=0)

    def act(self, params: Params, z: Array, key: Array) -> tuple[Array, Array]:
        """Sample vectors of the policy's actions, and numbers whose mean is minus its entropy."""
        return self.head.sample(self.forward("policy", params, z), key)

    def _policy(self, params: Params, z: Array, key: Array, *, deterministic: bool) -> Shaped[Array, " N *S"]:
        parameters = self.forward("policy", params, z)
        head = self.head
        return head.action(head.mode(parameters) if deterministic else head.sample(parameters, key)[0])

    def _decoded(self, params: Params, z: Array) -> Float[Array, " N *O"]:
        assert isinstance(self.observations, ArraySpec)
        return self.forward("decoder", params, z).reshape(-1, *self.observations.shape)

    def _model(self, actions: ActionSpec) -> Model:
        config, observations = self.config, self.observations
        # Only a Box is decoded in its own units; a one-hot has none.
        decodes = config.decoder and isinstance(observations, ArraySpec) and observations.kind == "box"
        return Model(
            spec=ModelSpec(
                latent_shape=(config.latent_dim,),
                action_size=actions.size,
                nvec=actions.nvec,
                action_shape=actions.shape if actions.nvec else (),
                horizon=config.horizon,
                gamma=config.gamma,
                cost_gamma=config.cost_gamma,
                n_costs=config.n_costs,
                n_values=config.n_values,
                n_cost_values=config.n_costs,
                has_termination=config.episodic,
                latent_low=0.0,  # SimNorm's
                latent_high=1.0,
            ),
            encode=functools.partial(self.forward, "encoder"),
            step=self._step,
            value=functools.partial(self._critic, "value"),
            cost_value=functools.partial(self._critic, "cost_value") if config.n_costs else None,
            heads=self._all_heads,
            policy=self._policy,
            decode=self._decoded if decodes else None,
            uncertainty=self._disagreement if config.n_values > 1 else None,
        )


def _members(ensemble: Params, members: Array | None) -> Params:
    """Some of an ensemble, or all."""
    if members is None:
        return ensemble
    return jax.tree.map(lambda p: p.at[members].get(mode="promise_in_bounds"), ensemble)


def _stacked(networks: list[Params]) -> Params:
    """Networks and ensembles of the same layers as one ensemble: a third of the products, each of them larger."""

    def join(*parts: Array) -> Array:
        rank = max(part.ndim for part in parts)
        return jnp.concatenate([part if part.ndim == rank else part[None] for part in parts])

    if len(networks) == 1 and networks[0]["kernel0"].ndim == 2:
        return jax.tree.map(lambda p: p[None], networks[0])
    return jax.tree.map(join, *networks)


def _joint(z: Array, action: Array) -> Array:
    return jnp.concatenate([z, action], axis=-1)


def make_tdmpc(
    observations: ObservationSpec, action_spec: ActionSpec, config: TDMPCConfig | None = None
) -> TDMPC:
    """Bind the networks into a model, by default with the paper's settings.

    Raises:
        ValueError: the observations cannot be decoded although a decoder is wanted.
    """
    return TDMPC(observations, action_spec, TDMPCConfig() if config is None else config)
