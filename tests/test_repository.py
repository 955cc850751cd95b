"""Files that must agree with one another."""

import ast
import graphlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from cyborgs.config import Config
from cyborgs.config.reference import reference
from cyborgs.downloads.public import DATA_SETS

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


# Required by version 1.2.0 of the Citation File Format, and what it allows of a person.
CITED = {"software": {"cff-version", "message", "title", "authors"}, "work": {"type", "title"}}
PERSON = {"family-names", "given-names", "name-particle"}


def test_the_citation_file_has_what_its_format_requires():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert CITED["software"] <= citation.keys()
    assert citation["license"] == PROJECT["license"]
    works = [citation["preferred-citation"], *citation["references"]]
    assert [work["url"].rsplit("/")[-1] for work in works] == ["2203.09343", "2103.10957"]
    for work in works:
        assert CITED["work"] <= work.keys()
        assert work["type"] == "conference-paper"
        assert isinstance(work["year"], int)
        assert all({"family-names", "given-names"} <= p.keys() <= PERSON for p in work["authors"])


def test_the_snakefile_is_a_table_of_contents():
    assert len((REPOSITORY / "workflow/Snakefile").read_text().splitlines()) < 60


def test_the_table_of_downloads_is_the_programs():
    shown = (REPOSITORY / "docs/data.md").read_text()
    for data_set in DATA_SETS.values():
        for part in data_set.parts.values():
            for archive in part.archives:
                assert f"| {archive.url} | {archive.bytes:,} | {archive.md5} |" in shown


# Of the published program: `options.py`, then `subproc_extract_kmeans.py`.
PUBLISHED_OPTIONS = """
data_dir num_workers batch_size arch feature_dim num_classes num_masks downsample_masks
proj_hidden_dim proj_dim ema_decay softmax_temp optimizer base_learning_rate base_lr lr_scheduler
warmup_epoch warmup_multiplier lr_decay_epochs lr_decay_rate weight_decay momentum start_epoch
epochs pretrained pretrained_name mask_dir boot_freq num_proc baseline layer_name scramble_masks
bootstrap_classes imgs_per_batch min_clusters max_clusters vmf_temp vmf_freq vmf_loss_weight
num_machines num_gpus_per_machine machine_rank dist_url dist_backend output_dir resume print_freq
seed

num_proc mask_dir layer_name imgs_per_batch ckpt data_dir min_clusters max_clusters
"""


def published_rows():
    """Cells of the tables of the published program, with their heads, by the table."""
    text = (REPOSITORY / "docs/published.md").read_text()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = [[c.strip() for c in line[1:-1].split("|")] for line in table.splitlines()]
        head, _, *rows = cells
        if "key" in head:
            yield head, [dict(zip(head, row, strict=True)) for row in rows]


def keys_of(node, definitions, path=""):
    for name, value in node["properties"].items():
        key = f"{path}.{name}".lstrip(".")
        yield key
        for option in [value, *value.get("anyOf", []), *value.get("oneOf", [])]:
            if "$ref" in option:
                yield from keys_of(definitions[option["$ref"].split("/")[-1]], definitions, key)


def test_each_option_of_the_published_program_is_accounted_for():
    tables = [rows for head, rows in published_rows() if "option" in head]
    assert len(tables) == 2
    for rows, names in zip(tables, PUBLISHED_OPTIONS.split("\n\n"), strict=True):
        found = re.findall(r"--(\w+)", " ".join(row["option"] for row in rows))
        assert sorted(found) == sorted(names.split())
    for row in tables[0]:
        assert row["here"] in ("same", "corrected", "left out")
        assert (row["key"] == "") == (row["here"] == "left out")


def test_the_keys_that_stand_for_published_options_exist():
    schema = Config.model_json_schema()
    known = set(keys_of(schema, schema["$defs"]))
    for _, rows in published_rows():
        for key in re.findall(r"`([\w.]+)`", " ".join(row["key"] for row in rows)):
            assert key in known, key


def imported_rooms(path):
    """The rooms of `cyborgs` that a file imports from, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cyborgs."):
            yield node.module.split(".")[1]


def test_no_two_rooms_need_each_other():
    """Rooms can be sorted so that each imports from earlier ones alone."""
    package = REPOSITORY / "cyborgs"
    needs = {
        room.name: {
            other
            for path in room.rglob("*.py")
            for other in imported_rooms(path)
            if other != room.name
        }
        for room in package.iterdir()
        if (room / "__init__.py").exists()
    }
    assert len(needs) > 15
    order = list(graphlib.TopologicalSorter(needs).static_order())
    assert order[0] == "common"
    assert set(order) == set(needs)


def test_no_stage_needs_another():
    for path in (REPOSITORY / "cyborgs/stages").rglob("*.py"):
        assert "stages" not in imported_rooms(path), path
