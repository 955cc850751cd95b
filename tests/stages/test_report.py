"""Stage `report`: one page that needs nothing else, and says what the run's files say."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest

from cyborgs.run.paths import Run
from cyborgs.stages import report
from cyborgs.training.metrics import read_metrics


def written(folder, out):
    report.run(folder, out)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    return written(results, tmp_path_factory.mktemp("report") / "report.html")


def without_pictures(page):
    return re.sub(r"data:image/[^\"]+", "", page)


def test_it_needs_nothing_else(page):
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert not re.findall(r"url\((?!#|data:)", page)
    assert len(page) < 5e6


def test_every_figure_of_the_table_is_there(page, results):
    for kind in ("k-4", "made"):
        for number in range(2):
            figures = json.loads(Run(results).quality(kind, number).read_text())
            for key in ("ari", "asa", "miou", "boundary_recall"):
                assert f"<td>{figures[key]:.4f}</td>" in page


def test_training_is_told(page, results):
    epochs = read_metrics(Run(results).metrics(1))
    assert f"<td>{epochs[-1]['loss']:.4f}</td>" in page
    assert f"loss by epoch: {epochs[0]['loss']:.4g} at first" in page


def test_the_images_of_the_galleries_are_those_of_the_figures(page, results):
    figures = json.loads(Run(results).quality("k-4", 1).read_text())
    for key in ("best", "worst"):
        heading = page.index(f"{key.capitalize()}: ")
        shown = re.findall(r"<h4>image (\d+): (\S+)</h4>", page[heading:])
        expected = [(str(i["position"]), i["name"]) for i in figures[key][: report.SHOWN]]
        assert shown[: report.SHOWN] == expected
    assert "Drawn at random" in page
    assert f"ARI\N{NO-BREAK SPACE}{figures['best'][0]['ari']:.2f}" in page


@pytest.mark.parametrize("what", ["index", "state", "shards", "rounds"])
def test_masks_that_are_left_over_are_left_out(what, copy, tmp_path, capsys):
    """Those of the last round, which `snakemake --cores all` does not make again."""
    folder = Run(copy).masks(1)
    for path in sorted(folder.iterdir()):
        if what == "shards":
            path.rename(path.with_name(path.name.replace("0002", "0003")))
        elif what == "rounds":
            shutil.copytree(folder, Run(copy).masks(2), dirs_exist_ok=True)
        else:
            with h5py.File(path, "r+") as file:
                record = json.loads(file.attrs["provenance"])
                record["inputs"]["state"] = "0" * 64
                key, value = {
                    "index": ("index", "0" * 64), "state": ("provenance", json.dumps(record)),
                }[what]  # fmt: skip
                file.attrs[key] = np.bytes_(value)
    kept = [0, 1] if what == "rounds" else [0]
    assert Run(copy).rounds() == kept
    said = capsys.readouterr().err
    assert ("is left out" in said) == (what in ("index", "state"))
    assert "round 0" in written(copy, tmp_path / "report.html")


def test_provenance_and_configuration_are_there(page, results):
    assert "architecture: resnet18" in page
    assert "SHA-256" in page
    assert "compute:" not in page


def test_the_same_run_gives_the_same_bytes(page, results, tmp_path):
    assert written(results, tmp_path / "again.html") == page


def test_costs_are_those_that_snakemake_noted(copy, tmp_path):
    for name, seconds, memory in (
        ("pretrain/round-01", "75.2", "2000.5"),
        ("masks/round-01/shard-0000", "10.0", "NA"),
        ("masks/round-01/shard-0001", "20.0", "500.0"),
    ):
        path = copy / f"cost/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{memory}\n")
    page = written(copy, tmp_path / "r.html")
    row = "".join(
        f"<td>{cell}</td>" for cell in ("1", "0:01:15", "2.10 GB", "0:00:30", "2", "0.52 GB")
    )
    assert f"<tr>{row}</tr>" in page


def test_a_run_without_annotations(copy, tmp_path):
    """Nothing was measured, and there is no ground truth to show."""
    run = Run(copy)
    config = run.config.read_text()
    config = re.sub(
        r"  scenes:\n(    .*\n)+", "", config.replace("images: null", "images: <b>photos")
    )
    run.config.write_text(config)
    for path in (copy / "quality").rglob("*.json"):
        path.unlink()
    (copy / "scenes/images").rename(copy.parent.parent / "<b>photos")
    page = written(copy, tmp_path / "r.html")
    assert "&lt;b&gt;photos" in page
    assert "<b>photos" not in page
    assert "There are no annotations, so masks were not measured." in page
    assert "ground truth ·" not in page
    assert "Drawn at random" in page


def test_a_run_that_has_just_begun(copy, tmp_path):
    for path in ("metrics", "quality"):
        for file in (copy / path).rglob("*"):
            if file.is_file():
                file.unlink()
    page = written(copy, tmp_path / "r.html")
    assert "There are no figures of epochs" in page
    assert "There are no figures of jobs" in page


class TestBadInput:
    def test_no_run(self, tmp_path, refused):
        with refused("configuration of the run", "does not exist"):
            report.run(tmp_path, tmp_path / "r.html")
        assert not list(tmp_path.iterdir())

    def test_no_masks(self, copy, tmp_path, refused):
        for path in (copy / "masks").rglob("*.h5"):
            path.unlink()
        with refused(f"run {copy} has no masks yet"):
            report.run(copy, tmp_path / "r.html")

    def test_damaged_figures(self, copy, tmp_path, refused):
        path = Run(copy).quality("made", 0)
        path.write_text("{")
        with refused(f"quality {path} is damaged"):
            report.run(copy, tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()

    @pytest.mark.parametrize("content", ["s\tmax_rss\nx\t1\n", "a\tb\n1\t2\n"])
    def test_damaged_costs(self, copy, tmp_path, refused, content):
        path = copy / "cost/pretrain/round-01.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(content)
        with refused(f"cost {path} is damaged"):
            report.run(copy, tmp_path / "r.html")
