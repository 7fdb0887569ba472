"""``policy_kwargs`` in the forms that SB3 takes build the networks that SB3 builds."""

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from tiny_models import tiny_ppo
from toy_envs import CHANNELS_LAST, MIXED, VECTOR, ToyEnv

from spi_plugins import PPO
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from spi_plugins.algorithms.policy_kwargs import optimizer
from spi_plugins.networks.actor_critic import make_actor_critic
from spi_plugins.networks.mlp import ACTIVATIONS
from spi_plugins.spaces import action_spec, observation_spec

ENV = ToyEnv()
IMAGES = FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=True)
SPECS = observation_spec(VECTOR), action_spec(ENV.action_space)


def kernels(config, specs=SPECS):
    """Shapes of the dense kernels of actor and critic."""
    params = jax.eval_shape(make_actor_critic(*specs, config).init, jax.random.key(0))
    layers = {"pi": ("latent", "pi", "actor"), "vf": ("vf", "critic")}
    return {
        side: [x.shape for part in parts for x in jax.tree.leaves(params.get(part, {})) if x.ndim == 2]
        for side, parts in layers.items()
    }


def sb3_kernels(**policy_kwargs):
    policy = ActorCriticPolicy(VECTOR, ENV.action_space, lambda _: 0.1, **policy_kwargs)
    extractor = policy.mlp_extractor
    layers = {"pi": (extractor.policy_net, policy.action_net), "vf": (extractor.value_net, policy.value_net)}
    return {
        side: [tuple(p.T.shape) for part in parts for p in part.parameters() if p.ndim == 2]
        for side, parts in layers.items()
    }


@pytest.mark.parametrize(
    "net_arch",
    [None, [], [5], [5, 6], {"pi": [5, 6], "vf": [7]}, {"pi": [5]}, {"vf": [7]}, {"pi": [], "vf": []}],
    ids=str,
)
def test_net_arch_builds_the_layers_that_sb3_builds(net_arch):
    assert kernels(MlpPolicy.config(SPECS[0], {"net_arch": net_arch})) == sb3_kernels(net_arch=net_arch)


def test_net_arch_takes_numpys_integers_and_the_list_around_a_dict_with_a_warning():
    config = MlpPolicy.config(SPECS[0], {"net_arch": tuple(np.array([5, 6]))})
    assert (config.pi, config.vf) == ((5, 6), (5, 6))
    with pytest.warns(UserWarning, match="without the list"):
        config = MlpPolicy.config(SPECS[0], {"net_arch": [{"pi": [5], "vf": [7]}]})
    assert (config.pi, config.vf) == ((5,), (7,))


@pytest.mark.parametrize("net_arch", [None, [], [8], {"pi": [8], "vf": []}], ids=str)
def test_a_cnns_critic_can_have_an_extractor_of_its_own(net_arch):
    specs = observation_spec(IMAGES.observation_space), action_spec(IMAGES.action_space)
    kwargs = {"net_arch": net_arch, "share_features_extractor": False}
    policy = make_actor_critic(*specs, CnnPolicy.config(specs[0], kwargs))
    params = jax.eval_shape(policy.init, jax.random.key(0))
    shapes = [jax.tree.map(lambda x: x.shape, params[name]) for name in ("extractor", "vf_extractor")]
    assert shapes[0] == shapes[1]


def test_a_cnn_with_two_extractors_trains():
    kwargs = {"share_features_extractor": False, "net_arch": [4], "conv_layers": [(2, 8, 8)]}
    model = PPO(
        "CnnPolicy",
        IMAGES,
        n_steps=4,
        batch_size=4,
        n_epochs=1,
        policy_kwargs=kwargs,
        seed=0,
        learning_rate=0.01,
    )
    before = model.get_parameters()["policy"]
    after = model.learn(4).get_parameters()["policy"]
    for part in ("extractor", "vf_extractor"):
        assert not np.array_equal(before[f"{part}/conv/kernel0"], after[f"{part}/conv/kernel0"])


@pytest.mark.parametrize(
    ("policy", "space"), [(CnnPolicy, CHANNELS_LAST), (MlpPolicy, CHANNELS_LAST), (MultiInputPolicy, MIXED)]
)
def test_pixels_are_divided_by_255_only_with_normalize_images(policy, space):
    spec = observation_spec(space)
    kwargs = {"conv_layers": [(2, 8, 4)], "net_arch": [4]}
    raw, scaled = (
        make_actor_critic(spec, SPECS[1], policy.config(spec, {**kwargs, "normalize_images": normalize}))
        for normalize in (False, True)
    )
    params = raw.init(jax.random.key(0))
    space.seed(0)
    row = space.sample()
    pixels = jax.tree.map(lambda x: jnp.asarray(x)[None], row)
    unit = jax.tree.map(lambda x: x / 255 if x.dtype == jnp.uint8 else x, pixels)
    np.testing.assert_allclose(
        scaled.features(params, pixels), raw.features(params, unit), rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(raw.features(params, pixels), raw.features(params, unit))


def test_an_optimizer_is_kept_in_the_file(tmp_path):
    kwargs = {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": {"betas": (0.5, 0.9), "eps": 1e-3}}
    model = tiny_ppo("gymnasium", policy_kwargs={"net_arch": [8], **kwargs}).learn(8)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env="CartPole-v1")
    assert optimizer(loaded.policy_kwargs) == optimizer(model.policy_kwargs)
    loaded.learn(8, reset_num_timesteps=False)


TORCH = {
    "celu": torch.nn.CELU,
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "hard_silu": torch.nn.Hardswish,
    "hard_tanh": torch.nn.Hardtanh,
    "identity": torch.nn.Identity,
    "leaky_relu": torch.nn.LeakyReLU,
    "log_sigmoid": torch.nn.LogSigmoid,
    "mish": torch.nn.Mish,
    "relu": torch.nn.ReLU,
    "relu6": torch.nn.ReLU6,
    "selu": torch.nn.SELU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
    "soft_sign": torch.nn.Softsign,
    "softplus": torch.nn.Softplus,
    "tanh": torch.nn.Tanh,
}


@pytest.mark.parametrize("name", TORCH)
def test_an_activation_means_the_same_as_a_name_a_function_and_torchs_class(name):
    forms = [name, TORCH[name], TORCH[name].__name__, ACTIVATIONS[name], getattr(flax.nnx, name, name)]
    read = {MlpPolicy.config(SPECS[0], {"activation_fn": form}).activation for form in forms}
    assert read == {name}
    x = np.linspace(-8, 8, 41, dtype=np.float32)
    # torch's GELU is the exact one, JAX's the common approximation.
    np.testing.assert_allclose(
        ACTIVATIONS[name](x), TORCH[name]()(torch.tensor(x)), atol=1e-3 if name == "gelu" else 1e-5
    )


@pytest.mark.parametrize("name", ["pi", "vf"])
def test_ortho_init_and_log_std_init_begin_as_sb3s(name):
    box = action_spec(stable_baselines3.common.envs.IdentityEnvBox().action_space)
    start = {}
    for ortho_init in (True, False):
        kwargs = {"ortho_init": ortho_init, "log_std_init": -1.5, "net_arch": [32, 32]}
        policy = make_actor_critic(SPECS[0], box, MlpPolicy.config(SPECS[0], kwargs))
        start[ortho_init] = policy.init(jax.random.key(0))
        np.testing.assert_array_equal(start[ortho_init]["actor"]["log_std"], [-1.5])
    part = {"pi": "latent", "vf": "vf"}[name]
    kernel = np.asarray(start[True][part]["dense1"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(32), atol=1e-4)
    kernel = np.asarray(start[False][part]["dense1"]["kernel"])
    assert not np.allclose(kernel.T @ kernel, 2 * np.eye(32), atol=0.1)
