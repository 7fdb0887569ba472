"""What the benchmarks share: a run that is stored is not made again."""

import comparison
import numpy as np
from learning import Stored, interval

from spi_integrations.stable_baselines3 import CostEvaluation


def test_runs_stay_in_the_file_when_a_benchmark_goes_on(tmp_path):
    path = tmp_path / "results" / "runs.json"
    Stored(path).add({"method": "a", "seed": 0, "costs": [1.0, 2.0]})
    Stored(path).add({"method": "a", "seed": 1, "costs": [3.0, 3.0]})
    again = Stored(path)
    assert [again.has(method="a", seed=seed) for seed in range(3)] == [True, True, False]
    assert interval(again.rows[1:], "costs") == "3.00 [3.00, 3.00]"
    assert interval(again.rows, "costs").startswith("2.25 [2.00, ")


def test_a_comparison_makes_the_runs_that_are_missing(tmp_path, monkeypatch):
    made = []

    def run(task, method, seed):
        made.append((method, seed))
        played = CostEvaluation(np.array([3.0, 4.0]), np.array([4.0, 8.0]), np.array([9, 9]))
        return comparison.Outcome(played, [(i, 1.0, 2.0, 0.1) for i in range(1, 130)], 60.0)

    monkeypatch.setattr(comparison, "run", run)
    arguments = ["comparison.py", "point_goal", "--out", str(tmp_path), "--methods", "ppo", "cpo", "--seeds"]
    for seeds in (["0"], ["0", "1"]):
        monkeypatch.setattr("sys.argv", [*arguments, *seeds])
        comparison.main()
    assert made == [("ppo", 0), ("cpo", 0), ("ppo", 1), ("cpo", 1)]
    rows = Stored(tmp_path / "comparison_point_goal.json").rows
    assert "| `cpo` | 2 | 3.50 [3.00, 4.00] | 6.00 [4.00, 8.00] | 6.00, 6.00 | 50 %" in comparison.table(
        "point_goal", rows
    )
    assert len(rows[0]["curve"]) <= 60
    assert rows[0]["curve"][-1] == [129, 1.0, 2.0, 0.1]
    assert (tmp_path / "comparison_point_goal.png").stat().st_size > 1000
