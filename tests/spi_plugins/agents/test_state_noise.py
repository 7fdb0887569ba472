"""State-dependent exploration: SB3's numbers, when noise is drawn, and runs that go on exactly."""

import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.env_util import make_vec_env
from tiny_models import CARTPOLE, N_ENVS, POINT_GOAL, SMALL
from toy_envs import ToyEnv

from spi_plugins import PPO, DeepSPI, DreamSPI
from spi_plugins.agents.rollout import act_into, init_storage
from spi_plugins.distributions import action_distribution
from spi_plugins.networks import state_noise
from spi_plugins.types import ActionSpec

BATCH, HIDDEN, ACTIONS = 5, 4, 3
SPEC = ActionSpec(kind="box", shape=(ACTIONS,), nvec=(), low=(-1.0,) * ACTIONS, high=(1.0,) * ACTIONS)
SDE = {"n_envs": N_ENVS, "use_sde": True, "sde_sample_freq": 2, **SMALL}


@pytest.mark.parametrize("full_std", [True, False])
@pytest.mark.parametrize("use_expln", [True, False])
def test_log_probabilities_entropy_and_noise_are_sb3s(full_std, use_expln):
    rng = np.random.default_rng(0)
    mean, action = (rng.normal(size=(BATCH, ACTIONS)).astype(np.float32) for _ in range(2))
    hidden = rng.normal(size=(BATCH, HIDDEN)).astype(np.float32)
    log_std = rng.normal(size=(HIDDEN, ACTIONS if full_std else 1)).astype(np.float32)
    theirs = StateDependentNoiseDistribution(ACTIONS, full_std=full_std, use_expln=use_expln)
    theirs.proba_distribution_net(HIDDEN, latent_sde_dim=HIDDEN)
    theirs.sample_weights(torch.tensor(log_std), batch_size=BATCH)
    theirs.proba_distribution(*map(torch.tensor, (mean, log_std, hidden)))
    ours = action_distribution(SPEC)
    std = state_noise.deviations(jnp.asarray(log_std), ACTIONS, use_expln=use_expln)
    np.testing.assert_allclose(std, theirs.get_std(torch.tensor(log_std)), rtol=1e-5)
    parameters = jnp.concatenate([mean, state_noise.action_log_std(jnp.asarray(hidden), std)], axis=1)
    np.testing.assert_allclose(
        ours.log_prob(parameters, jnp.asarray(action)),
        theirs.log_prob(torch.tensor(action)),
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_allclose(ours.entropy(parameters), theirs.entropy(), rtol=1e-5)
    matrices = jnp.asarray(theirs.exploration_matrices.numpy())
    np.testing.assert_allclose(
        state_noise.noise(jnp.asarray(hidden), matrices),
        theirs.get_noise(torch.tensor(hidden)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_matrices_have_their_deviations():
    std = jnp.asarray([[0.1, 1.0], [2.0, 0.5]])
    matrices = state_noise.draw_matrices(std, 20_000, jax.random.key(0))
    np.testing.assert_allclose(np.std(matrices, axis=0), std, rtol=0.03)


@pytest.mark.parametrize(("every", "draws"), [(-1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (1, [0, 1, 2, 3])])
def test_noise_stays_for_some_steps_and_differs_between_environments(every, draws):
    model = PPO("MlpPolicy", POINT_GOAL, **{**SDE, "sde_sample_freq": every})
    agent, state = model.agent, model._agent_state
    obs = jnp.ones((N_ENVS, *model.observation_space.shape))
    act = jax.jit(functools.partial(act_into, agent))
    storage = init_storage(agent, state.params, obs, 4, jax.random.key(1))
    noises = []
    for _ in range(4):
        storage, _ = act(state.params, storage, obs)
        noises.append(np.asarray(storage.noise))
    kinds = [next(i for i, seen in enumerate(noises) if np.array_equal(seen, noise)) for noise in noises]
    assert kinds == [draws.index(draw) for draw in draws]
    assert not np.array_equal(storage.action[0, 0], storage.action[0, 1])
    if every == -1:
        np.testing.assert_array_equal(storage.action[0], storage.action[3])


def run(cls=PPO, total=16, **kwargs):
    return cls("MlpPolicy", POINT_GOAL, **{**SDE, **kwargs}).learn(total)


def assert_same(one, other):
    for name, group in one.get_parameters().items():
        for key, value in group.items():
            np.testing.assert_allclose(value, other.get_parameters()[name][key], rtol=1e-5, atol=1e-6)


def test_both_rollout_paths_and_a_resumed_run_learn_the_same(tmp_path):
    one = run(compiled=True, total=8)
    assert_same(one, run(compiled=False, total=8))
    one.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=POINT_GOAL)
    assert (loaded.use_sde, loaded.sde_sample_freq) == (True, 2)
    for model in (one, loaded):
        model.learn(8, reset_num_timesteps=False)
    assert_same(one, loaded)
    first, second = (model.predict(np.ones(model.observation_space.shape)) for model in (one, loaded))
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("cls", [DeepSPI, DreamSPI])
def test_agents_with_a_world_model_explore_in_the_same_way(cls):
    model = run(cls, total=8, compiled=False)
    assert model.get_parameters()["policy"]["actor/log_std"].ndim == 2


SQUASHED = {"squash_output": True, "net_arch": [8]}


def test_squashed_log_probabilities_are_sb3s():
    rng = np.random.default_rng(0)
    mean, hidden = (rng.normal(size=(BATCH, size)).astype(np.float32) for size in (ACTIONS, HIDDEN))
    action = np.tanh(rng.normal(size=(BATCH, ACTIONS))).astype(np.float32)
    log_std = rng.normal(size=(HIDDEN, ACTIONS)).astype(np.float32)
    theirs = StateDependentNoiseDistribution(ACTIONS, squash_output=True)
    theirs.proba_distribution_net(HIDDEN, latent_sde_dim=HIDDEN)
    theirs.proba_distribution(*map(torch.tensor, (mean, log_std, hidden)))
    std = state_noise.deviations(jnp.asarray(log_std), ACTIONS, use_expln=False)
    parameters = jnp.concatenate([mean, state_noise.action_log_std(jnp.asarray(hidden), std)], axis=1)
    ours = action_distribution(SPEC, squash=True)
    expected = theirs.log_prob(torch.tensor(action))
    np.testing.assert_allclose(ours.log_prob(parameters, jnp.asarray(action)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.mode(parameters), theirs.mode(), rtol=1e-5)
    assert np.isfinite(ours.log_prob(parameters, jnp.ones((BATCH, ACTIONS)))).all()  # what tanh rounds to


@pytest.mark.parametrize("cls", [PPO, DeepSPI])
def test_squashed_actions_reach_the_whole_space_and_stay_in_it(tmp_path, cls):
    seen = []

    class Watch(BaseCallback):
        def _on_step(self):
            seen.append((self.locals["actions"], self.locals["clipped_actions"]))
            return True

    wide = gymnasium.spaces.Box(np.float32([-1, 5]), np.float32([3, 9]))
    env = make_vec_env(lambda: ToyEnv(action_space=wide), 2)
    model = cls("MlpPolicy", env, **{**SDE, "n_envs": None, "policy_kwargs": SQUASHED}).learn(16, Watch())
    sampled, executed = (np.concatenate(part) for part in zip(*seen, strict=True))
    assert np.abs(sampled).max() <= 1
    np.testing.assert_allclose(executed, wide.low + (sampled + 1) / 2 * (wide.high - wide.low), rtol=1e-5)
    assert model.policy.squash_output
    model.save(tmp_path / "model")
    obs = env.observation_space.sample()
    action, _ = cls.load(tmp_path / "model").predict(obs, deterministic=True)
    np.testing.assert_array_equal(action, model.predict(obs, deterministic=True)[0])
    assert wide.contains(action)


def test_squashing_without_state_dependent_noise_is_refused():
    with pytest.raises(ValueError, match="squash_output=True needs use_sde=True"):
        PPO("MlpPolicy", POINT_GOAL, policy_kwargs=SQUASHED, n_envs=2)


def test_it_is_for_actions_in_a_box():
    with pytest.raises(ValueError, match=r"gSDE.* continuous actions"):
        PPO("MlpPolicy", CARTPOLE, n_envs=2, use_sde=True)
