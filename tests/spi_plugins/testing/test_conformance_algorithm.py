import gymnasium
import numpy as np
import pytest
import stable_baselines3

from spi_plugins.testing import ConformanceError, check_algorithm

SHORT = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}


def check(cls):
    check_algorithm(cls, **SHORT)


def test_stable_baselines3s_ppo_conforms():
    check(stable_baselines3.PPO)


class IgnoresDeterministic(stable_baselines3.PPO):
    calls = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        IgnoresDeterministic.calls += 1
        actions, state = super().predict(observation, state, episode_start, deterministic)
        return (actions + IgnoresDeterministic.calls) % 2, state


class OneRowLess(stable_baselines3.PPO):
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return super().predict(observation, state, episode_start, deterministic)[0][:1], state


class OutsideTheSpace(stable_baselines3.PPO):
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        actions, state = super().predict(observation, state, episode_start, deterministic)
        return actions + 7, state


class ReturnsNothing(stable_baselines3.PPO):
    def learn(self, *args, **kwargs):
        super().learn(*args, **kwargs)


class CallsBackOncePerRollout(stable_baselines3.PPO):
    def learn(self, total_timesteps, callback=None, **kwargs):
        super().learn(total_timesteps, **kwargs)
        callback.init_callback(self)
        callback.update_locals({"infos": [], "dones": []})
        callback.on_step()
        return self


class GoesOnRegardless(stable_baselines3.PPO):
    def learn(self, total_timesteps, callback=None, **kwargs):
        if callback is not None:
            callback.stop_at = None
        return super().learn(total_timesteps, callback, **kwargs)


class ForgetsParameters(stable_baselines3.PPO):
    def set_parameters(self, *args, **kwargs):
        pass


class HasNoParameters(stable_baselines3.PPO):
    def get_parameters(self):
        return {}


class ForgetsItsCount(stable_baselines3.PPO):
    @classmethod
    def load(cls, *args, **kwargs):
        model = super().load(*args, **kwargs)
        model.num_timesteps = 0
        return model


class SavesElsewhere(stable_baselines3.PPO):
    def save(self, path, *args, **kwargs):
        super().save(f"{path}.backup", *args, **kwargs)


class TakesAnyPolicy(stable_baselines3.PPO):
    def __init__(self, policy, *args, **kwargs):
        super().__init__("MlpPolicy", *args, **kwargs)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (IgnoresDeterministic, "deterministic=True. must return the same actions twice"),
        (OneRowLess, "an action for each of 2 observations"),
        (OutsideTheSpace, r"outside Discrete\(2\)"),
        (ReturnsNothing, "must return the model itself"),
        (CallsBackOncePerRollout, "must call on_step once for each step"),
        (GoesOnRegardless, "stop when a callback returns False"),
        (ForgetsParameters, "set_parameters must carry all|load must restore the model"),
        (HasNoParameters, "must return a non-empty dict"),
        (ForgetsItsCount, "must keep num_timesteps"),
        (SavesElsewhere, "must write the file it is given"),
        (TakesAnyPolicy, r"'NoSuchPolicy', env\) must raise a ValueError or KeyError"),
        (dict, "must be a subclass of stable_baselines3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_algorithm_fails_with_a_reason(cls, message):
    with pytest.raises(ConformanceError, match=message):
        check(cls)


def test_dict_observations_are_checked_row_by_row():
    class TwoParts(gymnasium.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Dict(
                {
                    "a": gymnasium.spaces.Box(-10, 10, (2,), np.float32),
                    "b": gymnasium.spaces.Box(-10, 10, (2,), np.float32),
                }
            )

        def observation(self, observation):
            clipped = observation.clip(-10, 10)
            return {"a": clipped[:2], "b": clipped[2:]}

    gymnasium.register("test/TwoParts-v0", entry_point=lambda: TwoParts(gymnasium.make("CartPole-v1")))
    try:
        check_algorithm(stable_baselines3.PPO, policy="MultiInputPolicy", env_id="test/TwoParts-v0", **SHORT)
    finally:
        del gymnasium.registry["test/TwoParts-v0"]
