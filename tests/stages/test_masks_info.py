"""``cyborgs masks info`` and ``stats``, against counts by other means."""

import numpy as np
import pytest
from scipy import ndimage

from cyborgs.cli import main
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.run.paths import Run
from cyborgs.run.provenance import VERSIONS
from cyborgs.run.sources import resolve
from cyborgs.stages.masks import info, stats


def masks_of(results, number):
    index = read_index(results / "index.jsonl")
    return index, Masks(str(Run(results).masks(number)), index)


def test_a_run_is_described_round_by_round(results, tmp_path):
    described = info.run(resolve(str(results)))
    assert [d["title"] for d in described] == ["seed", "round 1"]
    for number, d in enumerate(described):
        index, masks = masks_of(results, number)
        paths = list(Run(results).masks(number).iterdir())
        assert (d["round"], d["images"], d["index_images"]) == (number, 13, 13)
        assert (d["shards"], d["shards_made"]) == (2, 2)
        assert d["bytes"]["disk"] == sum(p.stat().st_size for p in paths)
        raw = npy = 0
        for p in masks.positions:
            labels = masks.read(int(p))
            raw += labels.nbytes
            entry = index[int(p)]
            full = full_size(labels, entry.height, entry.width, masks.stride).astype(np.int64)
            np.save(tmp_path / "m.npy", full)
            npy += (tmp_path / "m.npy").stat().st_size
        assert (d["bytes"]["raw"], d["bytes"]["npy"]) == (raw, npy)
        assert d["provenance"] == masks.provenance
    assert described[0]["groups"] == 0
    assert described[1]["groups"] == 5  # 13 images in groups of 3
    low, middle, high = described[1]["clusters"]
    assert 2 <= low <= middle <= high <= 6


def test_shards_of_an_earlier_number_are_passed_over(copy):
    shard = Run(copy).masks(1) / "shard-0000-of-0002.h5"
    (Run(copy).masks(1) / "shard-0000-of-0001.h5").write_bytes(shard.read_bytes())
    (_, described) = info.run(resolve(str(copy)))
    assert (described["shards"], described["images"]) == (2, 13)


def test_the_folder_of_all_rounds_is_the_run(results):
    assert resolve(str(results / "masks")).rounds == resolve(str(results)).rounds


def test_the_description_is_readable(results):
    shown = info.text(info.run(resolve(str(results))))
    version = VERSIONS["bootstrap"]
    assert f"round 1\n  made by   bootstrap {version}, index " in shown
    assert "images    13 of 13 in the index, 5 groups; 2 of 2 shards" in shown
    assert "bootstrap.block layer2.1" in shown


def test_a_shard_alone_is_described(results):
    (described,) = info.run(resolve(str(Run(results).masks(1) / "shard-0001-of-0002.h5")))
    assert (described["shards"], described["shards_made"]) == (1, 2)
    assert described["images"] < 13


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"{}", bytes(100), b"\x89HDX"])
def test_a_file_of_another_kind_is_not_to_be_deleted(content, tmp_path, capsys):
    """A user may have named the wrong one, such as a backbone."""
    path = tmp_path / "backbone.pth"
    path.write_bytes(content)
    assert main(["masks", "info", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"mask shard {path} is not HDF5, so it is not a mask shard" in message
    assert "delete" not in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("length", [0, 5, 8, 600])
def test_a_shard_cut_short_is(length, copy, capsys):
    path = Run(copy).masks(1) / "shard-0001-of-0002.h5"
    path.write_bytes(path.read_bytes()[:length])
    assert main(["masks", "info", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"mask shard {path} is truncated" in message
    assert "delete it and run the workflow again" in message


@pytest.mark.parametrize("seed", range(4))
def test_areas_and_pieces_against_scipy(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 3, 255, 60000], (9, 14)).astype(np.uint16)
    counts, pieces = stats.areas_and_pieces(labels)
    for label, count, parts in zip(np.unique(labels), counts, pieces, strict=True):
        assert count == (labels == label).sum()
        assert parts == ndimage.label(labels == label)[1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
def test_one_label_is_one_piece(shape):
    counts, pieces = stats.areas_and_pieces(np.full(shape, 7, np.uint8))
    assert (counts.tolist(), pieces.tolist()) == ([shape[0] * shape[1]], [1])


def test_metrics_of_a_round(results):
    (_, measured) = stats.run(resolve(str(results)))
    _, masks = masks_of(results, 1)
    labels = [masks.read(int(p)) for p in masks.positions]
    clusters = [len(np.unique(m)) for m in labels]
    areas = np.concatenate([np.unique(m, return_counts=True)[1] / m.size for m in labels])
    largest = [np.bincount(m.ravel()).max() / m.size for m in labels]
    assert measured["images"] == 13
    assert measured["clusters"]["mean"] == pytest.approx(np.mean(clusters))
    assert measured["clusters"]["min"] == min(clusters)
    assert measured["area"]["median"] == pytest.approx(np.median(areas))
    assert measured["largest"]["max"] == pytest.approx(max(largest))
    assert measured["pieces"]["min"] >= 1
    shown = stats.text([measured])
    assert len(shown.splitlines()) == 2
    assert f"{np.mean(clusters):.2f}" in shown


@pytest.mark.parametrize("where", ["nothing", "empty"])
def test_where_there_are_no_masks(tmp_path, refused, where):
    (tmp_path / "empty").mkdir()
    with refused(f"masks {tmp_path / where}: no mask shards there"):
        resolve(str(tmp_path / where))


def test_a_run_without_masks(tmp_path, refused, results):
    (tmp_path / "index.jsonl").write_bytes((results / "index.jsonl").read_bytes())
    with refused(f"run {tmp_path} has no masks yet"):
        resolve(str(tmp_path))
