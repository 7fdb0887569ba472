"""The arrays of a planning agent's state in two layouts: by the networks' names, and joined into few long ones.

An optimizer's step on seventy short arrays would be most of what XLA compiles, and each array costs time at each call.
So an agent's state is joined wherever it is on a device; only files, and whoever looks into them, see names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spi_plugins.agents.compact import Compact, compact, expand
from spi_plugins.agents.planning import SPOWLState
from spi_plugins.types import Params, PyTree
from spi_plugins.world_models.tdmpc import TDMPC


class Optimizers(NamedTuple):
    """Of the model, all but the policy, and of the policy."""

    model: optax.GradientTransformation
    policy: optax.GradientTransformation


Groups: TypeAlias = dict[str, Compact]  # ``encoder``, which has its own learning rate, and ``others``


def grouped(merged: Params) -> Groups:
    """Join the arrays of the model's merged parameters."""
    others = {name: tree for name, tree in merged.items() if name != "encoder"}
    return {"encoder": compact(merged["encoder"]), "others": compact(others)}


class Layout:
    """Translates between the layouts."""

    def __init__(self, world: TDMPC, optimizers: Optimizers):
        """Take the shapes of the world's parameters."""
        self._world, self._optimizers = world, optimizers
        params = jax.eval_shape(world.init, jax.random.key(0))
        self._policy = params["policy"]
        self._merged = jax.eval_shape(world.merged, params)
        self._critics = jax.eval_shape(world.critics_of, params)

    def join_params(self, params: Params) -> tuple[Groups, Compact]:
        """The parameters of the model and of the policy."""
        return grouped(self._world.merged(params)), compact(params["policy"])

    def merged(self, groups: Groups) -> Params:
        """The model's parameters, merged."""
        others = {name: tree for name, tree in self._merged.items() if name != "encoder"}
        encoder = expand(groups["encoder"], self._merged["encoder"])
        return {**expand(groups["others"], others), "encoder": encoder}

    def policy(self, joined: Compact) -> Params:
        """The policy's parameters."""
        return expand(joined, self._policy)

    def critics(self, joined: Compact) -> Params:
        """The slow critics as one ensemble."""
        return expand(joined, self._critics)

    def params(self, params: tuple[Groups, Compact]) -> Params:
        """What the world's functions take: merged parameters, and the policy's."""
        groups, policy = params
        return {**self.merged(groups), "policy": self.policy(policy)}

    def named(self, state: SPOWLState) -> SPOWLState:
        """A state of arrays, or of their shapes, with all of them by the networks' names, in the host's memory."""
        arrays = state.params, state.targets, state.opt_state
        if isinstance(jax.tree.leaves(arrays)[0], jax.ShapeDtypeStruct):
            params, targets, opt_state = jax.eval_shape(self._by_name, *arrays)
        else:
            params, targets, opt_state = self._by_name(*jax.tree.map(np.asarray, arrays))
        return state._replace(params=params, targets=targets, opt_state=opt_state)

    def joined(self, state: SPOWLState) -> SPOWLState:
        """The state of ``named`` arrays."""
        arrays = state.params, state.targets, state.opt_state
        params, targets, opt_state = jax.tree.map(jnp.asarray, arrays)
        return state._replace(
            params=self.join_params(params),
            targets=compact(self._world.critics_of(targets)),
            opt_state=self._translated(
                (lambda model: grouped(self._world.merged(model)), compact), opt_state
            ),
        )

    def _by_name(self, params: tuple[Groups, Compact], targets: Compact, opt_state: PyTree) -> list[PyTree]:
        def model(groups: Groups) -> Params:
            return self._world.unmerged(self.merged(groups))

        groups, policy = params
        critics = self._world.critics_by_name(self.critics(targets))
        named = {**model(groups), "policy": self.policy(policy)}
        return [named, critics, self._translated((model, self.policy), opt_state)]

    def _translated(
        self, translations: tuple[Callable[[Any], PyTree], Callable[[Any], PyTree]], states: PyTree
    ) -> PyTree:
        """Translate each copy of the parameters in the optimizers' states; their counters stay."""

        def one(
            optimizer: optax.GradientTransformation, translate: Callable[[Any], PyTree], state: PyTree
        ) -> PyTree:
            places = jax.eval_shape(optimizer.init, jnp.zeros(()))
            return jax.tree.map(
                lambda place, part: translate(part) if place.dtype == jnp.float32 else part, places, state
            )

        return tuple(one(*each) for each in zip(self._optimizers, translations, states, strict=True))
