"""``features_extractor_class``: a Flax NNX module between observations and the layers of actor and critic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from stable_baselines3.common.preprocessing import preprocess_obs
from tiny_models import CARTPOLE, N_ENVS, SMALL
from toy_envs import CHANNELS_LAST, MIXED, VECTOR, ToyEnv

from spi_plugins import PPO, DeepSPI
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from spi_plugins.algorithms.policy_kwargs import features_extractor
from spi_plugins.networks.encoders import CustomExtractor, preprocess
from spi_plugins.spaces import observation_spec


class Extractor(nnx.Module):
    """All that it is shown, flattened, through one layer."""

    def __init__(self, observation_space, features_dim=6, *, rngs):
        sample = observation_space.sample()
        shapes = [np.shape(x) for x in jax.tree.leaves(sample)]
        self.features_dim = features_dim
        n_in = 4 if shapes == [()] else sum(int(np.prod(shape)) for shape in shapes)
        self.layer = nnx.Linear(n_in, features_dim, rngs=rngs)

    def __call__(self, observations):
        parts = [x.reshape(len(x), -1) for x in jax.tree.leaves(observations)]
        return jnp.tanh(self.layer(jnp.concatenate(parts, axis=-1)))


class Normalized(Extractor):
    def __init__(self, observation_space, *, rngs):
        super().__init__(observation_space, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)


class Liar(Extractor):
    def __init__(self, observation_space, *, rngs):
        super().__init__(observation_space, rngs=rngs)
        self.features_dim = 7


KWARGS = {"features_extractor_class": Extractor, "features_extractor_kwargs": {"features_dim": 5}}


def tiny(cls=PPO, policy="MlpPolicy", env=CARTPOLE, **kwargs):
    copies = {"n_envs": N_ENVS} if env is CARTPOLE else {}
    return cls(
        policy,
        env,
        learning_rate=0.01,
        **{**SMALL, **copies, "policy_kwargs": {"net_arch": [8], **KWARGS, **kwargs}},
    )


def extractor_of(space, cls=Extractor, **kwargs):
    build = features_extractor(space, {"features_extractor_class": cls})
    return CustomExtractor(observation_spec(space), build, normalize=True, rngs=nnx.Rngs(0), **kwargs)


def test_it_trains_with_actor_and_critic_and_goes_on_from_a_file(tmp_path):
    model = tiny()
    before = model.get_parameters()["policy"]
    assert before["extractor/module/layer/kernel"].shape == (4, 5)
    assert before["latent/dense0/kernel"].shape == (5, 8)
    model.learn(8)
    after = model.get_parameters()["policy"]
    assert not np.array_equal(before["extractor/module/layer/kernel"], after["extractor/module/layer/kernel"])
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"only its name.*load\(\.\.\., policy_kwargs=\.\.\.\)"):
        PPO.load(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=CARTPOLE, policy_kwargs=model.policy_kwargs)
    for each in (model, loaded):
        each.learn(8, reset_num_timesteps=False)
    for key, value in model.get_parameters()["policy"].items():
        np.testing.assert_array_equal(value, loaded.get_parameters()["policy"][key])


def test_the_critic_can_have_its_own():
    params = tiny(share_features_extractor=False, net_arch={"pi": [8], "vf": [8]}).get_parameters()["policy"]
    shapes = [params[f"{name}/module/layer/kernel"].shape for name in ("extractor", "vf_extractor")]
    assert shapes == [(4, 5)] * 2


@pytest.mark.parametrize(
    ("policy", "space"), [("CnnPolicy", CHANNELS_LAST), ("MultiInputPolicy", MIXED), ("MlpPolicy", VECTOR)]
)
def test_every_policy_predicts_with_it(policy, space):
    if policy == "MultiInputPolicy":

        class Reader(Extractor):
            """Knows that the room is one of 4."""

            def __init__(self, observation_space, *, rngs):
                super().__init__(observation_space, rngs=rngs)
                self.layer = nnx.Linear(12 * 14 * 3 + 3 + 4 + 2, 6, rngs=rngs)

        kwargs = {"features_extractor_class": Reader, "features_extractor_kwargs": None}
    else:
        kwargs = {}
    model = tiny(env=ToyEnv(space), policy=policy, **kwargs)
    assert model.action_space.contains(model.predict(space.sample())[0])


def test_it_sees_what_sb3_would_show_it():
    spec = observation_spec(MIXED)
    MIXED.seed(0)
    row = MIXED.sample()
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], row)
    theirs = preprocess_obs({key: torch.tensor(np.array(value)) for key, value in batch.items()}, MIXED)
    ours = preprocess(spec, batch)
    np.testing.assert_allclose(ours["image"], np.float32(row["image"])[None] / 255, rtol=1e-6)
    np.testing.assert_array_equal(preprocess(spec, batch, normalize=False)["image"], batch["image"])
    for key in ("vector", "room"):
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6)


def test_it_is_followed_by_the_layers_that_sb3_has():
    spec = observation_spec(CHANNELS_LAST)
    config = CnnPolicy.config(spec, KWARGS)
    assert (config.pi, config.vf) == ((64, 64), (64, 64))


def test_a_world_model_behind_it_stays_in_the_model_file(tmp_path):
    model = tiny(DeepSPI)
    with pytest.raises(ValueError, match="features_extractor_class cannot be saved alone"):
        model.save_world_model(tmp_path / "world", observations=np.zeros((1, 4), np.float32))


WRONG = {
    "torch": (torch.nn.Flatten, "must be a class of Flax NNX modules.*torch's do not run in JAX"),
    "an object": (nnx.Linear(1, 1, rngs=nnx.Rngs(0)), "must be a class of Flax NNX modules"),
    "no rngs": (
        type("Old", (nnx.Module,), {"__init__": lambda self, space: None}),
        r"Old\(observation_space, rngs",
    ),
    "other variables": (Normalized, "Normalized has variables besides nnx.Param"),
    "wrong features_dim": (Liar, r"Liar must turn 2 observations into \[2, 7\] features, got \[2, 6\]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_others_are_refused(what):
    cls, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        extractor_of(VECTOR, cls)


def test_arguments_of_other_extractors_need_a_class():
    with pytest.raises(ValueError, match=r"features_extractor_kwargs=.* need a features_extractor_class"):
        MlpPolicy.config(observation_spec(VECTOR), {"features_extractor_kwargs": {"features_dim": 4}})
    assert features_extractor(VECTOR, {}) is None
    assert MlpPolicy.config(observation_spec(VECTOR), KWARGS).features_extractor is None


def test_arguments_of_the_policies_own_extractors_are_sb3s():
    images = observation_spec(CHANNELS_LAST)
    for arch, expected in ((None, (4,)), ([8], (4, 8))):
        kwargs = {"features_extractor_kwargs": {"features_dim": 4}, "net_arch": arch}
        assert CnnPolicy.config(images, kwargs).pi == expected
    kwargs = {"features_extractor_kwargs": {"cnn_output_dim": 4}}
    assert MultiInputPolicy.config(observation_spec(MIXED), kwargs).image_features == 4
    with pytest.raises(ValueError, match="unless net_arch is a dict"):
        CnnPolicy.config(images, {"features_extractor_kwargs": {"features_dim": 4}, "net_arch": {"pi": [8]}})
    with pytest.raises(ValueError, match="cnn_output_dim that must be an integer of at least 1, got 0"):
        MultiInputPolicy.config(observation_spec(MIXED), {"features_extractor_kwargs": {"cnn_output_dim": 0}})
