"""Masks to other programs and back."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index, read_index, write_index
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.run.paths import Run
from cyborgs.run.sources import resolve
from cyborgs.stages import seed_masks
from cyborgs.stages.masks import export, imports

NAMES = ["a/x.jpg", "b/x.jpg", "b/ü 'y'\n.png", "z\udcff.jpg"]
SIZES = [(64, 96), (50, 41), (7, 9), (1, 1)]


@pytest.fixture
def odd(tmp_path):
    """An index with odd names and sizes, and masks of it in two shards, one with 16 bits."""
    entries = [Entry(n, h, w, 10, 0) for n, (h, w) in zip(NAMES, SIZES, strict=True)]
    write_index(tmp_path / "index.jsonl", entries)
    index = read_index(tmp_path / "index.jsonl")
    rng = np.random.default_rng(0)
    for shard, positions in enumerate(([2, 0], [1, 3])):
        path = tmp_path / f"masks/shard-{shard}.h5"
        with write_shard(path, Header(1, 8, shard, 2, index.digest, {"inputs": {}})) as writer:
            for p in positions:
                shape = grid_size(entries[p].height, 8), grid_size(entries[p].width, 8)
                labels = rng.integers(0, 600 if p == 1 else 5, shape)
                writer.add(p, entries[p], labels, group=0, clusters=600)
    return tmp_path


def masks_of(folder, where="masks"):
    return Masks(str(folder / where), read_index(folder / "index.jsonl"))


def full(masks, p):
    return full_size(masks.read(p), *SIZES[p], masks.stride)


def written(folder, kind, name):
    export.run(resolve(str(folder / "masks")), kind, folder / name)
    return folder / name


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("npy", ".npy")])
def test_a_file_an_image(odd, kind, suffix):
    out = written(odd, kind, "out")
    masks = masks_of(odd)
    assert len([p for p in out.rglob("*") if p.is_file()]) == 4
    for p, name in enumerate(NAMES):
        path = (out / name).with_suffix(suffix)
        labels = np.asarray(Image.open(path)) if kind == "png" else np.load(path)
        np.testing.assert_array_equal(labels, full(masks, p))
    assert {p.name for p in odd.iterdir()} == {"index.jsonl", "masks", "out"}


def test_coco_annotations_load_and_decode(odd):
    out = written(odd, "coco", "m.json")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(out))
    masks = masks_of(odd)
    assert coco.getCatIds() == [1]
    images = {image["file_name"]: image for image in coco.dataset["images"]}
    assert set(images) == set(NAMES)
    for p, name in enumerate(NAMES):
        assert (images[name]["height"], images[name]["width"]) == SIZES[p]
        labels = full(masks, p)
        found = coco.loadAnns(coco.getAnnIds(imgIds=images[name]["id"]))
        assert sorted(a["label"] for a in found) == np.unique(labels).tolist()
        for a in found:
            np.testing.assert_array_equal(coco.annToMask(a), labels == a["label"])
    identities = [a["id"] for a in coco.dataset["annotations"]]
    assert identities == list(range(1, len(identities) + 1))


@pytest.mark.parametrize("kind", ["png", "npy"])
@pytest.mark.parametrize("shards", [1, 3])
def test_there_and_back_is_the_same(odd, kind, shards):
    source = written(odd, kind, "out")
    imports.run(source, odd / "index.jsonl", odd / "back", stride=8, shards=shards)
    before, after = masks_of(odd), masks_of(odd, "back")
    assert len(after.paths) == shards
    assert (after.round, after.stride) == (0, 8)
    for p in range(4):
        np.testing.assert_array_equal(after.read(p), before.read(p))
    assert {p.name for p in odd.iterdir()} == {"index.jsonl", "masks", "out", "back"}


def test_there_and_back_by_coco_is_the_same_partition(odd):
    imports.run(
        written(odd, "coco", "m.json"), odd / "index.jsonl", odd / "back", stride=8, shards=1
    )
    before, after = masks_of(odd), masks_of(odd, "back")
    for p in range(4):
        assert adjusted_rand_index(after.read(p), before.read(p)) == 1


def test_the_same_input_gives_the_same_bytes(odd):
    source = written(odd, "png", "out")
    for name in ("one", "two"):
        imports.run(source, odd / "index.jsonl", odd / name, stride=8, shards=2)
    for path in (odd / "one").iterdir():
        assert path.read_bytes() == (odd / "two" / path.name).read_bytes()


def test_imported_masks_seed_a_run(tiny, tmp_path):
    """Instances of the annotations, from elsewhere as a COCO JSON."""
    imports.run(tiny.annotations, tiny.index, tmp_path / "given", stride=8, shards=1)
    config = tiny.config(seed_masks={"kind": "file", "masks": str(tmp_path / "given")})
    seed_masks.run(
        config, images=tiny.images, index_path=tiny.index, out=tmp_path / "seed.h5", shard=0
    )
    truth = tiny.config(seed_masks={"kind": "ground-truth"})
    seed_masks.run(
        truth,
        images=tiny.images,
        index_path=tiny.index,
        out=tmp_path / "truth.h5",
        shard=0,
        annotations=tiny.annotations,
    )
    index = read_index(tiny.index)
    ours, theirs = (Masks(str(tmp_path / f"{n}.h5"), index) for n in ("seed", "truth"))
    assert ours.digest == theirs.digest


def test_another_stride(odd):
    imports.run(written(odd, "png", "out"), odd / "index.jsonl", odd / "back", stride=4, shards=1)
    after = masks_of(odd, "back")
    assert after.read(0).shape == (16, 24)
    np.testing.assert_array_equal(after.read(0), full(masks_of(odd), 0)[::4, ::4])


class TestBadExport:
    def test_several_rounds(self, results, tmp_path, refused):
        with refused("2 rounds are given: name one, such as", "round-01"):
            export.run(resolve(str(results)), "png", tmp_path / "out")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("kind", ["png", "coco"])
    def test_something_is_there(self, odd, refused, kind):
        (odd / "out").mkdir()
        with refused("out exists; remove it"):
            written(odd, kind, "out")

    def test_two_images_of_one_stem(self, tmp_path, refused):
        index = Index([Entry(n, 8, 8, 1, 0) for n in ("a/x.jpg", "a/x.png")], "d")
        with write_shard(tmp_path / "masks/s.h5", Header(0, 8, 0, 1, "d", {})) as writer:
            for p in range(2):
                writer.add(p, index[p], np.zeros((1, 1), int), group=-1, clusters=1)
        with refused("images a/x.jpg and a/x.png would share the mask file a/x.npy"):
            written(tmp_path, "npy", "out")
        assert [p.name for p in tmp_path.iterdir()] == ["masks"]
        written(tmp_path, "coco", "m.json")

    @pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../../x.jpg"])
    def test_a_name_that_leads_out_of_the_folder(self, tmp_path, refused, name):
        with write_shard(tmp_path / "masks/s.h5", Header(0, 8, 0, 1, "d", {})) as writer:
            writer.add(0, Entry(name, 8, 8, 1, 0), np.zeros((1, 1), int), group=-1, clusters=1)
        with refused("its name leads out of the folder"):
            written(tmp_path, "png", "out")

    def test_a_damaged_shard_leaves_nothing(self, odd, refused):
        path = odd / "masks/shard-1.h5"
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:-500])
        for kind, name in (("png", "out"), ("coco", "m.json")):
            with refused("shard-1.h5 is truncated"):
                written(odd, kind, name)
        assert {p.name for p in odd.iterdir()} == {"index.jsonl", "masks"}


class TestBadImport:
    @pytest.fixture
    def given(self, results, tmp_path):
        """Masks of thirteen scenes as PNGs."""
        export.run(resolve(str(Run(results).masks(1))), "png", tmp_path / "given")
        return tmp_path / "given"

    @pytest.fixture
    def check(self, results, tmp_path, refused):
        """An import that is refused with these words and leaves nothing behind."""

        def check(source, *parts, shards=1):
            before = set(tmp_path.iterdir())
            with refused(*parts):
                imports.run(source, Run(results).index, tmp_path / "out", stride=8, shards=shards)
            assert set(tmp_path.iterdir()) == before

        return check

    def test_a_missing_mask(self, given, check):
        (given / "000004.png").unlink()
        check(given, "1 of 13 images have none, 000004.png for image 000004.jpg among them")

    def test_a_mask_of_another_size(self, given, check):
        Image.new("L", (96, 65)).save(given / "000004.png")
        check(given, "000004.png is 65 x 96 pixels", "image 000004.jpg 64 x 96")

    @pytest.mark.parametrize("shards", [1, 13])
    def test_the_last_mask_is_bad(self, given, check, shards):
        (given / "000013.png").write_bytes(b"broken")
        check(given, "000013.png cannot be read", shards=shards)

    def test_both_kinds(self, given, check):
        np.save(given / "a.npy", np.zeros((2, 2), int))
        check(given, "the folder holds both .png and .npy files")

    def test_neither_kind(self, tmp_path, check):
        (tmp_path / "given").mkdir()
        check(tmp_path / "given", "the folder holds neither .png, .npy nor .json files")

    def test_nothing(self, tmp_path, check):
        check(tmp_path / "given", "given do not exist")

    def test_more_shards_than_images(self, given, check):
        check(given, "--shards: 14 shards of 13 images", shards=14)

    def test_annotations_of_other_images(self, results, tmp_path, check):
        content = json.loads(Run(results).annotations().read_text())
        content["images"] = [{**i, "file_name": "x" + i["file_name"]} for i in content["images"]]
        (tmp_path / "a.json").write_text(json.dumps(content))
        check(tmp_path / "a.json", "13 of 13 images are not listed, 000001.jpg among them")

    def test_no_json(self, tmp_path, check):
        (tmp_path / "a.json").write_text("hello")
        check(tmp_path / "a.json", "a.json is not JSON")

    def test_a_folder_that_is_not_empty(self, given, results, tmp_path, refused):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").touch()
        with refused("out exists and is not empty"):
            imports.run(given, Run(results).index, tmp_path / "out", stride=8, shards=1)
        assert (tmp_path / "out/mine").exists()
        shutil.rmtree(tmp_path / "out")

    def test_an_empty_folder_is_filled(self, given, results, tmp_path):
        (tmp_path / "out").mkdir()
        imports.run(given, Run(results).index, tmp_path / "out", stride=8, shards=1)
        assert len(list((tmp_path / "out").iterdir())) == 1
