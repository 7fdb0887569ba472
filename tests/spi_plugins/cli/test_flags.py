"""Flags, ``-p`` and files of ``spi train``: all say the same, and words win over files."""

import collections
import importlib.util
import json
import pathlib

import pytest
import yaml

from spi_plugins import presets
from spi_plugins.cli import main
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.declarations import FILE, read_all
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.train import complete, configure
from spi_plugins.testing import plugin_sandbox

STORED = json.loads(FILE.read_text("utf-8"))


def read(*words):
    """What ``spi train`` makes of its words, before it trains."""
    parser = Parser(prog="spi train")
    configure(parser)
    args = parser.parse_args([str(word) for word in words])
    complete(parser, args)
    return args


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        (("--learning-rate", "3e-4"), {"learning_rate": 3e-4}),
        (("--learning-rate", "lin_3e-4"), {"learning_rate": "lin_3e-4"}),
        (("--learning_rate=1e-3", "--gamma", ".9"), {"learning_rate": 1e-3, "gamma": 0.9}),
        (("--n-steps", "1e3"), {"n_steps": 1000}),
        (("--use-sde", "--no-normalize-advantage"), {"use_sde": True, "normalize_advantage": False}),
        (("--use-sde", "--no-use-sde"), {"use_sde": False}),
        (("--target-kl", "None"), {"target_kl": None}),
        (("--sde-sample-freq", "-1"), {"sde_sample_freq": -1}),
        (
            ("--policy-kwargs", "dict(net_arch=dict(pi=[64, 64], vf=[32]), activation_fn=nn.ReLU)"),
            {"policy_kwargs": {"net_arch": {"pi": [64, 64], "vf": [32]}, "activation_fn": "ReLU"}},
        ),
        (("--policy-kwargs", "{'net_arch': [8]}"), {"policy_kwargs": {"net_arch": [8]}}),
        (
            ("-p", "gamma=0.9", "n_epochs=2", "device='cpu'"),
            {"gamma": 0.9, "n_epochs": 2, "device": "cpu"},
        ),
        (
            ("--hyperparams", "gamma:0.9", "policy_kwargs:dict(net_arch=[8])"),
            {"gamma": 0.9, "policy_kwargs": {"net_arch": [8]}},
        ),
    ],
)
def test_a_flag_has_the_value_that_its_hyperparameter_takes(flags, values):
    assert read("ppo", *flags).values == values
    assert read("--algo", "ppo", *flags).values == values
    assert repr(read("ppo", *flags).values) == repr(values)  # 1000 is not 1000.0


@pytest.mark.parametrize(
    ("words", "level"), [((), 0), (("-v",), 1), (("-vv",), 2), (("--verbose",), 1), (("--verbose", 2), 2)]
)
def test_verbose_is_counted_or_given_as_a_number(words, level):
    assert read("ppo", *words).verbose == level


def test_the_text_of_a_value_is_never_executed():
    with pytest.raises(CommandError, match="policy_kwargs must be a dict"):
        read("ppo", "--policy-kwargs", "dict(a=__import__('os').getcwd())")


@pytest.mark.parametrize("target", STORED)
def test_the_help_of_an_algorithm_has_every_hyperparameter(target, capsys):
    names = {"ppo_lag": "PPOLag", "ppo_pid": "PPOPID", "ppo_saute": "PPOSaute", "ppo_early": "PPOEarly"}
    names |= {"deep_spi": "DeepSPI", "deep_mdp": "DeepMDP", "ppo": "PPO", "dream_spi": "DreamSPI"}
    names |= {"spowl": "SPOWL", "tdmpc2": "TDMPC2"}
    (algorithm,) = (name for name, cls in names.items() if target.endswith(f":{cls}"))
    assert main(["train", "--algo", algorithm, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, fields in STORED[target].items():
        assert f"--{name.replace('_', '-')}" in text
        if fields and name not in ("n_envs", "seed", "device", "verbose", "tensorboard_log"):
            assert " ".join(fields["help"].replace("`", "").split()[:4]) in text, name


def test_a_name_means_the_same_kind_of_value_in_all_algorithms():
    kinds = {}
    for declarations in STORED.values():
        for name, fields in declarations.items():
            switch = fields.get("kinds") in (["bool"], ["bool", "none"])
            assert kinds.setdefault(name, switch) == switch, name
    assert {"learning_rate", "cost_limit"} <= read_all().keys()


def test_the_file_of_a_run_says_the_same_again(tmp_path):
    config = {
        "algorithm": "ppo",
        "policy": "MlpPolicy",
        "env": "CartPole-v1",
        "env_kwargs": {"sutton_barto_reward": True},
        "n_envs": 4,
        "seed": 7,
        "n_timesteps": 640,
        "hyperparameters": {"learning_rate": "lin_0.001", "policy_kwargs": {"net_arch": [8]}},
        "callbacks": [["cost_log", {"limit": 5}]],
        "save_freq": 0,
        "eval_episodes": 3,
        "tensorboard_log": None,
        "resumed_from": None,
        "version": "0.0.1",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in (tmp_path, tmp_path / "config.json"):
        args = read("-c", file)
        assert (args.algo, args.env, args.n_envs, args.seed, args.n_timesteps) == (
            "ppo",
            "CartPole-v1",
            4,
            7,
            640,
        )
        assert (args.policy, args.save_freq, args.eval_episodes) == ("MlpPolicy", 0, 3)
        assert args.env_kwargs == ["sutton_barto_reward=True"]
        assert args.callback == [["cost_log", "limit=5"]]
        assert args.values == config["hyperparameters"]


def test_words_win_over_a_file_one_by_one(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(
        "algo: ppo\nenv: CartPole-v1\nn_timesteps: 1000\nseed: 3\ngamma: 0.9\nn_epochs: 2\nprogress: true\n"
    )
    args = read("-c", file, "-n", 50, "--gamma", 0.8)
    assert (args.algo, args.n_timesteps, args.seed, args.progress) == ("ppo", 50, 3, True)
    assert args.values == {"gamma": 0.8, "n_epochs": 2}


def test_a_preset_fills_in_what_words_leave_open():
    preset = presets.find("ppo", "CartPole-v1")
    args = read("ppo", "--env", "CartPole-v1", "--gamma", 0.9, "--n-envs", 4)
    assert (args.n_timesteps, args.n_envs, args.preset) == (preset.n_timesteps, 4, "CartPole-v1")
    assert args.values == {**preset.hyperparameters, "gamma": 0.9}
    assert read("ppo", "--env", "Acrobot-v1", "--preset", "CartPole-v1").values == preset.hyperparameters
    assert not read("ppo", "--env", "CartPole-v1", "--no-preset").values


def test_what_a_preset_sets_is_told_in_one_line():
    parser = Parser(prog="spi train")
    configure(parser)
    line = complete(parser, parser.parse_args(["ppo", "--env", "CartPole-v1", "--gamma", "0.9"]))
    assert line.startswith("Preset CartPole-v1: n_timesteps=")
    assert "n_steps=32" in line
    assert "gamma" not in line
    assert line.endswith("(--no-preset for none).")
    assert "\n" not in line


def test_a_file_takes_the_place_of_the_preset(tmp_path):
    (tmp_path / "mine.yml").write_text("n_epochs: 3")
    args = read("ppo", "--env", "CartPole-v1", "-c", tmp_path / "mine.yml")
    assert (args.n_timesteps, args.values, args.preset) == (None, {"n_epochs": 3}, None)


ZOO = """
CartPole-v1: &defaults
  n_envs: 8
  n_timesteps: !!float 1e5
  policy: 'MlpPolicy'
  learning_rate: lin_0.001
  clip_range: lin_0.2
  policy_kwargs: "dict(net_arch=[64, 64], activation_fn=nn.Tanh)"
Acrobot-v1:
  <<: *defaults
  gamma: 0.99
"""


def test_a_file_of_rl_zoo3_has_a_section_for_each_environment(tmp_path):
    file = tmp_path / "ppo.yml"
    file.write_text(ZOO)
    args = read("ppo", "-conf", file, "--env", "Acrobot-v1")
    assert (args.n_envs, args.n_timesteps, args.policy) == (8, 100_000, "MlpPolicy")
    assert args.values == {
        "learning_rate": "lin_0.001",
        "clip_range": "lin_0.2",
        "policy_kwargs": {"net_arch": [64, 64], "activation_fn": "Tanh"},
        "gamma": 0.99,
    }


def test_rl_zoo3s_own_file_can_be_read(tmp_path):
    file = pathlib.Path(importlib.util.find_spec("rl_zoo3").origin).parent / "hyperparams/ppo.yml"
    parser = Parser(prog="spi train")
    configure(parser)
    # It stacks images, which is left to the environment.
    envs = yaml.safe_load(file.read_text()).keys() - {"atari", "default", "CarRacing-v3"}
    assert len(envs) == 41
    for env in (*envs, "envpool:Breakout-v5"):
        args = parser.parse_args(["ppo", "-c", str(file), "--env", env])
        complete(parser, args)
        assert (args.env, args.n_timesteps > 0) == (env, True), env
    assert args.values["clip_range"] == "lin_0.1"
    args = parser.parse_args(["ppo", "-c", str(file), "--env", "MyOwn-v0"])
    complete(parser, args)
    assert (args.env, args.n_timesteps) == ("MyOwn-v0", 1_000_000)


def test_the_file_in_a_run_of_rl_zoo3_can_be_read(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text(yaml.dump(collections.OrderedDict(gamma=0.98, n_envs=2, policy="MlpPolicy")))
    assert "OrderedDict" in file.read_text()
    assert (read("ppo", "-c", file).n_envs, read("ppo", "-c", file).values) == (2, {"gamma": 0.98})


def test_another_packages_algorithm_takes_any_key_and_flag(tmp_path, plugin):
    module = plugin(register_algorithms=lambda register: register("other", "stable_baselines3:SAC"))
    (tmp_path / "sac.yml").write_text("Pendulum-v1: {tau: 0.01, train_freq: 4}")
    with plugin_sandbox(module):
        args = read("other", "-c", tmp_path / "sac.yml", "--learning-rate", 1e-3, "-p", "top_quantiles=2")
    assert args.env == "Pendulum-v1"
    assert args.values == {"tau": 0.01, "train_freq": 4, "learning_rate": 1e-3, "top_quantiles": 2}


@pytest.mark.parametrize(
    ("words", "values", "evaluated"),
    [
        (("ppo", "--constraint", "pid", "--cost-limit", "5"), {"constraint": "pid", "cost_limit": 5}, None),
        (
            ("ppo", "--constraint", "p3o", "--cost-limit", "{'speed': 2.0}"),
            {"cost_limit": {"speed": 2.0}},
            None,
        ),
        (("ppo_lag", "--cost-limit", "5"), {"cost_limit": 5}, None),
        (("ppo", "--cost-limit", "5"), {}, 5),  # without a constraint, of the evaluations
    ],
)
def test_a_cost_limit_is_the_constraints_or_the_evaluations(words, values, evaluated):
    args = read(*words, "--env", "spi/PixelGoal-v0")
    assert values.items() <= args.values.items()
    assert ("cost_limit" in args.values) == ("cost_limit" in values)
    assert args.eval_cost_limit == evaluated


@pytest.mark.parametrize("name", ["ppo_saute", "ppo_early"])
def test_what_keeps_its_limit_otherwise_takes_no_constraint(name):
    with pytest.raises(CommandError, match="there is no argument 'constraint'"):
        read(name, "--env", "spi/PointGoal-v0", "--constraint", "pid")
