"""What users of sb3-contrib's MaskablePPO expect: how masks are found, passed, switched off and evaluated."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contract import Countdown, build
from sb3_contrib.common.envs import InvalidActionEnvDiscrete, InvalidActionEnvMultiDiscrete
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

import spi_integrations.stable_baselines3 as ours

SPACES = [spaces.Discrete(4), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)]


class Picky(Countdown):
    """Forbids the first value of every entry, or the second, by turns."""

    def mask(self):
        entries = {"Discrete": [4], "MultiDiscrete": [2, 3], "MultiBinary": [2, 2, 2]}
        return np.concatenate(
            [np.arange(n) != self.left % 2 for n in entries[type(self.action_space).__name__]]
        )

    def step(self, action):
        assert (np.ravel(action) != self.left % 2).all(), f"{action} was not allowed"
        return super().step(action)


def masked(space=SPACES[0]):
    """The mask is found under a monitor and another wrapper."""
    return Monitor(ActionMasker(Monitor(Picky(action_space=space)), lambda env: env.unwrapped.mask()))


class Once(BaseCallback):
    """Stops before the first update, which takes longest to compile."""

    def _on_step(self):
        return self.n_calls < 8


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_masks_are_found_in_wrappers_and_kept_to(space):
    model = build("ppo", DummyVecEnv([lambda: masked(space)] * 2))
    model.learn(8, callback=Once())
    env = model.get_env()
    assert is_masking_supported(env)
    obs = env.reset()
    for _ in range(6):
        action, _ = model.predict(obs, action_masks=get_action_masks(env))
        obs, *_ = env.step(action)
    single = masked(space)
    obs, _ = single.reset()
    single.step(model.predict(obs, action_masks=get_action_masks(single))[0])


def test_masks_of_stacked_and_vectorized_environments():
    build("ppo", VecFrameStack(make_vec_env(masked, 2), 2)).learn(8, callback=Once())


@pytest.mark.filterwarnings("ignore:.*os.fork.*:RuntimeWarning")
@pytest.mark.parametrize(
    "vectorized",
    [
        lambda: SubprocVecEnv([masked] * 2, start_method="fork"),
        lambda: gymnasium.vector.AsyncVectorEnv([masked] * 2),
    ],
    ids=["sb3", "gymnasium"],
)
def test_masks_come_out_of_worker_processes(vectorized):
    model = build("ppo", vectorized()).learn(8, callback=Once())
    model.get_env().close()


def test_masking_can_be_switched_off():
    with pytest.raises(AssertionError, match="was not allowed"):
        build("ppo", masked(SPACES[2])).learn(64, callback=Once(), use_masking=False)


def test_callbacks_see_the_masks():
    class See(Once):
        def _on_step(self):
            assert self.locals["action_masks"].shape == (1, 4)
            return super()._on_step()

    build("ppo", masked()).learn(8, callback=See())


def test_a_masked_model_trains_is_evaluated_saved_and_loaded(tmp_path):
    evaluating = MaskableEvalCallback(
        masked(), eval_freq=8, n_eval_episodes=1, best_model_save_path=str(tmp_path), verbose=0
    )
    model = build("ppo", masked()).learn(16, callback=evaluating)
    assert evaluating.last_mean_reward == 6
    loaded = type(model).load(tmp_path / "best_model", env=masked())
    assert evaluate_policy(loaded, masked(), 2) == (6, 0)
    loaded.learn(8, reset_num_timesteps=False)
    assert ours.evaluate_policy(loaded, masked(), 2) == (6, 0)
    with pytest.raises(AssertionError, match="was not allowed"):
        ours.evaluate_policy(loaded, masked(), 9, deterministic=False, use_masking=False)
    costly = type("Costly", (Picky,), {"step": lambda self, a: (*Picky.step(self, a)[:4], {"cost": 0.5})})
    env = ActionMasker(costly(action_space=SPACES[0]), lambda env: env.mask())
    assert ours.evaluate_policy_with_cost(loaded, env, 1).mean_cost == 3


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "deep_spi"])
@pytest.mark.parametrize(
    ("env", "chance"),
    [
        (lambda: InvalidActionEnvDiscrete(dim=20, n_invalid_actions=10), 10),
        (lambda: InvalidActionEnvMultiDiscrete(dims=[5, 4], n_invalid_actions=4), 18),
    ],
)
def test_masked_policies_learn_to_repeat_what_they_see(algorithm, env, chance):
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 8, "learning_rate": 3e-3, "ent_coef": 0.0}
    model = build(algorithm, env(), **settings, policy_kwargs={"net_arch": [64]}).learn(8000)
    assert evaluate_policy(model, env(), 10, warn=False)[0] > max(90, 3 * chance)
