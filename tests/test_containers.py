"""Recipes of images: they agree with each other, with the package, and with a linter."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
DEFINITION = (REPOSITORY / "containers/cyborgs.def").read_text()


def sections():
    """Head and sections of the definition for Apptainer, with their lines."""
    head, *rest = re.split(r"^%(\w+)\n", DEFINITION, flags=re.MULTILINE)
    found = {name: body.split("\n") for name, body in zip(rest[::2], rest[1::2], strict=True)}
    stripped = {name: [w.strip() for w in lines if w.strip()] for name, lines in found.items()}
    return {"head": head.splitlines(), **stripped}


def test_both_begin_from_the_same_image_with_the_same_arguments():
    docker = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    apptainer = dict(line.split("=") for line in sections()["arguments"])
    assert docker == apptainer == {"BASE": "python:3.11-slim-bookworm", "EXTRAS": "cpu"}
    assert "From: {{ BASE }}" in sections()["head"]
    assert "FROM ${BASE}" in DOCKERFILE


def test_both_take_the_same_files_and_they_are_there():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    docker = sorted(line[1:] for line in lines if line.startswith("!"))
    apptainer = sorted(line.split()[0] for line in sections()["files"])
    assert docker == apptainer
    assert "*" in lines
    for name in docker:
        assert (REPOSITORY / name).exists(), name


def test_both_install_alike_and_by_extras_that_the_package_has():
    for recipe in (DOCKERFILE, DEFINITION):
        assert "containers/install.sh" in recipe
        assert "pip install --no-cache-dir --no-deps ." in recipe
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE + DEFINITION)
    assert {"cpu", "gpu"} <= {*named} <= {*project["optional-dependencies"]}


def test_the_image_runs_as_nobody_in_particular():
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["1000"]


def test_the_script_is_one_that_any_shell_reads():
    subprocess.run(["sh", "-n", REPOSITORY / "containers/install.sh"], check=True)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_a_linter_finds_nothing():
    shown = subprocess.run(["hadolint", REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (0, "")
