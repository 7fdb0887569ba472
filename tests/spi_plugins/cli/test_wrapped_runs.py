"""``--wrapper``, ``--vec-env`` and ``--normalize``: kept by the run, found again by ``spi eval`` and ``--resume``."""

import json
import pathlib

import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize, unwrap_vec_normalize
from tiny_runs import COSTS, TINY

from spi_plugins import PPO
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask, parse_normalize, parse_wrappers
from spi_plugins.cli.environments import build_env
from spi_plugins.cli.evaluation import evaluate, follow_statistics, load_model, open_env, open_env_of
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.errors import EnvironmentNotSupportedError

CARTPOLE = ("train", "ppo", "--env", "CartPole-v1", "--n-envs", 2, "--no-preset", *TINY, "--save-freq", 0)
SHORT = ("--wrapper", "gymnasium.wrappers:TimeLimit", "max_episode_steps=5")
COSTLY = ("--wrapper", "cost_from_fn", "fn=my_costs:cost")


@pytest.fixture(autouse=True)
def my_costs(tmp_path, monkeypatch):
    (tmp_path / "my_costs.py").write_text(
        "import numpy as np\n\ndef cost(obs, action, reached, info):\n    return np.full(obs.shape[:-1], 1.0)[()]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(PPO, "learn", lambda self, *args, **kwargs: self)


def run_of(name="CartPole-v1", algorithm="ppo"):
    return RunFolder(pathlib.Path(f"runs/{algorithm}/{name}_1"))


def episodes(recipe, n_episodes=4, **how):
    env = build_env(recipe, n_envs=2, seed=3, **how)
    _obs, ended = env.reset(), []
    while len(ended) < n_episodes:
        _obs, _, dones, infos = env.step(np.zeros(2, np.int64))
        ended += [infos[i]["episode"] for i in np.flatnonzero(dones)]
    env.close()
    return ended


def test_a_run_keeps_its_wrappers(spi):
    words = (*CARTPOLE, "-n", 32, "--eval-episodes", 2, *SHORT, *COSTLY)
    done = spi(*words)
    assert done.code == 0, done.err
    run = run_of()
    assert run.read_config().wrappers == (
        ("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 5}),
        ("cost_from_fn", {"fn": "my_costs:cost"}),
    )
    final = json.loads(run.evaluation.read_text())
    assert (final["lengths"], final["costs"]) == ([5, 5], [5.0, 5.0])
    rows = read_progress(run.progress)
    assert {row["rollout/ep_len_mean"] for row in rows if "rollout/ep_len_mean" in row} == {"5.0"}
    assert {row["rollout/ep_cost_mean"] for row in rows if "rollout/ep_cost_mean" in row} == {"5.0"}
    assert done.out.splitlines()[-1].endswith("--trust-imports")

    refused = spi("eval", run.path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "would import 'gymnasium.wrappers:TimeLimit'; if you trust it, add --trust-imports" in refused.err
    assert "--trust-imports" in spi("train", "--resume", run.path, "-n", 8).err
    again = json.loads(spi("eval", run.path, "--trust-imports", "--n-episodes", 2, "--json").out)
    assert {key: again[key] for key in final} == final
    done = spi("train", "--resume", run.path, "-n", 8, "--trust-imports", "--eval-episodes", 1)
    assert done.code == 0, done.err
    assert json.loads(run.evaluation.read_text())["costs"] == [5.0]


def test_the_same_run_is_made_again_from_its_folder(spi, no_training):
    words = ("--normalize", "--vec-env", "sync", "--frame-stack", 2)
    spi(*CARTPOLE, "-n", 8, "--eval-episodes", 0, *SHORT, *COSTLY, *words)
    refused = spi("train", "-c", run_of().path, "-n", 8)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "would import 'gymnasium.wrappers:TimeLimit'; if you trust it, add --trust-imports" in refused.err
    done = spi("train", "-c", run_of().path, "-n", 8, "--trust-imports")
    assert done.code == 0, done.err
    first, second = (RunFolder(run_of().path.with_name(f"CartPole-v1_{k}")).read_config() for k in (1, 2))
    assert first == second
    assert (second.recipe.vec_env, second.recipe.frame_stack) == ("sync", 2)


def test_a_users_own_file_may_name_modules(spi, no_training):
    wrapper = "env_wrapper: {gymnasium.wrappers.TimeLimit: {max_episode_steps: 5}}"
    pathlib.Path("mine.yml").write_text(f"CartPole-v1: {{n_timesteps: 8, {wrapper}}}")
    done = spi(*CARTPOLE, "-c", "mine.yml", "--eval-episodes", 0)
    assert done.code == 0, done.err
    assert run_of().read_config().wrappers == (("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 5}),)


def test_observations_are_normalized_and_then_stacked_as_in_rl_zoo3(spi):
    section = (
        '{n_timesteps: 32, n_envs: 2, frame_stack: 3, normalize: "dict(norm_obs=True, norm_reward=False)"}'
    )
    pathlib.Path("zoo.yml").write_text(f"CartPole-v1: {section}")
    words = ("--save-freq", 0, "--eval-freq", 16, "--eval-episodes", 2)
    done = spi("train", "ppo", "-c", "zoo.yml", "--env", "CartPole-v1", *TINY, *words)
    assert done.code == 0, done.err
    run = run_of()
    config = run.read_config()
    model = load_model("ppo", run.model, trusted=False)
    assert model.observation_space.shape == (12,)
    env = open_env_of(model, run.model, config.evaluation_task())
    assert isinstance(env, VecFrameStack)
    assert env.venv.obs_rms.mean.shape == (4,)
    again = json.loads(spi("eval", run.path, "--n-episodes", 2, "--json").out)
    final = json.loads(run.evaluation.read_text())
    assert {key: again[key] for key in final} == final
    best = config.evaluation_task()._replace(seed=run.read_best()["seed"])
    assert evaluate("ppo", run.best_model, best, trusted=False)._asdict() == run.read_best()
    refused = spi("export", run.path, "-o", "policy.jaxexport")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "normalized in (4,) and then stacked to (12,)" in refused.err
    done = spi("train", "--resume", run.path, "-n", 16)
    assert done.code == 0, done.err
    assert load_model("ppo", run.model, trusted=False).num_timesteps == 48


def test_a_stranger_cannot_call_what_is_loaded_already(spi, no_training):
    spi(*CARTPOLE, "-n", 8, "--eval-episodes", 0)
    config = json.loads(run_of().config.read_text())
    for wrapper in (
        ["os:system", {}],
        ["cost_from_fn", {"fn": "os:system"}],
        ["multi_cost", {"terms": {"a": ["os:system"]}}],
    ):
        run_of().config.write_text(json.dumps({**config, "wrappers": [wrapper]}))
        done = spi("eval", run_of().path)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "would import 'os:system'" in done.err
    run_of().config.write_text(json.dumps({**config, "wrappers": [["os:system", {}]]}))
    assert "must be a subclass of gymnasium.Wrapper" in spi("eval", run_of().path, "--trust-imports").err


def test_the_first_wrapper_is_the_innermost():
    limit, cost = ("cost_limit", {"limit": 2.0}), ("cost_from_fn", {"fn": "my_costs:cost"})
    assert [each["c"] for each in episodes(EnvRecipe("CartPole-v1", {}, [cost, limit]))] == [3.0] * 4
    with pytest.raises(ValueError, match=r"needs info\['cost'\]"):
        episodes(EnvRecipe("CartPole-v1", {}, [limit, cost]))


@pytest.mark.parametrize(
    ("env", "vec_env"),
    [
        ("CartPole-v1", None),
        ("CartPole-v1", "sync"),
        ("spi/CartPole-v0", None),
        ("spi/VelocityHopper-v0", None),
    ],
)
def test_each_kind_of_environment_is_wrapped(env, vec_env):
    if env == "spi/VelocityHopper-v0":
        pytest.importorskip("mujoco")
        wrappers = [("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 3})]
        vec = build_env(EnvRecipe(env, {}, wrappers), n_envs=1, seed=0)
        vec.reset()
        ends = [vec.step(np.zeros((1, 3)))[2][0] for _ in range(6)]
        assert ends == [False, False, True] * 2
        return
    wrappers = [("cost_from_info", {"key": "absent"})]
    if env == "CartPole-v1" or vec_env is None:
        wrappers = [("cost_from_fn", {"fn": "my_costs:cost"})]
    if env == "spi/CartPole-v0":
        wrappers = [("action_repeat", {"repeat": 2})]  # functional environments have a cost of their own
    ended = episodes(EnvRecipe(env, {}, wrappers, vec_env))
    if env == "spi/CartPole-v0":
        assert all(each["r"] > each["l"] for each in ended)
    else:
        assert all(each["c"] == each["l"] == each["r"] for each in ended)


def test_a_functional_environment_stays_one_program_unless_a_wrapper_is_for_single_ones():
    plain = build_env(EnvRecipe("spi/CartPole-v0", {}), n_envs=2, seed=0)
    assert type(plain) is FunctionalVecEnv
    recipe = EnvRecipe("spi/CartPole-v0", {}, [("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 5})])
    assert [each["l"] for each in episodes(recipe)] == [5] * 4


def test_wrappers_of_vector_environments_run_under_sync():
    clip = ("gymnasium.wrappers.vector:ClipReward", {"max_reward": 0.5})
    env = build_env(EnvRecipe("CartPole-v1", {}, [clip]), n_envs=2, seed=0)
    env.reset()
    assert env.step(np.zeros(2, np.int64))[1].tolist() == [0.5, 0.5]
    with pytest.raises(EnvironmentNotSupportedError, match="use 'sync'"):
        build_env(EnvRecipe("CartPole-v1", {}, [clip], "dummy"), n_envs=2, seed=0)
    single = ("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 5})
    with pytest.raises(EnvironmentNotSupportedError, match="must come after"):
        build_env(EnvRecipe("CartPole-v1", {}, [clip, single]), n_envs=2, seed=0)
    with pytest.raises(EnvironmentNotSupportedError, match="does not apply to spi/CartPole-v0"):
        build_env(EnvRecipe("spi/CartPole-v0", {}, (), "async"), n_envs=2, seed=0)


@pytest.mark.parametrize("vec_env", ["async", pytest.param("subproc", marks=pytest.mark.slow)])
def test_processes_play_the_same_episodes(vec_env):
    recipe = EnvRecipe("CartPole-v1", {}, [("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 9})])

    def lengths(kind):
        return [(each["r"], each["l"]) for each in episodes(recipe._replace(vec_env=kind))]

    assert lengths(vec_env) == lengths("dummy")


def test_an_envpool_environment_is_wrapped(spi):
    pytest.importorskip("envpool")
    words = ("train", "ppo", "--env", "envpool:CartPole-v1", *CARTPOLE[4:], *COSTLY)
    done = spi(*words, "-n", 32, "--eval-episodes", 2)
    assert done.code == 0, done.err
    final = json.loads(run_of("envpool-CartPole-v1").evaluation.read_text())
    assert final["costs"] == final["returns"]


def test_statistics_are_kept_and_found_again_and_returns_are_not_normalized(spi):
    done = spi(*COSTS, "-n", 64, "--eval-freq", 32, "--eval-episodes", 2, "--normalize", "--gamma", 0.9)
    assert done.code == 0, done.err
    run = run_of("spi-CostCartPole-v0")
    assert run.read_config().normalize == {}
    assert sorted(path.suffix for path in run.path.iterdir() if path.is_file()).count(".pkl") == 0
    final = json.loads(run.evaluation.read_text())
    assert final["returns"] == [float(length) for length in final["lengths"]]  # CartPole pays 1 for each step

    trained = PPO.load(run.model, env=VecNormalize(build_env(run.read_config().recipe, n_envs=2, seed=0)))
    model = load_model("ppo", run.model, trusted=False)
    env = open_env_of(model, run.model, run.read_config().evaluation_task())
    frozen, live = unwrap_vec_normalize(env), trained.get_vec_normalize_env()
    np.testing.assert_array_equal(frozen.obs_rms.mean, live.obs_rms.mean)
    assert live.obs_rms.count > 60
    assert (frozen.training, frozen.norm_reward) == (False, False)
    before = frozen.obs_rms.count
    env.reset()
    env.step(np.zeros(env.num_envs, np.int64))
    assert frozen.obs_rms.count == before
    best = run.read_best()
    task = run.read_config().evaluation_task()._replace(seed=best["seed"])
    assert evaluate("ppo", run.best_model, task, trusted=False)._asdict() == best


def test_normalization_uses_the_algorithms_discount(spi, monkeypatch):
    seen = []
    monkeypatch.setattr(PPO, "learn", lambda self, *a, **k: seen.append(self.get_vec_normalize_env().gamma))
    for extra in (("--normalize",), ("--normalize", "{'gamma': 0.5}")):
        spi(*COSTS, "-n", 8, "--eval-episodes", 0, *extra, "--gamma", 0.9)
    assert seen == [0.9, 0.5]


def test_a_normalized_run_goes_on_exactly(spi):
    words = (*COSTS[:-2], "--normalize", "--save-freq", 16, "--eval-freq", 16, "--eval-episodes", 2)
    assert spi(*words, "-n", 32).code == 0
    run = run_of("spi-CostCartPole-v0")
    before = PPO.load(run.model).get_parameters()["policy"]
    files = [path.read_bytes() for path in (run.evaluation, run.best)]
    done = spi("train", "--resume", run.checkpoints / "ppo_16_steps.zip")
    assert done.code == 0, done.err
    after = PPO.load(run.model).get_parameters()["policy"]
    for key in before:
        np.testing.assert_array_equal(after[key], before[key], err_msg=key)
    assert [path.read_bytes() for path in (run.evaluation, run.best)] == files


@pytest.mark.parametrize("name", ["ppo_lag", "ppo_saute"])
def test_safe_baselines_are_evaluated_under_what_they_saw(spi, name):
    done = spi("train", name, *COSTS[2:], "-n", 16, "--eval-freq", 8, "--eval-episodes", 2, "--normalize")
    assert done.code == 0, done.err
    final = json.loads(run_of("spi-CostCartPole-v0", name).evaluation.read_text())
    assert final["returns"] == [float(length) for length in final["lengths"]]
    assert final["cost_limit"] == 25.0


def test_a_model_that_was_normalized_in_python_is_evaluated_so(tmp_path):
    env = VecNormalize(build_env(EnvRecipe("spi/CostCartPole-v0", {}), n_envs=2, seed=0))
    model = PPO(
        "MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, policy_kwargs={"net_arch": [8]}, seed=0
    )
    model.learn(8)
    model.save(tmp_path / "model.zip")
    task = EvaluationTask(EnvRecipe("spi/CostCartPole-v0", {}), 2, None, seed=1)
    loaded = load_model("ppo", tmp_path / "model.zip", trusted=False)
    playing = open_env_of(loaded, tmp_path / "model.zip", task)
    np.testing.assert_array_equal(unwrap_vec_normalize(playing).obs_rms.mean, env.obs_rms.mean)
    assert loaded.num_timesteps == 8
    assert evaluate("ppo", tmp_path / "model.zip", task, trusted=False).n_episodes == 2

    during = open_env(model, task._replace(recipe=task.recipe._replace(normalize={})))
    follow_statistics(during, env)
    np.testing.assert_array_equal(during.obs_rms.mean, env.obs_rms.mean)
    assert during.obs_rms is not env.obs_rms


def test_words_as_the_rl_zoo_writes_them():
    assert parse_wrappers([["gymnasium.wrappers.TimeLimit", "max_episode_steps=5"]]) == [
        ("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 5})
    ]
    half = {"norm_obs": True, "norm_reward": False}
    for value, expected in (
        (True, {}),
        ("true", {}),
        ("False", None),
        (None, None),
        (str(half), half),
        (half, half),
    ):
        assert parse_normalize("--normalize", value) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--wrapper", "cost_limt", "limit=3"), "No wrapper named 'cost_limt'. Did you mean 'cost_limit'"),
        (("--wrapper", "cost_limit"), "--wrapper cost_limit: missing a required argument: 'limit'."),
        (
            ("--wrapper", "cost_limit", "limits=3"),
            "--wrapper cost_limit has no argument 'limits'. Did you mean 'limit'?",
        ),
        (("--wrapper", "cost_limit", "3"), "--wrapper cost_limit takes key=value pairs"),
        (("--wrapper", "no_module:X"), "--wrapper no_module:X cannot be imported: there is no module"),
        (("--normalize", "{'norm_ob': True}"), "no argument 'norm_ob'. Did you mean 'norm_obs'"),
        (("--normalize", "{'norm_obs': 1}"), "norm_obs must be bool, got 1"),
        (("--normalize", "obs"), "--normalize takes a dict such as"),
        (("--vec-env", "forked"), "invalid choice: 'forked'"),
        (("--vec-env", "async"), "vec_env 'async' does not apply to spi/CostCartPole-v0"),
        (("--wrapper", "gymnasium.wrappers:NoSuch"), "cannot be imported: AttributeError"),
        (("--wrapper", "math:sin"), "The wrapper 'math:sin' must be a subclass of gymnasium.Wrapper"),
        (
            ("--wrapper", "cost_limit", "limit=-3"),
            "The wrapper 'cost_limit' cannot wrap the environment: ValueError",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(spi, words, message):
    done = spi(*COSTS, "-n", 16, *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
    assert not pathlib.Path("runs").exists()


def test_what_made_the_environment_is_fixed(spi, no_training):
    spi(*CARTPOLE, "-n", 8, "--eval-episodes", 0)
    for words in (SHORT, ("--normalize",), ("--vec-env", "sync"), ("--frame-stack", 2)):
        done = spi("train", "--resume", run_of().path, "-n", 8, *words)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"{words[0]} cannot be changed with --resume" in done.err


def test_the_statistics_of_a_foreign_model_are_next_to_it(train):
    words = (
        "--env",
        "CartPole-v1",
        "--n-envs",
        2,
        "-p",
        "n_steps=16",
        "batch_size=16",
        "n_epochs=1",
        "device='cpu'",
    )
    evaluations = ("--eval-freq", 32, "--eval-episodes", 2, "--save-freq", 32)
    done = train("train", "sb3_ppo", *words, "-n", 64, "--normalize", *evaluations)
    assert done.code == 0, done.err
    run = run_of(algorithm="sb3_ppo")
    found = sorted(path.name for path in run.path.rglob("*.pkl"))
    steps = [f"sb3_ppo_vecnormalize_{n}_steps.pkl" for n in (32, 64)]
    assert found == ["best_model_vecnormalize.pkl", *steps, "vecnormalize.pkl"]
    trusting = ("--trust-imports", "--n-episodes", 2, "--json")
    final = json.loads(run.evaluation.read_text())
    again = json.loads(train("eval", run.path, *trusting).out)
    assert {key: again[key] for key in final} == final
    best = run.read_best()
    again = json.loads(train("eval", run.path, "--best", "--seed", best["seed"], *trusting).out)
    assert {key: again[key] for key in best} == best

    counts = []
    for path in (run.checkpoints / "sb3_ppo_32_steps.zip", run.model):
        model = stable_baselines3.PPO.load(path)
        env = open_env_of(model, path, run.read_config().evaluation_task())
        counts.append(round(unwrap_vec_normalize(env).obs_rms.count))
        env.close()
    done = train("train", "--trust-imports", "--resume", run.path, "-n", 32)
    assert done.code == 0, done.err
    env = open_env_of(stable_baselines3.PPO.load(run.model), run.model, run.read_config().evaluation_task())
    # Each part of a run also begins with a reset, whose observations count.
    assert [*counts, round(unwrap_vec_normalize(env).obs_rms.count)] == [34, 66, 66 + 34]
    run.path.joinpath("vecnormalize.pkl").unlink()
    refused = train("eval", run.path, "--trust-imports")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"cannot be read from {run.path}/vecnormalize.pkl" in refused.err
