"""Files that must agree with one another."""

import tomllib
from pathlib import Path

import pytest
import yaml

from cyborgs.config.reference import reference
from cyborgs.data.public import DATA_SETS

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_the_configuration_reference_is_that_of_the_schema():
    shown = (REPOSITORY / "docs/configuration.md").read_text()
    assert shown == reference(), "run: python -m cyborgs.config.reference > docs/configuration.md"


@pytest.mark.parametrize("extra", ["cpu", "gpu"])
def test_conda_environments_match_the_package(extra):
    environment = yaml.safe_load((REPOSITORY / f"envs/{extra}.yaml").read_text())
    (listed,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    expected = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]
    assert listed == ["--constraint constraints.txt", *expected]


def test_every_dependency_has_a_tested_version():
    lines = (REPOSITORY / "envs/constraints.txt").read_text().lower().replace("_", "-").split("\n")
    tested = {line.split("==")[0] for line in lines if "==" in line}
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for requirement in group:
            assert requirement.split(">=")[0].lower().replace("_", "-") in tested, requirement


def test_the_snakefile_is_a_table_of_contents():
    assert len((REPOSITORY / "Snakefile").read_text().splitlines()) < 60


def test_the_table_of_downloads_is_the_programs():
    shown = (REPOSITORY / "docs/data.md").read_text()
    for data_set in DATA_SETS.values():
        for part in data_set.parts.values():
            for archive in part.archives:
                assert f"| {archive.url} | {archive.bytes:,} | {archive.md5} |" in shown
