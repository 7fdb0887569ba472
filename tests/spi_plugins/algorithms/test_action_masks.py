"""Action masks: the same numbers on both rollout paths, and only allowed actions anywhere."""

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from masked_envs import make_masked
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize
from tiny_models import N_ENVS, N_STEPS, SMALL, tiny_ppo

from spi_plugins import PPO, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.agents.rollout import Runner
from spi_plugins.algorithms.action_masks import current_masks, offers_masks
from spi_plugins.algorithms.experience import gather
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, as_vec_env
from spi_wrappers.functional.gym_env import FunctionalGymEnv
from spi_wrappers.functional.vector_env import FunctionalVectorEnv

ENVS = {"discrete": make_masked(4), "multi_discrete": make_masked(3, 2)}
ONE_BATCH = {
    **SMALL,
    "n_envs": N_ENVS,
    "batch_size": N_ENVS * N_STEPS,
    "n_epochs": 1,
    "learning_rate": 1e-3,
}


class Record(BaseCallback):
    """Keeps what was done; stops before the first update if asked to."""

    def __init__(self, stop=False):
        super().__init__()
        self.rows, self.costs, self.stop = [], [], stop

    def _on_step(self):
        names = ("actions", "log_probs", "values", "rewards", "action_masks")
        self.rows.append({name: np.array(self.locals[name]) for name in names})
        self.costs += [info["cost"] for info in self.locals["infos"]]
        return not (self.stop and len(self.rows) == N_STEPS)


def model_of(algorithm, env, **kwargs):
    extra = {} if algorithm is PPO else {"transition_density": "deterministic"}
    return algorithm("MlpPolicy", env, **{**ONE_BATCH, **extra, **kwargs})


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("algorithm", [PPO, DeepSPI, DeepMDP])
def test_both_paths_draw_the_same_actions_all_of_them_allowed(algorithm, name):
    stepped, record = model_of(algorithm, ENVS[name], compiled=False), Record(stop=True)
    stepped.learn(1, callback=record)
    assert record.costs == [0.0] * (N_ENVS * N_STEPS)
    other = model_of(algorithm, ENVS[name])
    other._setup_learn(1)
    collector = other._make_collector()
    collector.env.start(other.devices)
    runner = Runner(other._agent_state, collector.env.state, other._last_obs)
    rollout = collector._collect(runner, collector.env.params).rollout
    np.testing.assert_array_equal(rollout.action, [row["actions"] for row in record.rows])
    np.testing.assert_array_equal(rollout.action_masks, [row["action_masks"] for row in record.rows])
    np.testing.assert_allclose(rollout.log_prob, [row["log_probs"] for row in record.rows], rtol=1e-6)
    assert not rollout.action_masks.all()


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(PPO, "multi_discrete"), pytest.param(DeepSPI, "discrete", marks=pytest.mark.slow)],
)
def test_both_paths_learn_the_same_from_the_masks_that_were_stored(algorithm, name):
    models, records = [], []
    for compiled in (None, False):
        model, record = model_of(algorithm, ENVS[name], compiled=compiled, ent_coef=0.1), Record()
        model.learn(2 * N_ENVS * N_STEPS, callback=record)
        assert set(record.costs) == {0.0}
        # The first gradient step sees the policy that acted, and probabilities of allowed actions alone.
        log = model.logger.name_to_value
        assert log["train/ratio_min"] == pytest.approx(1.0, abs=1e-5)
        assert log["train/ratio_max"] == pytest.approx(1.0, abs=1e-5)
        masks = np.array([row["action_masks"] for row in record.rows[N_STEPS:]])
        entries = np.split(masks, np.cumsum(ENVS[name].action_spec.nvec)[:-1], axis=-1)
        expected = sum(np.log(entry.sum(-1)) for entry in entries).mean()  # it is nearly uniform
        assert -log["train/entropy_loss"] == pytest.approx(expected, abs=5e-3)
        models.append(model.get_parameters())
        records.append(record)
    for row, other in zip(records[0].rows, records[1].rows, strict=True):
        for key in ("actions", "rewards", "action_masks"):
            np.testing.assert_array_equal(row[key], other[key], err_msg=key)
    for group in set(models[0]) - {"optimizer"}:
        for path, value in models[0][group].items():
            np.testing.assert_allclose(value, models[1][group][path], atol=1e-5, err_msg=path)


def test_without_masks_nothing_is_stored_and_use_masking_turns_them_off():
    model, record = model_of(PPO, ENVS["discrete"], compiled=False), Record(stop=True)
    model.learn(1, callback=record, use_masking=False)
    assert sum(record.costs) > 0
    assert model._collector._storage.action_masks is None
    assert record.rows[0]["action_masks"] == np.array(None)
    model.learn(1, callback=(again := Record(stop=True)), reset_num_timesteps=False)
    assert sum(again.costs) == 0
    assert model._collector._storage.action_masks.shape == (N_STEPS, N_ENVS, 4)
    assert not offers_masks(tiny_ppo().env)


@pytest.mark.parametrize("compiled", [None, False])
def test_a_mask_that_allows_nothing_is_named_and_nothing_learns_from_it(compiled):
    model = model_of(PPO, make_masked(4, stuck_at=2), compiled=compiled)
    before = model.get_parameters()
    with pytest.raises(
        ValueError, match=r"at time step 4: action_masks\(\) of environment 0 allows no action"
    ):
        model.learn(N_ENVS * N_STEPS)
    for path, value in model.get_parameters()["policy"].items():
        np.testing.assert_array_equal(value, before["policy"][path])


def test_a_functional_mask_of_a_wrong_shape_is_refused_on_both_paths():
    wrong = make_masked(4)._replace(action_masks=lambda state, params: np.ones(3, bool))
    for compiled in (None, False):
        with pytest.raises(ValueError, match=r"action_masks of Rooms must return bool \(4,\)"):
            model_of(PPO, wrong, compiled=compiled).learn(1)


def test_training_goes_on_exactly_from_a_file(tmp_path):
    unbroken = model_of(PPO, ENVS["discrete"]).learn(2 * N_ENVS * N_STEPS)
    model_of(PPO, ENVS["discrete"]).learn(N_ENVS * N_STEPS).save(tmp_path / "model")
    resumed = PPO.load(tmp_path / "model", env=ENVS["discrete"])
    resumed.learn(N_ENVS * N_STEPS, reset_num_timesteps=False)
    assert resumed.num_timesteps == unbroken.num_timesteps
    for path, value in resumed.get_parameters()["policy"].items():
        np.testing.assert_array_equal(value, unbroken.get_parameters()["policy"][path])


def test_dreams_have_no_masks_so_dream_spi_asks():
    model = DreamSPI("MlpPolicy", ENVS["discrete"], n_envs=N_ENVS, **SMALL)
    with pytest.raises(ValueError, match="use_masking=False"):
        model.learn(1)


@pytest.fixture(scope="module")
def predicting():
    return {name: model_of(PPO, env) for name, env in ENVS.items()}


def test_predict_takes_masks_of_one_observation_or_a_batch(predicting):
    model, obs = predicting["discrete"], np.eye(4, dtype=np.float32)
    only = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(model.predict(obs, action_masks=only)[0], range(4))
    np.testing.assert_array_equal(
        model.predict(obs, action_masks=only.astype(int), deterministic=True)[0], range(4)
    )
    for mask in (only[2], only[2:3], [0.0, 0.0, 1.0, 0.0], only[2].tolist()):
        assert model.predict(obs[0], action_masks=mask)[0] == 2
    assert model.predict(obs[:1], action_masks=only[3])[0].shape == (1,)
    multi = predicting["multi_discrete"]
    action, _ = multi.predict(obs[0], action_masks=[False, True, False, False, True])
    np.testing.assert_array_equal(action, [1, 1])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.ones(3, bool), r"shape \(2, 4\), one mask for each observation, got \(3,\)"),
        (np.ones((3, 4), bool), r"shape \(2, 4\), .* got \(3, 4\)"),
        (np.ones((2, 5), bool), r"action_masks\[0\] must have shape \(4,\), got \(5,\)"),
        ([[True] * 4, [False] * 4], r"action_masks\[1\] allows no action"),
        ([[1, 0, 0, 0], [2, 0, 0, 0]], r"action_masks\[1\] must hold booleans, or 0 and 1"),
        (True, r"shape \(2, 4\), .* got \(\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(predicting, masks, message):
    with pytest.raises(ValueError, match=message):
        predicting["discrete"].predict(np.eye(4, dtype=np.float32)[:2], action_masks=masks)


def test_an_entry_without_a_value_and_a_box_are_refused(predicting):
    with pytest.raises(ValueError, match="action_masks allows no action"):
        predicting["multi_discrete"].predict(np.zeros(4), action_masks=[True, True, True, False, False])
    box = PPO("MlpPolicy", "Pendulum-v1", **SMALL)
    with pytest.raises(ValueError, match=r"Discrete, MultiDiscrete and MultiBinary.*Box"):
        box.predict(np.zeros(3), action_masks=[True])


def test_evaluate_actions_takes_masks(predicting):
    policy, obs = predicting["discrete"].policy, np.eye(4, dtype=np.float32)[:2]
    masks = np.array([[True, False, False, False], [True, True, False, False]])
    _, log_prob, entropy = policy.evaluate_actions(obs, [0, 1], action_masks=masks)
    _, free, _ = policy.evaluate_actions(obs, [0, 1])
    assert log_prob[0] == entropy[0] == 0
    assert log_prob[1] == pytest.approx(np.log(0.5), abs=0.02)
    assert free == pytest.approx(np.log([0.25, 0.25]), abs=0.02)


class Legal(gym.Env):
    """Action ``elapsed % 3`` alone is allowed; at an episode's end nothing is."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.elapsed = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert action == self.elapsed % 3
        self.elapsed += 1
        return np.zeros(1, np.float32), 1.0, self.elapsed == 3, False, {}

    def action_masks(self):
        return [self.elapsed < 3 and i == self.elapsed % 3 for i in range(3)]


class LegalVector(VectorEnv):
    """Masks of all copies at once; resets in the next step."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self):
        self.num_envs = 2
        self.inner = SyncVectorEnv([Legal] * 2)
        for name in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
            setattr(self, name, getattr(self.inner, name))

    def reset(self, **kwargs):
        return self.inner.reset(**kwargs)

    def step(self, actions):
        return self.inner.step(actions)

    def action_masks(self):
        return np.array([env.action_masks() for env in self.inner.envs])


VECTORS = {
    "one": Legal,
    "next step": lambda: SyncVectorEnv([Legal] * 2),
    "same step": lambda: SyncVectorEnv([Legal] * 2, autoreset_mode=AutoresetMode.SAME_STEP),
    "masks of the vector": LegalVector,
    "normalized": lambda: VecNormalize(as_vec_env(SyncVectorEnv([Legal] * 2), for_step_rows=True)),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_environments_of_every_kind_are_asked_before_each_step(kind):
    model = PPO(
        "MlpPolicy", VECTORS[kind](), n_steps=8, batch_size=8, policy_kwargs={"net_arch": [8]}, seed=0
    )
    assert offers_masks(model.env)

    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls < 8

    model.learn(8, callback=Stop())  # Legal.step insists on the one action that is allowed


class Wrong(Legal):
    def action_masks(self):
        return [True] * (3 if self.elapsed == 0 else 2)


def test_a_wrong_shape_is_named_with_environment_and_time_step():
    env = as_vec_env(SyncVectorEnv([Legal, Wrong], autoreset_mode=AutoresetMode.SAME_STEP))
    env.reset()
    assert current_masks(env, 0).shape == (2, 3)
    env.step(np.array([0, 0]))
    with pytest.raises(
        ValueError, match=r"at time step 2: action_masks\(\) of environment 1 must have shape \(3,\)"
    ):
        current_masks(env, 2)


def test_functional_environments_show_their_masks_to_gymnasium():
    env, plain = FunctionalGymEnv(ENVS["discrete"]), FunctionalGymEnv("spi/CartPole-v0")
    assert not hasattr(plain, "action_masks")
    assert not FunctionalVecEnv(make_masked(4)._replace(action_masks=None), 2).has_attr("action_masks")
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.action_masks(), obs == 0)
    many = FunctionalVectorEnv(2, ENVS["discrete"])
    obs, _ = many.reset(seed=0)
    np.testing.assert_array_equal(many.action_masks(), obs == 0)
    adapted = as_vec_env(many, for_step_rows=True)
    adapted.reset()
    assert current_masks(adapted, 0).shape == (2, 4)
    vec_env = FunctionalVecEnv(ENVS["discrete"], 2, seed=0)
    obs = vec_env.reset()
    np.testing.assert_array_equal([mask() for mask in vec_env.get_attr("action_masks")], obs == 0)


def test_real_steps_for_world_models_keep_to_the_masks():
    slots = gather(FunctionalVecEnv(ENVS["multi_discrete"], 2, seed=0), None, 40, 0).slots
    assert slots.cost.max() == 0
    assert jax.tree.leaves(slots.action)[0].any()
