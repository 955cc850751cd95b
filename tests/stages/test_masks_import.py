"""Masks from elsewhere: any labels, any size, and whatever may be wrong with them."""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from cyborgs.images.decoding import Entry
from cyborgs.images.index import read_index, write_index
from cyborgs.masks import foreign
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.masks.shards import Header, Masks, Shard, write_shard
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.run.sources import resolve
from cyborgs.stages.masks import export, imports

SIDES = st.one_of(st.sampled_from([1, 7, 9, 321, 481]), st.integers(1, 60))


def make_index(folder, sizes):
    """An index of images ``x0.jpg``, ``x1.jpg``, … of these sizes."""
    entries = [Entry(f"x{i}.jpg", h, w, 10, 0) for i, (h, w) in enumerate(sizes)]
    write_index(folder / "index.jsonl", entries)
    return read_index(folder / "index.jsonl")


def make_masks(folder, index, stride, most, seed=0, number=0):
    """Random masks of round ``number``, labels up to ``most``; returns where they are."""
    rng = np.random.default_rng(seed)
    header = Header(number, stride, 0, 1, index.digest, {"inputs": {}})
    with write_shard(folder / f"masks/s{number}.h5", header) as writer:
        for p, e in enumerate(index.entries):
            shape = grid_size(e.height, stride), grid_size(e.width, stride)
            labels = rng.integers(0, most, shape, endpoint=True)
            writer.add(p, e, labels, group=-1, clusters=len(np.unique(labels)))
    return folder / "masks"


def give(folder, arrays):
    """Label maps of the images as `.npy` files."""
    (folder / "given").mkdir()
    for number, array in enumerate(arrays):
        np.save(folder / f"given/x{number}.npy", array)
    return folder / "given"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3),
    st.sampled_from([1, 4, 8, 32]),
    st.sampled_from([0, 3, 255, 256, 65535]),
    st.sampled_from(["png", "npy", "coco"]),
)
def test_any_size_stride_and_label_there_and_back(sizes, stride, most, kind):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = make_index(folder, sizes)
        # As COCO annotations a label is a mask of the whole image.
        masks = make_masks(folder, index, stride, min(most, 9) if kind == "coco" else most)
        export.run(resolve(str(masks)), kind, folder / "out")
        imports.run(
            folder / "out", folder / "index.jsonl", folder / "back", stride=stride, shards=1
        )
        before, after = (Masks(str(folder / w), index) for w in ("masks", "back"))
        if kind != "coco":
            assert after.digest == before.digest
        for p in range(len(index)):
            assert adjusted_rand_index(after.read(p), before.read(p)) == 1


def test_header_groups_and_clusters(tmp_path):
    index = make_index(tmp_path, [(20, 30), (8, 8), (9, 9)])
    source = give(
        tmp_path, [np.arange(h * w).reshape(h, w) // 50 for h, w in ((20, 30), (8, 8), (9, 9))]
    )
    assert imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=2) == {
        "images": 3,
        "bare": 0,
    }
    held = []
    for number, path in enumerate(sorted((tmp_path / "out").iterdir())):
        assert path.name == f"shard-000{number}-of-0002.h5"
        with Shard(path) as shard:
            header = shard.header
            assert (header.round, header.stride) == (0, 8)
            assert (header.shard, header.shards, header.index) == (number, 2, index.digest)
            assert header.provenance["stage"] == "import-masks"
            assert header.provenance["config"] == {"stride": 8}
            assert header.provenance["inputs"].keys() == {"index", "source"}
            assert (shard.groups == -1).all()
            for p, clusters in zip(shard.positions, shard.clusters, strict=True):
                assert clusters == len(np.unique(shard.read(int(p))))
                held.append(int(p))
    assert held == [0, 1, 2]


def test_labels_are_those_at_the_centres(tmp_path):
    index = make_index(tmp_path, [(20, 30)])
    labels = np.random.default_rng(0).integers(0, 60000, (20, 30))
    imports.run(
        give(tmp_path, [labels]), tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=1
    )
    found = Masks(str(tmp_path / "out"), index).read(0)
    expected = [[labels[8 * i, 8 * j] for j in range(4)] for i in range(3)]
    assert found.tolist() == expected


def test_another_source_is_another_provenance(tmp_path):
    make_index(tmp_path, [(8, 8)])
    source = give(tmp_path, [np.zeros((8, 8), int)])
    digests = set()
    for name, label in (("one", 0), ("two", 1)):
        np.save(source / "x0.npy", np.full((8, 8), label))
        imports.run(source, tmp_path / "index.jsonl", tmp_path / name, stride=8, shards=1)
        with Shard(tmp_path / name / "shard-0000-of-0001.h5") as shard:
            digests.add(shard.header.provenance["inputs"]["source"])
    assert len(digests) == 2


def test_ids_of_panoptic_segments_are_numbered_anew_image_by_image(tmp_path):
    index = make_index(tmp_path, [(1, 3), (1, 3)])
    source = give(tmp_path, [np.array([[2**40, 7, 70000]]), np.array([[65535, 7, 0]])])
    imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=1, shards=1)
    masks = Masks(str(tmp_path / "out"), index)
    assert masks.read(0).tolist() == [[2, 0, 1]]
    assert masks.read(1).tolist() == [[65535, 7, 0]]


def test_what_no_instance_covers_is_one_mask_and_the_smaller_instance_wins(tmp_path):
    index = make_index(tmp_path, [(4, 6), (3, 3)])
    content = {
        "images": [
            {"id": i, "file_name": e.name, "height": e.height, "width": e.width}
            for i, e in enumerate(index.entries)
        ],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "segmentation": box(2, 1, 3, 2)},
            {"id": 2, "image_id": 0, "category_id": 1, "segmentation": box(1, 0, 5, 4)},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    imports.run(tmp_path / "a.json", tmp_path / "index.jsonl", tmp_path / "out", stride=1, shards=1)
    masks = Masks(str(tmp_path / "out"), index)
    assert masks.read(0).tolist() == [
        [0, 2, 2, 2, 2, 2],
        [0, 2, 1, 1, 1, 2],
        [0, 2, 1, 1, 1, 2],
        [0, 2, 2, 2, 2, 2],
    ]
    assert masks.read(1).tolist() == [[0] * 3] * 3


def box(x, y, width, height):
    right, bottom = x + width, y + height
    return [[x, y, right, y, right, bottom, x, bottom]]


class TestExport:
    def test_coco_results_load_beside_the_images(self, tmp_path):
        masks = make_masks(tmp_path, make_index(tmp_path, [(20, 30), (7, 9)]), 8, 5)
        export.run(resolve(str(masks)), "coco", tmp_path / "m.json")
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / "m.json"))
            again = coco.loadRes(coco.dataset["annotations"])
        assert again.getAnnIds() == coco.getAnnIds()
        assert sorted(coco.imgs) == [1, 2]

    def test_sixteen_bit_pictures_are_counted(self, tmp_path):
        index = make_index(tmp_path, [(400, 400), (8, 8)])
        masks = make_masks(tmp_path, index, 8, 600)
        with Shard(masks / "s0.h5") as shard:
            expected = [shard.read(p) for p in range(2)]
        grey = sum(labels.max() > 255 for labels in expected)
        result = export.run(resolve(str(masks)), "png", tmp_path / "out")
        assert result == {"images": 2, "grey": grey}
        for p, labels in enumerate(expected):
            with Image.open(tmp_path / f"out/x{p}.png") as image:
                assert image.mode == ("I;16" if labels.max() > 255 else "P")
                full = full_size(labels, *image.size[::-1], 8)
                np.testing.assert_array_equal(np.asarray(image), full)

    @pytest.mark.parametrize("kind", ["png", "npy", "coco"])
    def test_an_interruption_leaves_nothing(self, tmp_path, monkeypatch, kind):
        masks = make_masks(tmp_path, make_index(tmp_path, [(8, 8)] * 3), 8, 5)
        calls = []

        def interrupted(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return full_size(*arguments)

        monkeypatch.setattr(export, "full_size", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export.run(resolve(str(masks)), kind, tmp_path / "deep/out")
        assert len(calls) == 2
        assert list((tmp_path / "deep").iterdir()) == []

    def test_a_damaged_mask_leaves_nothing(self, tmp_path, refused):
        masks = make_masks(tmp_path, make_index(tmp_path, [(80, 80)] * 3), 8, 200)
        content = bytearray((masks / "s0.h5").read_bytes())
        with Shard(masks / "s0.h5") as shard:
            begin = shard._file["masks/000000002"].id.get_chunk_info(0).byte_offset
        content[begin + 9] ^= 0xFF
        (masks / "s0.h5").write_bytes(content)
        for kind in ("png", "npy", "coco"):
            with refused("s0.h5 is damaged at image 2"):
                export.run(resolve(str(masks)), kind, tmp_path / "out")
        assert {p.name for p in tmp_path.iterdir()} == {"index.jsonl", "masks"}

    @pytest.mark.parametrize("kind", ["npy", "coco"])
    def test_two_sets_of_shards(self, tmp_path, refused, kind):
        masks = make_masks(tmp_path, make_index(tmp_path, [(8, 8)]), 8, 5)
        shutil.copy(masks / "s0.h5", masks / "t.h5")
        with refused("image x0.jpg has a mask in", "s0.h5", "t.h5; keep one set of shards"):
            export.run(resolve(str(masks)), kind, tmp_path / "out")

    def test_shards_of_two_rounds(self, tmp_path, refused):
        index = make_index(tmp_path, [(8, 8)])
        for number in range(2):
            masks = make_masks(tmp_path, index, 8, 5, number=number)
        with refused("s0.h5 and", "s1.h5 are of different rounds or runs"):
            export.run(resolve(str(masks)), "coco", tmp_path / "out")

    @pytest.mark.parametrize("name", ["", "a\0b.jpg", ".."])
    def test_names_that_are_none(self, refused, name):
        with refused(repr(name), "its name leads out of the folder"):
            export.file_name(name, ".png")

    def test_a_mask_where_another_image_has_its_folder(self, tmp_path, refused):
        entries = [Entry(n, 8, 8, 1, 0) for n in ("a.jpg", "a.png/b.jpg")]
        with write_shard(tmp_path / "masks/s.h5", Header(0, 8, 0, 1, "d", {})) as writer:
            for p, entry in enumerate(entries):
                writer.add(p, entry, np.zeros((1, 1), int), group=-1, clusters=1)
        with refused("cannot write", "a.png"):
            export.run(resolve(str(tmp_path / "masks")), "png", tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["masks"]

    @pytest.mark.parametrize("kind", ["png", "coco"])
    def test_a_folder_that_is_a_file(self, tmp_path, refused, kind):
        masks = make_masks(tmp_path, make_index(tmp_path, [(8, 8)]), 8, 5)
        (tmp_path / "file").touch()
        with refused("cannot write", "file/out"):
            export.run(resolve(str(masks)), kind, tmp_path / "file/out")

    def test_a_folder_others_may_read(self, tmp_path):
        masks = make_masks(tmp_path, make_index(tmp_path, [(8, 8)]), 8, 5)
        (tmp_path / "usual").mkdir()
        export.run(resolve(str(masks)), "npy", tmp_path / "out")
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


class TestBadMasks:
    @pytest.fixture
    def check(self, tmp_path, refused):
        """An import of `.npy` files that is refused with these words and leaves nothing."""

        def check(arrays, *parts):
            make_index(tmp_path, [np.shape(arrays[0])] * len(arrays))
            source = give(tmp_path, arrays)
            with refused(*parts):
                imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=4, shards=1)
            assert {p.name for p in tmp_path.iterdir()} == {"index.jsonl", "given"}

        return check

    def test_labels_below_zero(self, check):
        check([np.zeros((8, 9), int), np.full((8, 9), -3)], "x1.npy has the label -3")

    def test_floats(self, check):
        check([np.zeros((8, 9), int), np.zeros((8, 9))], "x1.npy holds float64, 2-D")

    def test_too_many_labels(self, check):
        array = np.arange(65537).reshape(1, -1)
        check([array], "x0.npy has 65537 labels; at most 65536 are allowed")

    def test_another_size(self, check):
        check(
            [np.zeros((8, 9), int), np.zeros((9, 8), int)],
            "x1.npy is 9 x 8 pixels (height x width), image x1.jpg 8 x 9",
        )

    def test_an_empty_array(self, check):
        check([np.zeros((8, 9), int), np.zeros((0, 9), int)], "x1.npy")

    def test_an_array_that_claims_to_be_larger_than_memory(self, tmp_path, refused):
        make_index(tmp_path, [(8, 8)])
        source = give(tmp_path, [np.zeros((8, 8), int)])
        content = (source / "x0.npy").read_bytes()
        larger = content.replace(b"(8, 8), }" + b" " * 14, b"(8000000000, 8000000), }")
        assert larger != content
        (source / "x0.npy").write_bytes(larger)
        with refused("x0.npy cannot be read"):
            imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=1)

    def test_a_photograph_named_png(self, tmp_path, refused):
        make_index(tmp_path, [(8, 8)])
        (tmp_path / "given").mkdir()
        Image.new("L", (8, 8)).save(tmp_path / "given/x0.png", "JPEG")
        with refused("x0.png cannot be read"):
            imports.run(
                tmp_path / "given", tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=1
            )

    def test_a_mask_that_two_images_would_share(self, tmp_path, refused):
        write_index(tmp_path / "index.jsonl", [Entry(n, 8, 8, 1, 0) for n in ("x0.jpg", "x0.png")])
        source = give(tmp_path, [np.zeros((8, 8), int)])
        with refused("images x0.jpg and x0.png would share the mask file x0.npy"):
            imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=1)

    def test_a_name_that_leads_out_of_the_folder(self, tmp_path, refused):
        write_index(tmp_path / "index.jsonl", [Entry("../x0.jpg", 8, 8, 1, 0)])
        source = give(tmp_path, [np.zeros((8, 8), int)])
        with refused("'../x0.jpg': its name leads out of the folder"):
            imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=1)

    def test_an_interruption_leaves_an_empty_folder_empty(self, tmp_path, monkeypatch):
        make_index(tmp_path, [(8, 8)] * 2)
        source = give(tmp_path, [np.zeros((8, 8), int)] * 2)
        (tmp_path / "out").mkdir()

        def interrupted(labels, what):
            raise KeyboardInterrupt

        monkeypatch.setattr(foreign, "storable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imports.run(source, tmp_path / "index.jsonl", tmp_path / "out", stride=8, shards=2)
        assert {p.name for p in tmp_path.iterdir()} == {"index.jsonl", "given", "out"}
        assert list((tmp_path / "out").iterdir()) == []
