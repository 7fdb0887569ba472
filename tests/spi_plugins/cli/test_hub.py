"""``spi hub``: what would be pushed, what is pulled, and what goes wrong; only the network is replaced."""

import json
import pathlib
import shutil
import types

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors
from run_folders import write_run
from tiny_models import tiny_ppo

REPO = "someone/ppo-CartPole-v1"
EVALUATION = {
    "mean_return": 123.4,
    "std_return": 5.6,
    "mean_cost": 7.5,
    "std_cost": 1.0,
    "cost_limit": 10.0,
    "violation_rate": 0.2,
    "mean_length": 50.0,
    "n_episodes": 10,
    "deterministic": True,
    "num_timesteps": 1000,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file of PPO on CartPole."""
    path = tmp_path_factory.mktemp("model") / "model.zip"
    tiny_ppo("gymnasium").save(path)
    return path


@pytest.fixture
def run(tmp_path, model):
    """A run's folder, with files that are nobody else's business."""
    folder = write_run(tmp_path / "mine", tensorboard_log="my/logs")
    shutil.copy(model, folder / "model.zip")
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    (folder / "video.mp4").write_bytes(b"a film")
    (folder / "replay.npz").write_bytes(b"large")
    (folder / "secrets.py").write_text("token = 1")
    return folder


@pytest.fixture
def hub(monkeypatch):
    """A Hub in memory instead of the network's; ``hub.fail`` is raised by every call."""
    fake = types.SimpleNamespace(repos={}, created=[], fail=None)

    class HfApi:
        def create_repo(self, repo_id, *, private=None, exist_ok=False):
            if fake.fail:
                raise fake.fail
            fake.created.append((repo_id, private, exist_ok))
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            files = {path.name: path.read_bytes() for path in pathlib.Path(folder_path).iterdir()}
            fake.repos[repo_id] = files
            fake.message = commit_message

        def snapshot_download(self, repo_id, *, revision, local_dir, allow_patterns):
            if fake.fail:
                raise fake.fail
            for name, content in fake.repos[repo_id].items():
                if name in allow_patterns:
                    (pathlib.Path(local_dir) / name).write_bytes(content)
            (pathlib.Path(local_dir) / ".cache").mkdir()

    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    return fake


def http_error(cls, status):
    import httpx

    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))
    return cls("no", response=response)


def test_a_dry_run_writes_the_folder_with_its_card(spi, run):
    done = spi("hub", "push", run, REPO, "--dry-run", "out")
    assert done.code == 0, done.err
    out = pathlib.Path("out")
    expected = {"README.md", "model.zip", "config.json", "evaluation.json", "progress.csv", "command.txt"}
    assert {path.name for path in out.iterdir()} == expected | {"replay.mp4"}
    assert json.loads((out / "config.json").read_text())["tensorboard_log"] is None
    card = (out / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["library_name"] == "spi-plugins"
    assert {"reinforcement-learning", "ppo", "CartPole-v1"} <= set(meta["tags"])
    (result,) = meta["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values == {"mean_reward": "123.40 +/- 5.60", "mean_cost": "7.50 +/- 1.00"}
    assert huggingface_hub.ModelCard(card).data.eval_results[0].metric_value == "123.40 +/- 5.60"
    for text in (
        "| 10 deterministic episodes | |",
        "| cost | 7.50 +/- 1.00 |",
        "| limit of the mean cost | 10 |",
        "| episodes above the limit | 20% |",
        "spi train ppo --env CartPole-v1 -n 1000 --seed 0",
        f"spi hub pull {REPO} -o my_run",
        "- spi-plugins of the run: ",
        '<video src="replay.mp4"',
    ):
        assert text in body, text


def test_what_is_pushed_can_be_pulled_and_evaluated(spi, run, hub):
    done = spi("hub", "push", run, REPO, "--private", "--message", "First")
    assert done.code == 0, done.err
    assert (
        done.out == f"{run} is at https://huggingface.co/{REPO}; others get it with 'spi hub pull {REPO}'.\n"
    )
    assert hub.created == [(REPO, True, True)]
    assert hub.message == "First"
    hub.repos[REPO]["evil.py"] = b"raise SystemExit"
    done = spi("hub", "pull", REPO)
    assert done.code == 0, done.err
    folder = pathlib.Path("runs/hub", REPO)
    assert f"Wrote {folder}, a run of ppo on CartPole-v1.\n" in done.out
    assert "evil.py" not in {path.name for path in folder.iterdir()}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    done = spi("eval", folder, "--n-episodes", 1)
    assert done.code == 0, done.err
    done = spi("hub", "push", folder, REPO, "--dry-run", "again")
    assert "replay.mp4" in done.out


def test_a_pulled_run_imports_nothing_without_trust(spi, run, hub):
    spi("hub", "push", run, REPO)
    config = json.loads(hub.repos[REPO]["config.json"])
    hub.repos[REPO]["config.json"] = json.dumps({**config, "env": "evil_module:Env-v0"}).encode()
    assert spi("hub", "pull", REPO, "-o", "theirs").code == 0
    done = spi("eval", "theirs")
    assert done.code == 2
    assert "would import the module 'evil_module'; if you trust it, add --trust-imports." in done.err


def test_a_repository_that_is_no_run_leaves_no_folder(spi, hub):
    hub.repos[REPO] = {"README.md": b"hello"}
    done = spi("hub", "pull", REPO, "-o", "theirs")
    assert done.code == 2
    assert f"{REPO} is not a run that 'spi hub push' has uploaded" in done.err
    assert not pathlib.Path("theirs").exists()


@pytest.mark.parametrize(
    ("fail", "code", "message"),
    [
        (ConnectionError("no route"), 3, "The Hub cannot be reached: ConnectionError: no route"),
        (http_error(errors.RepositoryNotFoundError, 404), 2, f"shows no repository {REPO}"),
        (http_error(errors.HfHubHTTPError, 403), 2, "hf auth login"),
        (http_error(errors.HfHubHTTPError, 500), 3, "The Hub failed"),
        (errors.LocalTokenNotFoundError("none"), 2, "set HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_one_line(spi, run, hub, fail, code, message):
    hub.fail = fail
    for words in (("push", run, REPO), ("pull", REPO)):
        done = spi("hub", *words)
        assert (done.code, done.err.count("\n")) == (code, 1), done.err
        assert message in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("push", "nowhere", REPO), "RUN must be a run's folder, got nowhere"),
        (("push", ".", REPO), ". is not a run: it has no config.json"),
        (("pull", "just-a-name"), "OWNER/NAME must be such as"),
        (("pull", REPO, "-o", "."), "-o . exists already"),
        (("pusch", REPO), "pusch"),
    ],
)
def test_a_mistake_is_one_line(spi, words, message):
    done = spi("hub", *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
