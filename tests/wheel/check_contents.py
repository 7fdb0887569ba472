"""Looks into the built wheel and sdist: all of the three packages, and nothing else.

Called by ``.ci/wheel-test``.
"""

import pathlib
import sys
import tarfile
import zipfile

PACKAGES = {
    "spi_plugins": "spi_plugins",
    "spi_wrappers": "wrappers/spi_wrappers",
    "spi_integrations": "integrations/spi_integrations",
}


def sources(folder: str) -> set[str]:
    """Files of a package in the source tree, relative to it."""
    root = pathlib.Path(folder)
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {name for name in files if "__pycache__" not in name}


def check_wheel(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    expected = {f"{package}/{name}" for package, folder in PACKAGES.items() for name in sources(folder)}
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == expected, f"in one of both only: {sorted((names - metadata) ^ expected)}"
    assert all(f"{package}/py.typed" in names for package in PACKAGES), "py.typed is missing"
    for ending in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        assert any(name.endswith(ending) for name in metadata), f"{ending} is missing: {sorted(metadata)}"


def check_sdist(path: str) -> None:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {f"{folder}/{name}" for folder in PACKAGES.values() for name in sources(folder)}
    expected |= {"tests/conftest.py", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt"}
    assert expected <= names, f"missing: {sorted(expected - names)}"


if __name__ == "__main__":
    wheel, sdist = sys.argv[1:]
    check_wheel(wheel)
    check_sdist(sdist)
    sys.stdout.write(f"{pathlib.Path(wheel).name} and the sdist hold what they should.\n")
