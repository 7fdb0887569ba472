import gzip
import json

from tiny_models import ROLLOUT, tiny_ppo

from spi_plugins.cli.profiling import Profile


def test_the_trace_is_perfettos_and_shows_our_program(tmp_path):
    file = tmp_path / "profile" / "trace.json.gz"
    tiny_ppo().learn(6 * ROLLOUT, callback=Profile(file, skip=1, count=2))
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = [event.get("name", "") for event in events]
    assert "PjitFunction(_run_at_once)" in names  # rollout and update
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_training_that_ends_early_still_writes_the_trace(tmp_path):
    file = tmp_path / "trace.json.gz"
    tiny_ppo().learn(2 * ROLLOUT, callback=Profile(file, skip=1, count=50))
    assert json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
