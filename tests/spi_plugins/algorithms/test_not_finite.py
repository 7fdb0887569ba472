"""NaN and infinity from environments: named with environment and step, and never learned from."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_models import CARTPOLE, ROLLOUT, SMALL, tiny_ppo, tiny_spowl, tiny_tdmpc2

from spi_plugins import PPO, DeepSPI, DreamSPI, fit_world_model
from spi_plugins.errors import NotFiniteError

DREAM = {"policy_kwargs": {"net_arch": [8], "latent_arch": [6]}, "imagination_horizon": 2, "replay_size": 16}
ON_POLICY = {"PPO": (PPO, {}), "DeepSPI": (DeepSPI, {}), "DreamSPI": (DreamSPI, DREAM)}

# Some of the environments end, which their planners are not told.
pytestmark = pytest.mark.filterwarnings("ignore:Episodes of this environment end in terminal states")


class Breaks(gym.Env):
    """Episodes of five steps; the third goes wrong in one place."""

    observation_space = spaces.Box(-9, 9, (3,), np.float32)

    def __init__(self, where="", box=False, value=np.nan):
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if box else spaces.Discrete(2)
        self.where, self.value, self.n, self.breaks_at = where, value, 0, 15

    def _observe(self, bad):
        return np.full(3, self.value if bad else 0.5, np.float32)

    def reset(self, *, seed=None, options=None):
        bad = self.where == "reset" and self.n == self.breaks_at
        self.breaks_at = -1 if bad else self.breaks_at
        return self._observe(bad), {}

    def step(self, action):
        self.n += 1
        over = self.n % 5 == 0
        terminated, truncated = over and self.where != "truncated", over and self.where == "truncated"
        bad = self.where == "observation" and self.n == 13
        bad |= self.where in ("terminated", "truncated") and self.n == 15
        info = {"cost": self.value if self.where == "cost" and self.n == 13 else 0.0}
        reward = self.value if self.where == "reward" and self.n == 13 else 1.0
        return self._observe(bad), reward, terminated, truncated, info


WORDS = {
    "observation": ("observation", 13),
    "terminated": ("terminal observation", 15),
    "truncated": ("terminal observation", 15),
    "reset": ("observation", 15),
    "reward": ("reward", 13),
    "cost": ("cost", 13),
}


def broken(where, **kwargs):
    """Two environments, the second of which goes wrong, and the beginning of the error."""
    what, step = WORDS[where]
    env = DummyVecEnv([lambda: Breaks(**kwargs), lambda: Breaks(where, **kwargs)])
    return env, rf"at time step {2 * step}: the {what} of environment 1 is not finite"


class Record(BaseCallback):
    """The parameters when the last rollout began."""

    def _on_rollout_start(self):
        self.before = self.model.get_parameters()

    def _on_step(self):
        return True


def assert_unchanged(model, before):
    after = model.get_parameters()
    for group, arrays in before.items():
        for name, value in arrays.items():
            np.testing.assert_array_equal(after[group][name], value)
            assert np.isfinite(value).all()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("where", ["observation", "terminated", "truncated", "reset", "reward"])
def test_what_a_stepped_environment_returns(where, value):
    env, message = broken(where, value=value)
    model, record = PPO("MlpPolicy", env, **SMALL), Record()
    with pytest.raises(NotFiniteError, match=message):
        model.learn(100, callback=record)
    assert_unchanged(model, record.before)
    # The next training begins new episodes, also where it continues to count.
    n = model.num_timesteps
    model.learn(ROLLOUT, reset_num_timesteps=False)
    assert model.num_timesteps >= n + ROLLOUT


@pytest.mark.parametrize(
    "where",
    [
        each if each in ("observation", "cost") else pytest.param(each, marks=pytest.mark.slow)
        for each in WORDS
    ],
)
def test_what_is_remembered(where):
    env, message = broken(where, box=True)
    model = tiny_spowl(env, train_freq=2)
    with pytest.raises(NotFiniteError, match=message):
        model.learn(100)
    slots = model.replay_buffer.slots
    assert all(np.isfinite(np.asarray(x)).all() for x in (slots.obs, slots.reward, slots.cost))
    assert all(np.isfinite(x).all() for group in model.get_parameters().values() for x in group.values())
    model.learn(8, reset_num_timesteps=False)


@pytest.mark.parametrize("where", WORDS)
def test_what_a_world_model_is_fitted_to(where):
    env, message = broken(where)
    with pytest.raises(NotFiniteError, match=message):
        fit_world_model(env, n_steps=100, n_updates=1)


@pytest.mark.parametrize("make", [PPO, tiny_tdmpc2])
def test_a_first_observation(make):
    env = Breaks("reset", box=make is tiny_tdmpc2)
    env.breaks_at = 0
    model = make(env) if make is tiny_tdmpc2 else make("MlpPolicy", env, **SMALL)
    with pytest.raises(NotFiniteError, match="at time step 0: the observation of environment 0"):
        model.learn(16)
    model.learn(8, reset_num_timesteps=False)


def breaks_inside(where):
    """CartPole that counts its steps, and goes wrong at the limit, at a step, or in some initial states."""

    def initial(key, params):
        return CARTPOLE.initial(key, params), jnp.zeros(()), jax.random.uniform(key)

    def bad(state):
        _, count, luck = state
        return {"terminal": count == 9, "observation": count == 6, "reset": (count == 0) & (luck < 0.2)}.get(
            where, False
        )

    def transition(state, action, key, params):
        return CARTPOLE.transition(state[0], action, key, params), state[1] + 1, state[2]

    return CARTPOLE._replace(
        initial=initial,
        transition=transition,
        observation=lambda state, params: jnp.where(
            bad(state), jnp.nan, CARTPOLE.observation(state[0], params)
        ),
        reward=lambda state, action, after, params: jnp.where(
            (where == "reward") & (after[1] == 6),
            jnp.inf,
            CARTPOLE.reward(state[0], action, after[0], params),
        ),
        terminal=lambda state, params: CARTPOLE.terminal(state[0], params),
        render=None,
        info=None,
        info_dtypes=(),
    )


@pytest.mark.parametrize(
    "where",
    [
        "observation",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("terminal", "reset", "reward")),
    ],
)
@pytest.mark.parametrize(("cls", "kwargs"), ON_POLICY.values(), ids=ON_POLICY)
def test_a_compiled_iteration_leaves_the_model_as_it_was(tmp_path, cls, kwargs, where):
    model = cls("MlpPolicy", breaks_inside(where), n_envs=2, **{**SMALL, **kwargs, "seed": 1})
    record, what = Record(), "reward" if where == "reward" else "observation"
    with pytest.raises(
        NotFiniteError, match=rf"at time step \d+: the {what} of environment \d is not finite"
    ):
        model.learn(1000, callback=record)
    assert_unchanged(model, record.before)
    assert model.num_timesteps > 0
    assert model.num_timesteps == ROLLOUT * (model.num_timesteps // ROLLOUT)
    if cls is DreamSPI:
        ring = model._agent_state.replay
        assert int(ring.size) == min(2 * (model.num_timesteps // ROLLOUT), 4)
        assert np.isfinite(ring.sequences.obs).all()
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", env=CARTPOLE)
    assert loaded.num_timesteps == model.num_timesteps
    assert_unchanged(loaded, record.before)
    if where in ("observation", "reward"):  # four steps into new episodes nothing is wrong
        updates = model._n_updates
        model.learn(ROLLOUT, reset_num_timesteps=False)
        assert model._n_updates > updates


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_an_update_whose_loss_is_not_finite_is_not_made(path):
    model, record = tiny_ppo(path, vf_coef=1e38), Record()
    with pytest.raises(
        FloatingPointError, match=r"infinite or NaN at 8 steps: learning_rate.*left as it was"
    ):
        model.learn(100, callback=record)
    assert_unchanged(model, record.before)
    assert model._n_updates == 0


def test_gradient_steps_whose_losses_are_not_finite_are_not_made():
    model = tiny_tdmpc2(learning_rate=1e38)
    with pytest.raises(
        FloatingPointError, match=r"infinite or NaN at \d+ steps: learning_rate.*left as it was"
    ):
        model.learn(100)
    assert all(np.isfinite(x).all() for group in model.get_parameters().values() for x in group.values())
