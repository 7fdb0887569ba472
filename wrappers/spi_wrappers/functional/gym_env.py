"""``gymnasium.Env`` over a functional environment."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import COST_KEY, Observation
from spi_wrappers.functional.face import Face, check_actions, check_options, draw_key_data, row_of

_YES, _NO = np.ones(1, np.bool_), np.zeros(1, np.bool_)
_NO_KEY = np.zeros((1, 2), np.uint32)


class FunctionalGymEnv(Face, gymnasium.Env[Any, Any]):
    """A functional environment as a Gymnasium environment.

    Observations are NumPy arrays, rewards and flags Python scalars, and ``info["cost"]`` is present at every
    step and at reset (0.0). All randomness comes from ``reset(seed=...)``. The functional environment has its own
    time limit, so ``TimeLimit`` is not needed; an episode is truncated or terminated, never both. A
    ``FunctionalVectorEnv`` whose copies have the same seeds goes through the same episodes.

    Args:
        env: a functional environment, a registered name such as ``"spi/PixelGoal-v0"``, or
            ``"module:attribute"`` of an environment or its factory. Specs of ``gymnasium.make`` need a name.
        render_mode: ``None`` or, if the environment renders, ``"rgb_array"``.
        **env_kwargs: for the factory behind a name.

    Raises:
        TypeError: ``env`` is not a functional environment.
        ValueError: the environment does not have the render mode.
        UnknownPluginError: nothing is registered under the name.
    """

    def __init__(self, env: str | FunctionalEnv, render_mode: str | None = None, **env_kwargs: Any) -> None:
        self._hold(env, env_kwargs, 1, render_mode)
        self._ended = False

    def _show(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode. Without a seed the stream of random numbers continues."""
        check_options(options, allowed=())
        super().reset(seed=seed)
        if seed is not None or self._state is None:
            obs = self._begin(draw_key_data(self.np_random)[None])
        else:
            obs = self._restart(_YES, _NO, _NO_KEY)
        self._ended = False
        info = {name: row.item() for name, row in self._reset_info().items()}
        return row_of(self.functional.observation_spec, obs, 0), info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            ResetNeeded: there was no reset, or the episode has ended.
            ValueError: the action has the wrong shape or type or is out of range.
        """
        if self._state is None or self._ended:
            raise ResetNeeded("step() needs a reset() first: no episode is running.")
        actions = check_actions(self.functional.action_spec, np.asarray(action)[None], 1)
        obs, _, signals = self._call(self._calls.step, actions)
        (reward,), (cost,), (terminated,), (truncated,) = (signal.tolist() for signal in signals[:4])
        self._ended = terminated or truncated
        info = {COST_KEY: cost, **{name: row.item() for name, row in signals.info.items()}}
        return row_of(self.functional.observation_spec, obs, 0), reward, terminated, truncated, info

    @property
    def action_masks(self) -> Callable[[], NDArray[np.bool_]]:
        """Which actions are allowed now, as sb3-contrib calls it; only where the functional environment has masks."""
        self._require_masks()
        return lambda: self._masks()[0]

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the state as uint8 ``[height, width, 3]``; ``None`` without a render mode."""
        return None if self.render_mode is None else self._frame(0)
