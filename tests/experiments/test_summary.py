"""The summary: which rows it takes, and that it loses none."""

import subprocess
import sys

import pytest
from PIL import Image

from cyborgs.common.errors import InputError
from cyborgs.config.experiment import parse_experiment
from cyborgs.experiments.plan import plan
from cyborgs.experiments.rows import read_rows, write_rows
from cyborgs.images.index import read_index
from cyborgs.stages import experiment as summary
from cyborgs.stages import index as index_stage
from tests.experiments.experiments import tiny
from tests.experiments.test_rows import ROW


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(mapping, value=0.2, **changes):
    return [
        ROW
        | {"variant": run.variant, "seed": run.seed, "round": f.round, "key": f.key}
        | {"figures": {"miou": value, "accuracy": 0.5}}
        | changes
        for run in plan(parse_experiment(mapping)).runs
        for f in run.evaluations
    ]


def indexed(folder, photographs):
    """An index in the experiment's folder, of made-up photographs; returns its digest."""
    images = folder / "images"
    images.mkdir()
    for number in range(photographs):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(images / f"{number}.png")
    path = folder / "results/tiny/index.jsonl"
    index_stage.run(images, path, threads=1, on_bad_image="error", list_file=None)
    return read_index(path).digest


def test_rows_of_variants_that_are_no_longer_asked_for_stay(here):
    write_rows(here / "rows.jsonl", rows_of(tiny()))
    fewer = tiny()
    fewer["variants"] = {"fixed": fewer["variants"]["fixed"]}
    text = summary.run(parse_experiment(fewer), here / "rows.jsonl", None)
    assert "bootstrapped" not in text
    kept = read_rows(here / "rows.jsonl")
    assert {row["key"] for row in kept} == {row["key"] for row in rows_of(tiny())}


def test_rows_of_other_images_are_not_taken_for_these(here, capsys):
    digest = indexed(here, 3)
    stale, fresh = rows_of(tiny(), 0.9, index="another"), rows_of(tiny(), 0.1, index=digest)
    write_rows(here / "rows.jsonl", stale[:4] + fresh[4:])
    text = summary.run(parse_experiment(tiny()), here / "rows.jsonl", None)
    assert "90.0" not in text
    assert "evaluations are not finished yet" in capsys.readouterr().err
    assert {row["index"] for row in read_rows(here / "rows.jsonl")} == {digest, "another"}


def test_finished_rows_of_other_images_are_refused(here):
    indexed(here, 3)
    write_rows(here / "given.jsonl", rows_of(tiny()))
    experiment = parse_experiment(tiny(finished="given.jsonl"))
    with pytest.raises(InputError, match=r"given\.jsonl: initial, seed 0, was trained on other"):
        summary.run(experiment, here / "rows.jsonl", None)
    assert not (here / "rows.jsonl").exists()


def test_what_the_workflow_reads_before_it_runs_loads_no_torch():
    script = "import sys, cyborgs.experiments.plan, cyborgs.experiments.rows, cyborgs.run.inputs"
    script += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
