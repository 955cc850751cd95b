"""Stage `quality`: metrics of a round, and one line for input that does not fit."""

import json

import h5py
import numpy as np
import pytest

from cyborgs.images.annotations import GroundTruth
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks, Shard
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.run.paths import Run
from cyborgs.run.sources import resolve
from cyborgs.stages import index as index_stage
from cyborgs.stages import quality


def measured(folder, where=None, annotations=None, index=None):
    run = Run(folder)
    return quality.run(
        str(where or run.masks(1)), index or run.index, annotations or run.annotations(), None
    )


def test_a_round_is_measured(results):
    metrics = measured(results)
    assert metrics["round"] == 1
    assert metrics["images"] == 13
    assert {"ari", "asa", "boundary_recall", "miou"} < metrics.keys()
    assert all(0 <= metrics[key] <= 1 for key in ("asa", "mbo_instances", "miou"))
    # What the run's own step wrote.
    assert metrics == json.loads(Run(results).quality("made", 1).read_text())


def test_the_best_and_the_worst_images_are_named(results):
    run = Run(results)
    index, truth = read_index(run.index), GroundTruth(run.annotations())
    masks = Masks(str(run.masks(1)), index)
    aris = {}
    for p, e in enumerate(index.entries):
        labels = full_size(masks.read(p), e.height, e.width, masks.stride)
        known = truth.instances(e)
        aris[p] = adjusted_rand_index(labels, known.label_map(), ~known.ignore)
    order = sorted(aris, key=lambda p: (aris[p], p))
    metrics = measured(results)
    assert [i["position"] for i in metrics["worst"]] == order[: quality.EXTREMES]
    best = sorted(aris, key=lambda p: (-aris[p], p))
    assert [i["position"] for i in metrics["best"]] == best[: quality.EXTREMES]
    assert metrics["worst"][0] == {
        "position": order[0], "name": index[order[0]].name, "ari": aris[order[0]],
    }  # fmt: skip


def test_groups_and_shards_make_no_difference_but_to_the_matching(results, tmp_path):
    """All metrics but the matched mIoU are means over images, whatever the order."""
    run = Run(results)
    whole = measured(results)
    parts = [measured(results, path) for path in sorted(run.masks(1).iterdir())]
    weights = [part["images"] for part in parts]
    for key in ("ari", "asa", "boundary_precision"):
        mean = np.average([part[key] for part in parts], weights=weights)
        assert whole[key] == pytest.approx(mean)


def test_a_run_is_measured_round_by_round(results):
    metrics = quality.run_all(resolve(str(results)))
    assert [f["round"] for f in metrics] == [0, 1]
    assert len(quality.text(metrics).splitlines()) == 3


def test_the_table_has_a_row_for_each(results, tmp_path):
    rows = [(kind, Run(results).quality(kind, n)) for kind in ("k-4", "made") for n in (0, 1)]
    quality.table(rows, tmp_path / "t.tsv")
    lines = (tmp_path / "t.tsv").read_text().splitlines()
    assert len({line.count("\t") for line in lines}) == 1
    assert [line.split("\t")[:2] for line in lines[1:]] == [
        ["k-4", "0"], ["k-4", "1"], ["made", "0"], ["made", "1"],
    ]  # fmt: skip


class TestBadInput:
    def test_not_hdf5(self, copy, refused):
        (Run(copy).masks(1) / "shard-0000-of-0002.h5").write_text("hello")
        with refused("shard-0000-of-0002.h5 is not HDF5"):
            measured(copy)

    def test_truncated(self, copy, refused):
        path = Run(copy).masks(1) / "shard-0001-of-0002.h5"
        path.write_bytes(path.read_bytes()[:3000])
        with refused(f"mask shard {path} is truncated"):
            measured(copy)

    def test_another_format_version(self, copy, refused):
        path = Run(copy).masks(1) / "shard-0001-of-0002.h5"
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = 99
        with refused(f"mask shard {path} has format version 99, this program reads version 1"):
            measured(copy)

    def test_a_missing_image(self, results, refused):
        path = sorted(Run(results).masks(1).iterdir())[0]
        with Shard(path) as shard:
            other = next(p for p in range(13) if p not in shard.positions)
            with refused(f"mask shard {path} holds no image {other}"):
                shard.read(other)

    def test_no_annotations_at_all(self, results, tmp_path, refused):
        with refused("annotations", "nothing.json does not exist"):
            measured(results, annotations=tmp_path / "nothing.json")

    def test_a_run_that_knows_no_annotations(self, copy, refused):
        Run(copy).config.unlink()
        with refused("no annotations: give --annotations"):
            quality.run_all(resolve(str(copy)))

    def test_annotations_of_other_images(self, results, tmp_path, refused):
        content = json.loads(Run(results).annotations().read_text())
        for image in content["images"]:
            image["file_name"] = "other-" + image["file_name"]
        (tmp_path / "a.json").write_text(json.dumps(content))
        with refused("no object in any of the 13 images", "do they belong to these images?"):
            measured(results, annotations=tmp_path / "a.json")

    def test_an_image_of_another_size(self, results, tmp_path, refused):
        content = json.loads(Run(results).annotations().read_text())
        content["images"][4]["width"] += 1
        (tmp_path / "a.json").write_text(json.dumps(content))
        with refused("000005.jpg has 64 x 97 pixels", "its file has 64 x 96"):
            measured(results, annotations=tmp_path / "a.json")

    def test_masks_of_another_index(self, results, tmp_path, refused):
        images = tmp_path / "images"
        images.mkdir()
        for path in list(Run(results).images().iterdir())[:5]:
            (images / path.name).write_bytes(path.read_bytes())
        index_stage.run(images, tmp_path / "index.jsonl", threads=1)
        with refused("was made for another index"):
            measured(results, index=tmp_path / "index.jsonl")

    @pytest.mark.parametrize("content", ["nonsense", "[]", "{}", '{"round": 1}'])
    def test_a_damaged_result(self, tmp_path, refused, content):
        (tmp_path / "q.json").write_text(content)
        with refused("q.json is damaged or not a measurement of masks", "or run it again"):
            quality.table([("made", tmp_path / "q.json")], tmp_path / "t.tsv")
        assert not (tmp_path / "t.tsv").exists()
