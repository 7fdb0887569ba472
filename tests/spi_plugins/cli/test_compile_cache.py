import subprocess
import sys

CHILD = """
import sys
import jax
from spi_plugins.cli.dispatch import main
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
main(sys.argv[1:])
print(found.count("/jax/compilation_cache/cache_hits"), found.count("/jax/compilation_cache/cache_misses"))
"""


def test_a_second_run_of_the_same_shapes_finds_its_programs_on_disk(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["train", "ppo", "--env", "spi/CartPole-v0", "--n-envs", "4", "-n", "32", "-f", str(tmp_path)]
    words += ["-p", "n_steps=8", "batch_size=8", "--save-freq", "0", "--eval-episodes", "0"]
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *words], check=True, capture_output=True, text=True
        )
        counts.append([int(word) for word in done.stdout.splitlines()[-1].split()])
    (first_hits, first_misses), (second_hits, second_misses) = counts
    assert first_hits == 0
    assert first_misses > 0
    assert second_hits > second_misses
    assert list((tmp_path / "cache" / "spi-plugins" / "xla").iterdir())
