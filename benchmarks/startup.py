"""What startup costs: the import, the help, and compilation in a first and a second ``spi train``.

python benchmarks/startup.py
"""

import json
import os
import resource
import subprocess
import sys
import tempfile

CHILD = """
import json, sys
import jax
seconds = {}
jax.monitoring.register_event_duration_secs_listener(
    lambda name, duration, **_: seconds.__setitem__(name, seconds.get(name, 0.0) + duration)
)
from spi_plugins.cli.dispatch import main
main(sys.argv[1:])
kinds = ("/jax/core/compile/backend_compile_duration",)
print(json.dumps(sum(seconds.get(kind, 0.0) for kind in kinds)))
"""


def cpu_seconds(command: list[str]) -> float:
    """CPU time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compile_seconds(words: list[str], cache: str) -> float:
    """Wall time that JAX spends on compiling, or on loading compiled programs, in one ``spi`` command."""
    environment = os.environ | {"XDG_CACHE_HOME": cache, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words], env=environment, check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    python = [sys.executable, "-c"]
    for name, command in {
        "bare python": [*python, "pass"],
        "import spi_plugins": [*python, "import spi_plugins"],
        "spi --help": [sys.executable, "-m", "spi_plugins.cli", "--help"],
    }.items():
        print(f"{name}: {min(cpu_seconds(command) for _ in range(5)):.2f} CPU-s", flush=True)
    for env in ("spi/CartPole-v0", "envpool:Breakout-v5"):
        with tempfile.TemporaryDirectory() as folder:
            words = ["train", "deep_spi", "--env", env, "--n-envs", "32", "-n", "1024"]
            words += ["--save-freq", "0", "--eval-episodes", "0", "-f", folder]
            first, second = (compile_seconds(words, folder) for _ in range(2))
        print(
            f"spi train deep_spi --env {env}: compiles {first:.1f} s, then {second:.1f} s ({second / first:.0%})"
        )


if __name__ == "__main__":
    main()
