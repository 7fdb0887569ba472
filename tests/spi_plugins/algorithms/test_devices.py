"""Several devices, in a process of their own: JAX counts its virtual devices once, when it starts."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_on_four_virtual_devices():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        str(HERE / "four_devices.py"),
    ]
    done = subprocess.run(
        words, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
