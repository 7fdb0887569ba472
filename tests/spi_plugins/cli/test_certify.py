"""``spi certify``: from a run's checkpoint to its model, and into the report."""

import json
import pathlib

from tiny_runs import TINY

RUN = pathlib.Path("runs/ppo/spi-CartPole-v0_1")
TRAIN = (
    *("train", "ppo", "--env", "spi/CartPole-v0", "--n-envs", 2, "--no-preset", "--eval-episodes", 0),
    *(*TINY, "-n", 320, "--save-freq", 160),
)


def test_certify_tells_certificates_from_diagnostics_and_the_report_shows_them(spi):
    assert spi(*TRAIN).code == 0
    done = spi("certify", RUN, "--n-episodes", 4, "--return-range", 0, 100, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert "_160_steps" in found["baseline"]  # that of 320 steps is the model itself
    kinds = {entry["name"]: entry["kind"] for entry in found["entries"]}
    assert kinds["old_return"] == kinds["new_return"] == "certificate"
    assert {name for name, kind in kinds.items() if kind == "certificate"} == {"old_return", "new_return"}
    assert kinds["ratio_max"] == "diagnostic"  # states are sampled
    shown = spi("report", RUN, "-o", "report.html")
    assert shown.code == 0, shown.err
    page = pathlib.Path("report.html").read_text()
    assert "What is guaranteed" in page
    assert "guarantee nothing" in page

    plain = spi("certify", RUN, "--n-episodes", 4)
    assert "CERTIFICATES: none" in plain.out  # without a range of returns
    for words, message in (
        (("certify", RUN, "--return-range", 1, 0), "LOW below its HIGH"),
        (("certify", RUN, "--error", 2), "--error must be above 0"),
        (("certify", next(iter(sorted((RUN / "checkpoints").glob("*.zip"))))), "no checkpoint before"),
    ):
        wrong = spi(*words)
        assert wrong.code == 2
        assert message in wrong.err
