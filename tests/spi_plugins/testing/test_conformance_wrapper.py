import gymnasium
import numpy as np
import pytest
from gymnasium.utils import RecordConstructorArgs

from spi_plugins.testing import ConformanceError, check_wrapper


class Scaled(gymnasium.RewardWrapper, RecordConstructorArgs):
    """A right one."""

    def __init__(self, env, scale=2.0):
        RecordConstructorArgs.__init__(self, scale=scale)
        gymnasium.RewardWrapper.__init__(self, env)
        self.scale = scale

    def reward(self, reward):
        return float(self.scale * reward)


class VectorScaled(gymnasium.vector.VectorRewardWrapper):
    def __init__(self, env, scale=2.0):
        super().__init__(env)
        self.scale = scale

    def rewards(self, rewards):
        return self.scale * rewards


class VectorForgetful(VectorScaled):
    def rewards(self, rewards):
        return rewards


class Forgetful(gymnasium.RewardWrapper):
    """Does not tell its argument to the spec."""

    def __init__(self, env, scale=2.0):
        super().__init__(env)
        self.scale = scale

    def reward(self, reward):
        return float(self.scale * reward)


class Opaque(Scaled):
    """Records an argument that JSON cannot hold."""

    def __init__(self, env, scale=2.0):
        super().__init__(env, scale)
        self._saved_kwargs = {"scale": object()}


class WrongReward(Scaled):
    def reward(self, reward):
        return "much"


class OutOfSpace(Scaled):
    def step(self, action):
        observation, *rest = super().step(action)
        return observation[:2], *rest


class ResetsWithoutInfo(Scaled):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=options)[0]


class Costly(gymnasium.Wrapper, RecordConstructorArgs):
    """A cost of 1 at every step; its twin forgets it."""

    def __init__(self, env):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action):
        *rest, info = self.env.step(action)
        return *rest, {**info, "cost": 1.0}


class VectorFree(gymnasium.vector.VectorWrapper):
    def step(self, actions):
        *rest, infos = self.env.step(actions)
        return *rest, {**infos, "cost": np.zeros(self.num_envs)}


def test_a_right_wrapper_and_its_twin_conform():
    check_wrapper(Scaled, vector=VectorScaled, scale=3.0)


def test_gymnasiums_own_wrapper_conforms():
    check_wrapper(gymnasium.wrappers.TimeAwareObservation, flatten=False)


@pytest.mark.parametrize(
    ("cls", "details", "message"),
    [
        (Forgetful, {"scale": 3.0}, "does not inherit from .gymnasium.utils.RecordConstructorArgs"),
        (Opaque, {}, "arguments that JSON can hold"),
        (WrongReward, {}, "must return a number as reward, got 'much'"),
        (OutOfSpace, {}, "must observe within Box"),
        (ResetsWithoutInfo, {}, "fails Gymnasium's check_env"),
        (Scaled, {"vector": VectorForgetful}, "VectorForgetful.*same reward"),
        (Costly, {"vector": VectorFree}, "same info..cost"),
        (Scaled, {"vector": Scaled}, "must be a subclass of gymnasium.vector.VectorWrapper"),
        (dict, {}, "must be a subclass of gymnasium.Wrapper"),
    ],
)
def test_a_broken_wrapper_fails_with_a_reason(cls, details, message):
    with pytest.raises(ConformanceError, match=message):
        check_wrapper(cls, **details)
