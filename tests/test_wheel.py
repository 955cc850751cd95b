"""The wheel: `cyborgs run` where there is no clone."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.runs import REPOSITORY

TINY = (
    "--rounds 1 --epochs 1 --backbone resnet18 --set model.hidden=16 --set model.projection=8"
    " --set views.crop=64 --set pretrain.masks=4 --set bootstrap.clusters=[2,4] --set shards=1"
    " --set compute.device=cpu --set compute.threads=1 --set compute.workers=0"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this clone, built from a copy, into which setuptools writes."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("cyborgs", "snakemake_logger_plugin_cyborgs", "workflow", "envs", "config"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Python of an environment with the wheel, which sees our dependencies, but not the clone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    program = folder / "bin/python"
    (site,) = folder.glob("lib/python*/site-packages")
    # Of a folder on the path, no further `.pth` is read: not that of an editable installation.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    _pip("--python", program, "install", "--no-deps", "--no-index", wheel)
    return program


def _pip(*words):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def _call(python, folder, *words):
    """Run a module of the environment in a folder; nothing leads to the clone."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_workflow(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in {"workflow": "workflow", "envs": "envs", "config": "recipes"}.items():
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file():
                assert f"cyborgs/{package}/{path.relative_to(REPOSITORY / folder)}" in names


@pytest.mark.slow
def test_the_wheel_runs_the_whole_loop(python, tmp_path):
    _call(
        python, tmp_path, "cyborgs", "scenes", "--out", "drawn",
        "--config", '{"data": {"scenes": {"images": 24, "height": 64, "width": 96}}}',
    )  # fmt: skip
    words = ["cyborgs", "run", "drawn/images", "--name", "tiny", *shlex.split(TINY)]

    dry = _call(python, tmp_path, *words, "--dry-run")
    assert len(dry.splitlines()) <= 10
    assert "jobs:     7: 1 " in dry
    assert "an estimate" in dry
    assert not (tmp_path / "results").exists()

    output = _call(python, tmp_path, *words)
    for name in ("report.html", "backbone.pth", "run.yaml", "config.yaml", "masks/round-00"):
        assert (tmp_path / "results/tiny" / name).exists(), output
    # By the wheel's own files and commands.
    command = next(line for line in output.splitlines() if line.startswith("same as: "))
    assert str(python.parents[1]) in command
    assert str(REPOSITORY) not in output
    ends = ["report:   results/tiny/report.html", "backbone: results/tiny/backbone.pth",
            "masks:    results/tiny/masks"]  # fmt: skip
    assert output.splitlines()[-3:] == ends

    again = _call(python, tmp_path, "cyborgs", "run", "drawn/images", "--name", "tiny")
    assert "Nothing to be done" in again
    plain = shlex.split(command.removeprefix("same as: "))
    assert plain[0] == "snakemake"
    assert "Nothing to be done" in _call(python, tmp_path, *plain)
