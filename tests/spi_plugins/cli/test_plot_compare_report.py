"""``spi plot``, ``spi compare`` and ``spi report`` as a user types them, on runs that are quickly written."""

import base64
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest
from run_folders import write_run


@pytest.fixture
def classic(tmp_path):
    """Two algorithms on two environments, three seeds each."""
    for seed in range(3):
        for algorithm, bonus in (("ppo", 0), ("deep_spi", 20)):
            write_run(tmp_path / "runs", algorithm, "CartPole-v1", seed, final=400 + bonus + seed)
            write_run(tmp_path / "runs", algorithm, "Acrobot-v1", seed, final=-120 + bonus + seed)


def compared(spi, *words):
    done = spi("compare", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_runs_are_compared_in_a_table_and_a_picture(spi, classic):
    done = spi("compare", "runs")
    assert done.code == 0, done.err
    assert "12 runs in 2 groups, 2 environments. Score: mean return of the evaluation at the end" in done.out
    assert re.search(
        r"CartPole-v1  deep_spi  3     421\.0 \[420\.0, 422\.0\] +0\.955 \[0\.909, 1\.000\]\n", done.out
    )
    assert re.search(r"^GROUP +IQM +MEDIAN +MEAN +OPTIMALITY GAP", done.out, re.MULTILINE)
    assert re.search(r"deep_spi over ppo +1\.00 \[1\.00, 1\.00\]", done.out)
    assert "Note" not in done.out
    assert pathlib.Path("comparison.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_the_numbers_of_the_table(spi, classic):
    result = compared(spi, "runs", "--reference", "CartPole-v1=20,500", "Acrobot-v1=-500,-80")
    group = next(g for g in result["groups"] if (g["label"], g["environment"]) == ("ppo", "CartPole-v1"))
    assert group["returns"] == [400, 401, 402]
    assert group["mean_return"]["value"] == 401
    cartpole, acrobot = (401 - 20) / 480, (-119 + 500) / 420
    assert result["aggregates"]["ppo"]["mean"]["value"] == pytest.approx((cartpole + acrobot) / 2)
    assert result["aggregates"]["ppo"]["optimality_gap"]["value"] == pytest.approx(
        1 - (cartpole + acrobot) / 2
    )
    assert not pathlib.Path("comparison.png").exists()


def test_games_are_human_normalized(spi, tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs", "ppo", "envpool:Breakout-v5", seed, final=30.5)
        write_run(tmp_path / "runs", "ppo", "envpool:Pong-v5", seed, final=-20.7)
    result = compared(spi, "runs")
    assert result["aggregates"]["ppo"]["mean"]["value"] == pytest.approx(0.5)
    assert result["scale"] == "normalized: 0 is random play, 1 the human"
    assert spi("report", "runs").code == 0
    assert '<h2 id="atari-games">' in pathlib.Path("report.html").read_text()


def test_costs_are_held_against_the_limit(spi, tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs", "ppo", "spi/PointGoal-v0", seed, cost=40.0, cost_limit=10.0)
        write_run(tmp_path / "runs", "ppo_lag", "spi/PointGoal-v0", seed, cost=20.0, cost_limit=25.0)
    done = spi("compare", "runs")
    assert re.search(r"ppo +2 .* 40\.00 \[40\.00, 40\.00\] +25 exceeded", done.out)
    assert re.search(r"ppo_lag +2 .* 20\.00 \[20\.00, 20\.00\] +25 kept", done.out)
    assert (
        "Note: The runs on spi/PointGoal-v0 have different cost limits, 10, 25; the last one is used."
        in done.out
    )
    group = compared(spi, "runs/ppo_lag")["groups"][0]
    # The log's rows fall from 39 to 20 per 100 steps; each stands for the steps before it.
    assert group["mean_cost_rate"]["value"] == pytest.approx(0.295, abs=0.001)
    assert compared(spi, "runs", "--cost-limit", 10)["groups"][0]["cost_limit"] == 10
    whole = pathlib.Path("comparison.png").stat().st_size
    assert spi("compare", "runs", "--only", "cost-return").code == 0
    assert pathlib.Path("comparison.png").stat().st_size < whole / 2


def test_repeated_actions_are_as_many_steps_of_the_environment(spi, tmp_path):
    write_run(
        tmp_path / "runs", "ppo", "spi/PointGoal-v0", cost=20.0, wrappers=[("action_repeat", {"repeat": 5})]
    )
    write_run(tmp_path / "runs", "deep_spi", "spi/PointGoal-v0", cost=20.0)
    rates = {group["label"]: group["mean_cost_rate"]["value"] for group in compared(spi, "runs")["groups"]}
    assert rates["deep_spi"] == pytest.approx(5 * rates["ppo"])


def test_unfinished_runs_are_marked_and_used_as_far_as_they_are(spi, classic, tmp_path):
    write_run(tmp_path / "runs", "ppo", "CartPole-v1", 3, final=480, taken=500)
    done = spi("compare", "runs")
    assert "4 (1 unfinished)" in done.out
    assert "Note: Unfinished: runs/ppo/CartPole-v1_4, 500 of 1,000 steps; used as far as it is." in done.out
    assert "Score: mean return of the last training episodes" in done.out
    refused = spi("compare", "runs", "--score", "evaluation")
    assert refused.code == 2
    assert "runs/ppo/CartPole-v1_4 has no evaluation.json, as the run is unfinished" in refused.err


def test_runs_with_other_settings_are_another_group(spi, tmp_path):
    write_run(tmp_path / "runs", "ppo", seed=0)
    write_run(tmp_path / "runs", "ppo", seed=0, hyperparameters={"gamma": 0.9})
    write_run(tmp_path / "runs", "ppo", seed=1, hyperparameters={"gamma": 0.9})
    assert set(compared(spi, "runs")["aggregates"]) == {"ppo (gamma=default)", "ppo (gamma=0.9)"}
    named = compared(spi, "mine=runs/ppo/CartPole-v1_[23]", "theirs=runs/ppo/CartPole-v1_1")
    assert [(group["label"], len(group["runs"])) for group in named["groups"]] == [("mine", 2), ("theirs", 1)]


def test_environments_with_other_arguments_are_other_environments(spi, tmp_path):
    for name in ("ppo", "deep_spi"):
        write_run(tmp_path / "runs", name, seed=0, env_kwargs={"max_episode_steps": 100})
        write_run(tmp_path / "runs", name, seed=0, env_kwargs={"max_episode_steps": 200})
    tasks = {group["environment"] for group in compared(spi, "runs")["groups"]}
    assert tasks == {"CartPole-v1 (max_episode_steps=100)", "CartPole-v1 (max_episode_steps=200)"}


def test_groups_without_a_common_environment_are_shown_without_aggregates(spi, classic):
    words = ["runs/ppo/CartPole-v1_1", "runs/deep_spi/Acrobot-v1_1"]
    done = spi("compare", *words)
    assert (
        "Note: No environment has runs of every group, so nothing is aggregated over environments."
        in done.out
    )
    assert re.search(r"CartPole-v1 +ppo +1 +400\.0", done.out)
    assert "IQM" not in done.out
    assert spi("report", *words).code == 0
    assert '<h2 id="returns">' in pathlib.Path("report.html").read_text()


def test_a_seed_that_ran_twice_is_noticed(spi, tmp_path):
    write_run(tmp_path / "runs")
    write_run(tmp_path / "runs")
    assert "ppo on CartPole-v1 has several runs of seed 0" in compared(spi, "runs")["notes"][0]


def test_a_plot_has_a_curve_for_each_column_that_is_asked_for(spi, classic):
    assert spi("plot", "runs", "-o", "curves.svg").out == "Learning curves of 12 runs: curves.svg\n"
    assert pathlib.Path("curves.svg").read_text().startswith("<?xml")
    curves = json.loads(spi("plot", "runs/ppo", "-y", "time/total_timesteps", "--json").out)
    assert [(curve["label"], curve["environment"], curve["runs"]) for curve in curves] == [
        ("ppo", "Acrobot-v1", 3),
        ("ppo", "CartPole-v1", 3),
    ]
    assert curves[0]["mean"] == pytest.approx(curves[0]["steps"])


def test_a_report_is_one_page_that_asks_for_nothing(spi, classic):
    done = spi("report", "runs", "-o", "page.html")
    assert done.out == "Report on 12 runs: page.html\n"
    page = pathlib.Path("page.html").read_text()
    assert re.findall(r"""(?:src|srcset|href)=["'](?!data:image/svg|#)""", page) == []
    assert "url(" not in page
    assert "@import" not in page
    pictures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    assert len(pictures) == 10  # curves, aggregates, profiles, improvement, returns; each light and dark
    for picture in pictures:
        svg = base64.b64decode(picture).decode()
        assert svg.startswith("<?xml")
        assert re.findall(r'href="(?!#)', svg) == []
    assert "spi train deep_spi --env CartPole-v1 -n 1000 --seed 2" in page
    assert "spi report runs -o page.html" in page


def test_what_users_name_is_text_on_the_page(spi, tmp_path):
    write_run(tmp_path / "runs", hyperparameters={"policy_kwargs": "<script>alert(1)</script>"})
    spi("report", "<b>=runs", "--title", "<i>mine</i>")
    page = pathlib.Path("report.html").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;mine&lt;/i&gt;" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "nowhere"], "There is nothing at nowhere."),
        (["compare", "empty"], "There is no run in empty: no folder in it has a config.json."),
        (
            ["compare", "runs", "--cost-limit", "nan"],
            "argument --cost-limit: invalid cost of at least 0 value",
        ),
        (
            ["plot", "runs", "-o", "curves.gif"],
            "-o curves.gif: a picture's name must end in .png, .svg, .pdf.",
        ),
        (["plot", "runs", "-y", "rollout/ep_rew"], "Did you mean 'rollout/ep_rew_mean'?"),
        (["report", "runs", "-o", "page.txt"], "-o page.txt: the page's name must end in .html."),
        (["compare", "runs", "--only", "cost-return"], "--only cost-return: these runs have aggregates, "),
        (["compare", "runs", "--reference", "CartPole-v1=500,20"], "--reference takes ENV=LOW,HIGH"),
        (["compare", "runs", "--reference", "CartPole-v1=20,500"], "--reference: Acrobot-v1 needs one too"),
        (
            ["compare", "runs", "--reference", "Pong-v5=0,1"],
            "--reference Pong-v5: not a compared environment",
        ),
    ],
)
def test_mistakes_are_one_line(spi, classic, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    done = spi(*words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_runs_without_a_log_are_left_out(spi, classic, tmp_path):
    (write_run(tmp_path / "runs", "ppo", seed=5) / "progress.csv").unlink()
    assert "Note: Left out: runs/ppo/CartPole-v1_4 has no progress.csv" in spi("compare", "runs").out
    alone = spi("compare", "runs/ppo/CartPole-v1_4")
    assert alone.code == 2
    assert "runs/ppo/CartPole-v1_4 has no progress.csv: it ended before its first iteration." in alone.err


def test_a_report_on_runs_without_a_finished_episode_has_no_curves(spi, tmp_path):
    run = write_run(tmp_path / "runs", "ppo", cost=3.0)
    (run / "progress.csv").write_text("time/total_timesteps\n100\n200\n")
    done = spi("report", "runs")
    assert done.code == 0, done.err
    page = pathlib.Path("report.html").read_text()
    assert '<h2 id="cost-and-return">' in page
    assert '<h2 id="learning-curves">' not in page
    refused = spi("plot", "runs")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "No episode has ended in" in refused.err


@pytest.mark.parametrize("command", ["plot", "compare", "report"])
def test_without_matplotlib_the_message_installs_it(spi, classic, monkeypatch, command):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find(name, *rest)
    )
    done = spi(command, "runs")
    assert done.code == 2
    assert "matplotlib" in done.err
    assert "pip install 'spi-plugins[plot]'" in done.err
    assert spi("compare", "runs", "--json").code == 0


def test_comparing_imports_neither_torch_nor_jax(classic, tmp_path):
    code = (
        "import sys; from spi_plugins.cli import main; code = main(['compare', 'runs'])\n"
        "print(code, sorted({'torch', 'jax', 'stable_baselines3'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
