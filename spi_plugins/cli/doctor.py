"""``spi doctor``: what is installed, what is missing for what, and the command that mends it."""

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from spi_plugins import __version__, plugins
from spi_plugins.cli.arguments import to_json
from spi_plugins.plugins.registry import describe

UNSOUND = 1
PACKAGE = "spi-plugins"
# Which extra is for what, in the order of the report. What 'cuda' brings is told with JAX's devices.
_PURPOSES = {
    "cli": "progress bars and TensorBoard",
    "plot": "learning curves, 'spi plot', 'spi report'",
    "video": "'spi video'",
    "box2d": "LunarLander, BipedalWalker, CarRacing",
    "mujoco": "MuJoCo tasks, spi/Velocity...",
    "safety": "safety-gymnasium's tasks",
    "envpool": "Atari in batches",
    "gymnax": "gymnax's environments",
    "jumanji": "Jumanji's",
    "pgx": "pgx's",
    "brax": "Brax's",
    "playground": "MuJoCo Playground's",
    "crax": "CRAX's, with an older MuJoCo",
    "contrib": "sb3-contrib",
    "zoo": "'spi zoo'",
    "ray": "'spi sweep --on ray'",
    "tune": "'spi tune'",
    "export": "'spi export' to ONNX",
    "minari": "dreams from Minari datasets",
    "hub": "'spi hub'",
}
# Packages that no extra can name, because no resolver can meet their pins, by the extra that they belong to.
_APART = {"gymnax": "gymnax==1.0.1", "safety": "safety-gymnasium==1.0.0"}


class Package(NamedTuple):
    """A package that is needed."""

    name: str
    needed: str  # versions that are allowed, such as ``">=2,<3"``
    version: str | None  # that is installed
    fits: bool

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.name} is missing"
        return f"{self.name} {self.version}" + ("" if self.fits else f" must be {self.needed}")


class Part(NamedTuple):
    """The core, or an extra."""

    name: str
    purpose: str
    packages: list[Package]
    commands: list[str]  # that install what is missing, in order

    @property
    def is_sound(self) -> bool:
        """Whether every package is there in a version that is allowed."""
        return all(package.fits for package in self.packages)


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi doctor``."""
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return run


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 if the core is sound, whatever is missing of the extras."""
    core, *extras = installed_parts()
    failed = [record for record in plugins.current_host().records() if record.status != "loaded"]
    if not args.json:  # before JAX is imported, which takes a second
        sys.stdout.write(_told(core, extras, failed))
        sys.stdout.flush()
    accelerators = probe_jax()
    cache = _compile_cache() if accelerators["error"] is None else None
    sound = core.is_sound and accelerators["error"] is None
    if args.json:
        report = {
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "sound": sound,
            "core": _fields(core),
            "extras": [_fields(extra) for extra in extras],
            "plugins": [record._asdict() for record in failed],
            "jax": accelerators,
            "compile_cache": cache,
        }
        sys.stdout.write(to_json(report) + "\n")
    else:
        sys.stdout.write(_told_devices(accelerators, cache))
    return 0 if sound else UNSOUND


def installed_parts() -> list[Part]:
    """The core and the extras, as the package's own metadata declare them."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        missing = Package(PACKAGE, "", None, False)
        return [Part("core", "the package itself", [missing], ["pip install spi-plugins"])]
    requirements = [Requirement(line) for line in lines]
    declared = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []

    def packages(extra: str) -> list[Package]:
        wanted = [
            each
            for each in requirements
            if (
                (extra == "" and each.marker is None)
                or (each.marker is not None and each.marker.evaluate({"extra": extra}))
            )
            # What holds without an extra is the core's.
            and (extra == "" or not each.marker.evaluate({"extra": ""}))  # type: ignore[union-attr]
        ]
        return [_package(each.name, each.specifier) for each in wanted]

    parts = [_part("core", "training, dreams, planning", packages(""), "pip install -U spi-plugins")]
    for extra in (name for name in _PURPOSES if name in declared):
        command = f"pip install 'spi-plugins[{extra}]'"
        parts.append(_part(extra, _PURPOSES[extra], packages(extra), command))
    return parts


def _part(name: str, purpose: str, packages: list[Package], command: str) -> Part:
    commands = [] if all(package.fits for package in packages) else [command]
    if name in _APART:
        from packaging.requirements import Requirement

        pinned = Requirement(_APART[name])
        package = _package(pinned.name, pinned.specifier)
        packages = [*packages, package]
        if not package.fits:
            commands.append(f"pip install --no-deps {_APART[name]}")
    return Part(name, purpose, packages, commands)


def _package(name: str, allowed: Any) -> Package:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, str(allowed), None, False)
    return Package(name, str(allowed), version, allowed.contains(version, prereleases=True))


def probe_jax() -> dict[str, Any]:
    """What JAX runs on, and why on no GPU if so."""
    found: dict[str, Any] = {"version": None, "devices": [], "gpu": False, "why": None, "error": None}
    try:
        jax = importlib.import_module("jax")
        devices = jax.devices()
    except Exception as error:  # broken installations raise all kinds
        found["error"] = describe(error)
        found["why"] = why_no_gpu(os.environ)
        return found
    gpu = any(device.platform == "gpu" for device in devices)
    found |= {"version": jax.__version__, "devices": [str(device) for device in devices], "gpu": gpu}
    found["why"] = None if gpu else why_no_gpu(os.environ)
    return found


def why_no_gpu(environment: Mapping[str, str]) -> str:
    """The first reason that is found, with what mends it."""
    for variable in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        platforms = environment.get(variable, "")
        if platforms and not {"cuda", "gpu", "rocm"} & set(platforms.split(",")):
            return f"{variable}={platforms} allows none: unset {variable}"
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all: unset CUDA_VISIBLE_DEVICES"
    if sys.platform == "darwin":
        return "JAX has no GPU support here that this package is tested with"
    if not (pathlib.Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        return "this machine has no NVIDIA driver"
    return _about_plugin()


def _about_plugin() -> str:
    mend = "pip install -U 'spi-plugins[cuda]'"
    versions = {}
    for name in ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    jaxlib = versions.pop("jaxlib", None)
    if not versions:
        return f"jaxlib has no CUDA plugin: {mend}"
    if jaxlib not in versions.values():
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        return f"{found} does not fit jaxlib {jaxlib}: {mend}"
    return "CUDA did not start: see the warnings of 'python -c \"import jax; jax.devices()\"'"


def _compile_cache() -> dict[str, Any]:
    from spi_plugins.algorithms.compile_cache import VARIABLE, cache_folder

    jax = importlib.import_module("jax")
    configured = jax.config.jax_compilation_cache_dir
    folder = pathlib.Path(configured) if configured else cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder is not None else []
    return {
        "folder": None if folder is None else str(folder),
        "variable": "JAX_COMPILATION_CACHE_DIR" if configured else VARIABLE,
        "files": len(files),
        "bytes": sum(_size(path) for path in files),
    }


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has just replaced it
        return 0


def _fields(part: Part) -> dict[str, Any]:
    packages = [package._asdict() for package in part.packages]
    return {**part._asdict(), "packages": packages, "sound": part.is_sound}


def _told(core: Part, extras: Sequence[Part], failed: Sequence[plugins.PluginRecord]) -> str:
    lines = [f"spi-plugins {__version__} on Python {platform.python_version()}, {platform.platform()}", ""]
    lines += ["Core", *(f"  {_mark(each)}  {each}" for each in core.packages)]
    lines += [f"           {command}" for command in core.commands]
    lines += ["", "Extras"]
    for extra in extras:
        wrong = ", ".join(str(package) for package in extra.packages if not package.fits)
        lines.append(f"  {_mark(*extra.packages)}  {extra.name:<9}{extra.purpose}{wrong and f': {wrong}'}")
        lines += [f"           {command}" for command in extra.commands]
    lines += ["", "Plugins"]
    lines += [f"  {record.status}  {record.owner}: {record.error or 'turned off'}" for record in failed]
    if not failed:
        lines.append("  ok       all are loaded")
    return "".join(f"{line}\n" for line in lines)


def _told_devices(accelerators: Mapping[str, Any], cache: Mapping[str, Any] | None) -> str:
    lines = ["", "JAX"]
    if accelerators["error"] is not None:
        lines.append(f"  broken   {accelerators['error']}")
    else:
        lines.append(f"  ok       JAX {accelerators['version']} on {', '.join(accelerators['devices'])}")
    if not accelerators["gpu"]:
        lines.append(f"  no GPU   {accelerators['why']}")
    if cache is not None:
        lines += ["", "Compile cache", f"  {_told_cache(cache)}"]
    return "".join(f"{line}\n" for line in lines)


def _told_cache(cache: Mapping[str, Any]) -> str:
    if cache["folder"] is None:
        return f"off: {cache['variable']}=0, or no folder can be written"
    size = f"{cache['bytes'] / 1e6:.1f} MB in {cache['files']} files"
    return f"{cache['folder']}, {size} ({cache['variable']} moves it)"


def _mark(*packages: Package) -> str:
    if any(package.version is None for package in packages):
        return "missing"
    return "ok     " if all(package.fits for package in packages) else "wrong  "
