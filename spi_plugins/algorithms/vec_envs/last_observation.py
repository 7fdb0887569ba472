"""Last observations of episodes, kept where an environment writes its next reset into the same array."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class _LastObservation:
    """Copies the last observation of each episode. A ``gymnasium.Wrapper`` takes longer to make than a step."""

    __slots__ = ("env",)

    def __init__(self, env: Any):
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return copy.deepcopy(obs) if terminated or truncated else obs, reward, terminated, truncated, info


@contextlib.contextmanager
def last_observations_kept(vector: Any) -> Iterator[None]:
    """Let the environments in ``vector.envs`` copy last observations for as long as this is open."""
    envs = vector.envs
    vector.envs = [_LastObservation(env) for env in envs]
    try:
        yield
    finally:
        vector.envs = envs


class OneProcessVecEnv(DummyVecEnv):
    """A ``DummyVecEnv`` whose terminal observations outlive the reset that follows them."""

    @classmethod
    def adopt(cls, env: Any) -> None:
        """Make a user's ``DummyVecEnv`` one of these, in place, for other objects hold it."""
        if type(env) is DummyVecEnv:
            env.__class__ = cls

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments."""
        with last_observations_kept(self):
            return super().step_wait()
