"""Many dreams of one learned world, stepped by one jitted call."""

import os
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from spi_plugins.actions import from_action
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.world_models.model import FittedModel
from spi_wrappers.dream.source import FACTORY, DreamFace, DreamSpaces, dream_spaces, file_options, from_object
from spi_wrappers.functional.vector_env import FunctionalVectorEnv, StepResult


class DreamVectorEnv(DreamFace, FunctionalVectorEnv):
    """``num_envs`` dreams in one program, with the same episodes as ``DreamEnv`` with the same seeds.

    Args:
        num_envs: number of dreams.
        model: path of a world model's file, or the name of a registered dream.
        autoreset_mode: any of Gymnasium's, as in ``FunctionalVectorEnv``.
        render_mode: as in ``DreamEnv``.
        **options: as in ``DreamEnv``.

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
        self._adopt(dream_spaces(model, self.functional, options))

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
        """Dream of a live object, with the arguments of ``DreamEnv.from_model``."""
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

    def step(self, actions: Any) -> StepResult:
        """Step all dreams with actions of the real environment."""
        return super().step(from_action(self.single_action_space, np.asarray(actions)))
