"""A functional environment as a Stable-Baselines3 ``VecEnv``: one fused, jitted step, NumPy outside."""

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from spi_plugins.algorithms.vec_envs.native import NativeVecEnv, RawStep, put_rows, take_rows, to_host
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.arrays import local
from spi_plugins.checks import check_integer
from spi_plugins.envs import autoreset
from spi_plugins.envs.autoreset import VectorState, VectorStep
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import action_space, observation_space
from spi_plugins.types import COST_KEY, Observation, PyTree

# The environment is static, so adapters of the same one (training, evaluation) compile once.
_reset = jax.jit(autoreset.reset, static_argnums=0)
_step = jax.jit(autoreset.step, static_argnums=0)
_masks = jax.jit(autoreset.action_masks, static_argnums=0)


class FunctionalVecEnv(NativeVecEnv):
    """``B`` copies of a functional environment, stepped together on JAX's default device.

    Every info has ``"cost"`` and what the environment's ``info`` says; the last one of an episode also has
    ``"episode"`` with return, length and cost.
    ``get_state`` determines everything that follows: it includes random keys, running episodes and their sums.

    Args:
        functional: the environment.
        num_envs: number of copies.
        seed: of the first reset; drawn from NumPy's global generator if ``None``. ``seed()`` overrides it.

    Attributes:
        functional: the environment.
        params: its parameters, ``functional.params`` at first. Assign others of the same shapes to swap a
            world model's weights without a new compilation.
        first_seed: of the first reset.

    Raises:
        TypeError: ``functional`` is not a ``FunctionalEnv``.
        ValueError: ``num_envs`` is not positive.
    """

    def __init__(self, functional: FunctionalEnv, num_envs: int, seed: int | None = None) -> None:
        if not isinstance(functional, FunctionalEnv):
            raise TypeError(f"functional must be a FunctionalEnv, got {type(functional).__name__}.")
        check_integer("num_envs", num_envs, low=1)
        self.functional = functional
        self.params: PyTree = functional.params
        # Parameters may be arrays, which cannot be hashed; they are passed separately.
        self._static = functional._replace(params=())
        self._state: VectorState | None = None
        self._next_obs: Observation = None
        self._start = time.time()
        self.first_seed = int(np.random.randint(2**31)) if seed is None else seed  # noqa: NPY002 - SB3's
        super().__init__(
            num_envs, observation_space(functional.observation_spec), action_space(functional.action_spec)
        )

    def get_state(self) -> VectorState:
        """Return the state between two steps, as JAX arrays.

        Raises:
            RuntimeError: ``reset`` was not called yet.
        """
        if self._state is None:
            raise RuntimeError("get_state() came before reset(): there is no state yet.")
        state: VectorState = local(self._state)
        return state

    def shapes(self) -> tuple[VectorState, Observation]:
        """Shapes and dtypes of the state and of the observations ``[B, ...]``, before or after ``reset``."""
        keys = jax.eval_shape(self._keys, 0)
        shapes: tuple[VectorState, Observation]
        shapes = jax.eval_shape(functools.partial(autoreset.reset, self._static), self.params, keys)
        return shapes

    def set_state(self, state: VectorState) -> None:
        """Go on from a state of ``get_state``, of this or of another process.

        Raises:
            ValueError: the state is of another environment or of another number of copies.
        """
        want, _ = self.shapes()
        structures: list[Any] = [jax.tree.structure(state), jax.tree.structure(want)]
        if structures[0] != structures[1]:
            raise ValueError(f"The state is not one of {self._name()}: its structure differs.")
        got = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
        expected = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(want)]
        if got != expected:
            raise ValueError(f"The state does not fit {self._name()}: got {got}, expected {expected}.")
        # A copy, because compiled training donates the arrays that it gives here.
        self._state = jax.tree.map(jnp.copy, state)
        self._started = True

    def adopt_state(self, state: VectorState) -> None:
        """Go on from a state of compiled training, without ``set_state``'s check and copy.

        The arrays are not copied: whoever donates them later must first replace them.
        """
        self._state = state
        self._started = True

    def _keys(self, seed: int) -> jax.Array:
        return jax.random.split(jax.random.key(seed), self.num_envs)

    def _begin(self) -> tuple[Observation, Infos]:
        if any(self._options):
            raise ValueError(f"A functional environment takes no options at reset, got {self._options}.")
        seed = self._seeds[0]
        if seed is None and self._state is not None:
            keys = local(self._state.key)
        else:
            keys = self._keys(self.first_seed if seed is None else seed)
        self._state, obs = _reset(self._static, self.params, keys)
        return to_host(self.observation_space, obs), [{} for _ in range(self.num_envs)]

    def _advance(self, actions: NDArray[Any], valid: NDArray[np.bool_]) -> RawStep:
        dtype = np.float32 if self.functional.action_spec.kind == "box" else np.int32
        action = jnp.asarray(actions, dtype)
        self._state, out = _step(self._static, self.params, self.get_state(), action)
        # Where nothing ended, the next observation is the one reached: only one of the two is copied.
        self._next_obs = out.obs
        reward, terminated, truncated = map(np.array, (out.reward, out.terminated, out.truncated))
        done = terminated | truncated
        infos: Infos = [{COST_KEY: cost} for cost in np.asarray(out.cost).tolist()]
        for name, values in out.info.items():
            for info, value in zip(infos, np.asarray(values).tolist(), strict=True):
                info[name] = value
        if done.any():
            self._report(out, np.flatnonzero(done), infos)
        return RawStep(
            to_host(self.observation_space, out.final_obs),
            reward,
            terminated,
            truncated,
            infos,
            score=reward,
            episode_over=done,
        )

    def _report(self, out: VectorStep, ended: NDArray[np.intp], infos: Infos) -> None:
        sums = [np.asarray(x) for x in (out.episode_return, out.episode_length, out.episode_cost)]
        elapsed = round(time.time() - self._start, 6)
        for i in ended:
            total, length, cost = (x[i].item() for x in sums)
            infos[i]["episode"] = {"r": round(total, 6), "l": length, "t": elapsed, "c": round(cost, 6)}

    def _record(self, raw: RawStep, valid: NDArray[np.bool_]) -> None:
        """Mark time limits only: the sums of the running episodes are part of the state."""
        for info, truncated in zip(raw.infos, raw.truncated.tolist(), strict=True):
            info["TimeLimit.truncated"] = truncated

    def _restart(self, obs: Observation, ended: NDArray[np.bool_]) -> None:
        put_rows(obs, ended, take_rows(jax.tree.map(np.asarray, self._next_obs), ended))

    def _close(self) -> None:
        self._state = None

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the functional environment, once for each copy."""
        chosen = self._select(indices)
        if attr_name == "action_masks":
            self._require_masks()
            return [lambda i=i: self.env_method("action_masks", indices=i)[0] for i in chosen]
        if attr_name == "render_mode":
            value: Any = "rgb_array" if self.functional.render is not None else None
        else:
            value = getattr(self.functional, attr_name)
        return [value] * len(chosen)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: the copies share everything but their state; assign ``params`` to change them all."""
        raise AttributeError(f"A functional environment has no attribute {attr_name!r} to set.")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call ``action_masks``, the only method that copies may have, for each chosen copy."""
        if method_name != "action_masks":
            raise AttributeError(f"{self._name()} has no method {method_name!r}.")
        self._require_masks()
        masks = np.asarray(_masks(self._static, self.params, self.get_state()))
        return [masks[i] for i in self._select(indices)]

    def _require_masks(self) -> None:
        if self.functional.action_masks is None:
            raise AttributeError(f"{self._name()} has no action masks.")

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a frame of each copy, or ``None`` for each if the environment does not render."""
        render = self.functional.render
        if render is None:
            return [None] * self.num_envs
        states = jax.tree.map(np.asarray, self.get_state().env)
        return [
            np.asarray(render(jax.tree.map(lambda x, i=i: x[i], states), self.params), np.uint8)
            for i in range(self.num_envs)
        ]

    def _name(self) -> str:
        return f"{self.functional.name} with {self.num_envs} copies"
