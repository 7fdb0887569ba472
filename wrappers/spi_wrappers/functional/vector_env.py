"""``gymnasium.vector.VectorEnv`` over a functional environment."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import COST_KEY, Observation, ObservationSpec
from spi_wrappers.functional.face import (
    Face,
    check_actions,
    draw_key_data,
    read_reset_mask,
    read_seeds,
    row_of,
)

_Array = NDArray[Any]
StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class FunctionalVectorEnv(Face, VectorEnv[Any, Any, _Array]):
    """Copies of a functional environment as one Gymnasium ``VectorEnv``, stepped by one jitted call.

    It behaves as ``SyncVectorEnv`` over ``FunctionalGymEnv`` with the same seeds, in all autoreset modes:

    * ``NEXT_STEP``: the step after an episode's end resets; its action is ignored, reward and cost are 0.
    * ``SAME_STEP``: a copy resets in the step that ends its episode; ``infos["final_obs"]`` and
      ``infos["final_info"]`` describe the end.
    * ``DISABLED``: the caller resets, by ``reset(options={"reset_mask": mask})``. The other modes also accept a
      mask.

    ``infos["cost"]`` is float64 ``[num_envs]`` at every step and reset: the cost of the transition, and 0 at a
    reset. Under ``SAME_STEP`` the cost of an episode's last step is therefore in ``infos["final_info"]["cost"]``,
    and ``infos["cost"]`` is 0 there.

    Args:
        num_envs: number of copies.
        env: a functional environment, a registered name such as ``"spi/PixelGoal-v0"``, or
            ``"module:attribute"`` of an environment or its factory. Specs of ``gymnasium.make_vec`` need a name.
        autoreset_mode: an ``AutoresetMode`` or its value.
        render_mode: ``None`` or, if the environment renders, ``"rgb_array"``.
        **env_kwargs: for the factory behind a name.

    Raises:
        TypeError: ``env`` is not a functional environment.
        ValueError: ``num_envs`` is not positive, or a mode is unknown.
        UnknownPluginError: nothing is registered under the name.
    """

    honours_reset_mask: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int,
        env: str | FunctionalEnv,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **env_kwargs: Any,
    ) -> None:
        super().__init__()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        self.num_envs = num_envs
        self._mode = _read_mode(autoreset_mode)
        self._hold(env, env_kwargs, num_envs, render_mode)
        self._ended = np.zeros(num_envs, np.bool_)
        self.metadata = {**self.metadata, "autoreset_mode": self._mode}

    def _show(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes, in all copies or where ``options["reset_mask"]`` is true.

        Args:
            seed: the i-th copy gets ``seed + i``, or the i-th of a sequence. Without a seed, a copy's stream of
                random numbers continues.
            options: only ``"reset_mask"``, bool ``[num_envs]``, is supported.

        Returns:
            The observations of all copies, and infos.

        Raises:
            ResetNeeded: the very first reset has a mask that leaves copies out.
            TypeError: the mask is not a boolean array.
            ValueError: a shape or length is wrong, or an option is unknown.
        """
        self._check_open("reset")
        mask = read_reset_mask(options, self.num_envs)
        seeds = read_seeds(seed, self.num_envs)
        super().reset(seed=seed if isinstance(seed, int) else None)
        if self._state is not None:
            obs = self._restart(mask, *seeds)
        elif mask.all():
            fresh = [
                data if seeded else draw_key_data(self.np_random) for seeded, data in zip(*seeds, strict=True)
            ]
            obs = self._begin(np.stack(fresh))
        else:
            raise ResetNeeded("The first reset() must reset all environments; reset_mask leaves some out.")
        self._ended = self._ended & ~mask
        return obs, _with_masks(self._reset_info(), mask)

    def step(self, actions: Any) -> StepResult:
        """Step all copies.

        Args:
            actions: ``[num_envs, ...]``.

        Returns:
            Observations, rewards (float64), terminated and truncated flags, and infos.

        Raises:
            ResetNeeded: there was no reset, or under ``DISABLED`` an episode that ended was not reset.
            ValueError: the actions have the wrong shape or type or are out of range.
        """
        self._check_open("step")
        if self._state is None:
            raise ResetNeeded("step() needs a reset() first.")
        action = check_actions(self.functional.action_spec, actions, self.num_envs)
        infos: dict[str, Any] = {}
        if self._mode is AutoresetMode.NEXT_STEP:
            obs, _, signals = self._call(self._calls.step_or_reset, action, self._ended)
        elif self._mode is AutoresetMode.SAME_STEP:
            obs, (final_obs,), signals = self._call(self._calls.step_and_reset, action)
        else:
            self._check_running()
            obs, _, signals = self._call(self._calls.step, action)
        ended = signals.terminated | signals.truncated
        reported = {COST_KEY: signals.cost, **signals.info}
        if self._mode is not AutoresetMode.SAME_STEP:
            self._ended = ended
        elif ended.any():
            infos = _final_infos(self.functional.observation_spec, self._to_host(final_obs), ended, reported)
            reported = {name: np.where(ended, row.dtype.type(0), row) for name, row in reported.items()}
        infos |= _with_masks(reported, np.ones(self.num_envs, np.bool_))
        return obs, signals.reward, signals.terminated, signals.truncated, infos

    @property
    def action_masks(self) -> Callable[[], NDArray[np.bool_]]:
        """Which actions are allowed now in each copy; only where the functional environment has masks."""
        self._require_masks()
        return self._masks

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draw every copy as uint8 ``[height, width, 3]``; ``None`` without a render mode."""
        if self.render_mode is None:
            return None
        self._check_open("render")
        return tuple(map(self._frame, range(self.num_envs)))

    def _check_open(self, method: str) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{method}() was called after close().")

    def _check_running(self) -> None:
        if self._ended.any():
            raise ResetNeeded(
                f"The episodes of environments {np.flatnonzero(self._ended).tolist()} have ended; without "
                "autoreset call reset(options={'reset_mask': terminated | truncated}) before the next step."
            )


def _read_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        allowed = [known.value for known in AutoresetMode]
        raise ValueError(
            f"autoreset_mode must be an AutoresetMode or one of {allowed}, got {mode!r}."
        ) from None


def _with_masks(info: dict[str, _Array], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Gymnasium's vector infos: each array with the mask of the copies that report it."""
    return info | {f"_{name}": mask.copy() for name in info}


def _final_infos(
    spec: ObservationSpec, final_obs: Observation, ended: NDArray[np.bool_], reported: dict[str, _Array]
) -> dict[str, Any]:
    """``SyncVectorEnv``'s infos of the episodes that ended in this step."""
    rows = np.full(len(ended), None, dtype=object)
    for i in np.flatnonzero(ended).tolist():
        rows[i] = row_of(spec, final_obs, i)
    own = {name: np.where(ended, row, row.dtype.type(0)) for name, row in reported.items()}
    final_info = _with_masks(own, ended)
    return {"final_obs": rows, "_final_obs": ended, "final_info": final_info, "_final_info": ended.copy()}
