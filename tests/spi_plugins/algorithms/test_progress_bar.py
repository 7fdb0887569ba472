import time
import types

from spi_plugins.algorithms.progress_bar import ProgressBar, recent_episodes


def test_there_is_no_estimate_before_the_second_report(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def shown(*reports):
        with ProgressBar("fitting", 100, "updates/s") as bar:
            for seconds, done in reports:
                now[0] += seconds
                bar.report(done, {"reward": "0.5"})
        return capsys.readouterr().out

    first = shown((60, 10))
    assert "fitting" in first
    assert "10/100" in first
    assert "reward 0.5" in first
    assert "left" not in first
    assert "reward 0.5 5 updates/s 0:16 left" in shown((60, 10), (2, 20))
    # Of the pace of the last reports: the first minute, in which programs compile, does not count.
    assert "2 updates/s 0:20 left" in shown((60, 10), (10, 30), (15, 60))


def test_the_bar_names_return_and_cost_of_recent_episodes():
    episodes = [{"r": 1.0, "c": 4.0, "l": 5}, {"r": 2.0, "c": 5.0, "l": 5}]
    assert recent_episodes(types.SimpleNamespace(ep_info_buffer=episodes)) == {"return": "1.5", "cost": "4.5"}
    assert recent_episodes(types.SimpleNamespace(ep_info_buffer=[{"r": 1.0}])) == {"return": "1"}
    assert recent_episodes(types.SimpleNamespace(ep_info_buffer=None)) == {}
