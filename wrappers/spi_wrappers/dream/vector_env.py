"""Many dreams of one learned world, stepped by one jitted call."""

import os
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from spi_plugins.actions import from_action
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.types import Params
from spi_plugins.world_models.model import FittedModel
from spi_wrappers.dream.source import FACTORY, DreamSpaces, file_options, file_spaces, from_object, swapped
from spi_wrappers.functional.vector_env import FunctionalVectorEnv, StepResult


class DreamVectorEnv(FunctionalVectorEnv):
    """``num_envs`` dreams in one program; as many ``DreamEnv`` with the same seeds go through the same episodes.

    Args:
        num_envs: number of dreams.
        model: see ``DreamEnv``, and so are the options.
        autoreset_mode: all three of Gymnasium's, see ``FunctionalVectorEnv``.
        render_mode: see ``DreamEnv``.
        **options: see ``DreamEnv``.

    Raises:
        FileNotFoundError: there is no such file or name.
        ModelFileError: the file is damaged.
        ValueError: an option is out of range, or the model lacks what it needs.
    """

    def __init__(
        self,
        num_envs: int,
        model: str | os.PathLike[str],
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        given = file_options(model, options, render_mode)
        super().__init__(num_envs, FACTORY, autoreset_mode=autoreset_mode, render_mode=render_mode, **given)
        self._adopt(file_spaces(model, self.functional, options))

    @classmethod
    def from_model(
        cls,
        num_envs: int,
        model: StoredWorldModel | FittedModel,
        starts: Any = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> Self:
        """Dream of a live object; see ``DreamEnv.from_model``."""
        functional, spaces = from_object(model, starts, options, render_mode)
        env = cls.__new__(cls)
        FunctionalVectorEnv.__init__(
            env, num_envs, functional, autoreset_mode=autoreset_mode, render_mode=render_mode
        )
        env._adopt(spaces)
        return env

    def _adopt(self, spaces: DreamSpaces) -> None:
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def set_params(self, params: Params, starts: Any = None) -> None:
        """Swap the model's parameters; see ``DreamEnv.set_params``."""
        self.params = swapped(self.params, params, starts)

    def step(self, actions: Any) -> StepResult:
        """Step all dreams; see ``FunctionalVectorEnv.step``."""
        return super().step(from_action(self.single_action_space, np.asarray(actions)))
