"""The files of ``examples/cluster`` are what their readers take: bash, Ray, this package."""

import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from spi_plugins import plugins
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.jobs.sweep import read_jobs

FOLDER = pathlib.Path(__file__).parents[1] / "examples/cluster"


def test_the_sweep_asks_for_twelve_runs_also_as_a_config_map(tmp_path):
    assert len(read_jobs(FOLDER / "sweep.yml", tmp_path)) == 12
    (config, job) = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    assert yaml.safe_load(config["data"]["sweep.yml"]) == yaml.safe_load((FOLDER / "sweep.yml").read_text())
    assert job["spec"]["entrypoint"].startswith("spi sweep /sweep/sweep.yml ")


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sbatch")), ids=lambda script: script.name)
def test_bash_reads_the_scripts(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(
    "file", ["slurm_array.sbatch", "slurm_ray.sbatch", "rayjob.yaml", "indexed_job.yaml"]
)
def test_the_commands_of_spi_in_the_files_exist_with_their_options(file):
    text = re.sub(r'"\$.*?/(\$SLURM_ARRAY_TASK_COUNT|4)"', "1/4", (FOLDER / file).read_text())
    found = re.findall(r"^[^#\n]*(?<![\w-])spi (sweep .*)$", text, re.MULTILINE)
    assert len(found) == 1
    parser = Parser(prog="spi sweep")
    plugins.registry("commands").resolve("sweep")(parser)
    assert parser.parse_args(shlex.split(found[0])[1:]).file.name == "sweep.yml"


@pytest.mark.parametrize("file", ["rayjob.yaml", "indexed_job.yaml"])
def test_what_pods_mount_is_there(file):
    def pods(value):
        if isinstance(value, dict):
            yield from [value] if "containers" in value else []
            value = list(value.values())
        for each in value if isinstance(value, list) else []:
            yield from pods(each)

    found = list(pods(list(yaml.safe_load_all((FOLDER / file).read_text()))))
    assert found
    for pod in found:
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} == volumes


def test_ray_takes_the_cluster():
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = yaml.safe_load((FOLDER / "ray_cluster.yaml").read_text())
    util.validate_config(util.prepare_config(config))
    config["setup_command"] = config.pop("setup_commands")
    with pytest.raises(Exception, match="setup_command"):
        util.validate_config(util.prepare_config(config))
