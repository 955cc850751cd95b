"""``cyborgs data shrink``: images, their names, their ground truth, and what a second try does."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools.coco import COCO

from cyborgs.cli import main
from cyborgs.common.errors import InputError
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.decoding import decode, size_of
from cyborgs.images.index import scan
from cyborgs.images.listing import names_of
from cyborgs.stages import shrink


def entries(folder):
    return {e.name: e for e in scan(folder, names_of(folder), 1)}


def test_sizes_pixels_and_names(tmp_path, write_image):
    photos = tmp_path / "photos"
    smooth = np.tile(np.linspace(0, 255, 90, dtype=np.uint8)[None, :, None], (60, 1, 3))
    write_image(photos / "a/wide.png", smooth)
    write_image(photos / "a/tall.jpg", smooth.transpose(1, 0, 2))
    write_image(photos / "thin.webp", (300, 33))
    write_image(photos / "small.jpg", (20, 31))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(smooth).save(photos / "turned.jpg", exif=exif)
    shrink.run(photos, tmp_path / "out", short_side=32, threads=2)
    found = entries(tmp_path / "out/images")
    assert {n: (e.height, e.width, e.orientation) for n, e in found.items()} == {
        "a/wide.png.jpg": (32, 48, 1),
        "a/tall.jpg": (48, 32, 1),
        "thin.webp.jpg": (291, 32, 1),
        "small.jpg": (20, 31, 1),
        "turned.jpg": (48, 32, 1),
    }
    assert (tmp_path / "out/images/small.jpg").read_bytes() == (photos / "small.jpg").read_bytes()
    pixels = decode(tmp_path / "out/images", found["a/wide.png.jpg"])
    # The mean of the columns that each one covers.
    expected = np.repeat(smooth, 16, axis=1).reshape(60, 48, 30, 3).mean((0, 2))
    assert np.abs(pixels.astype(float) - expected).max() < 4
    turned = decode(tmp_path / "out/images", found["turned.jpg"])
    assert turned[0].mean() < turned[-1].mean()
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"] == 5


def test_ground_truth_is_scaled_in_step(tiny, tmp_path):
    shrink.run(tiny.images, tmp_path, short_side=40, threads=1, annotations=tiny.annotations)
    before, after = GroundTruth(tiny.annotations), GroundTruth(tmp_path / "annotations.json")
    large, small = entries(tiny.images), entries(tmp_path / "images")
    assert large.keys() == small.keys()
    for name, entry in small.items():
        assert (entry.height, entry.width) == (40, 60)
        whole, found = before.instances(large[name]), after.instances(entry)
        kept = []
        for mask, category in zip(whole.masks, whole.categories, strict=True):
            # Pixel by pixel: what the centre lies on.
            expected = np.array(
                [
                    [mask[int((y + 0.5) * 1.6), int((x + 0.5) * 1.6)] for x in range(60)]
                    for y in range(40)
                ]
            )
            if expected.any():
                kept.append((expected, category))
        assert len(kept) == len(found.masks)
        for (expected, category), mask, other in zip(
            kept, found.masks, found.categories, strict=True
        ):
            np.testing.assert_array_equal(mask, expected)
            assert category == other
    coco = COCO(str(tmp_path / "annotations.json"))
    for annotation in coco.anns.values():
        assert annotation["area"] == coco.annToMask(annotation).sum()


@pytest.mark.parametrize(
    ("ids", "kept"), [("own", True), ("as text", True), ("again", False), ("from 0", False)]
)
def test_ids_of_annotations_are_kept_where_they_are_ids(tiny, tmp_path, ids, kept):
    """Programs that read the copy find annotations by them, and lose those that are not alone."""
    content = json.loads(tiny.annotations.read_text())
    for number, annotation in enumerate(content["annotations"]):
        own = annotation["id"]
        annotation["id"] = {
            "own": own, "as text": str(own), "again": own // 2, "from 0": number,
        }[ids]  # fmt: skip
    path = tmp_path / "given.json"
    path.write_text(json.dumps(content))
    before = sorted(int(a["id"]) for a in content["annotations"])
    shrink.run(tiny.images, tmp_path / "out", short_side=40, threads=1, annotations=path)
    after = json.loads((tmp_path / "out/annotations.json").read_text())["annotations"]
    expected = before if kept else list(range(1, len(before) + 1))
    assert sorted(a["id"] for a in after) == expected


def test_a_second_try_keeps_what_is_there(tiny, tmp_path):
    photos = shutil.copytree(tiny.images, tmp_path / "photos")
    out = tmp_path / "out/images"
    shrink.run(photos, tmp_path / "out", short_side=40, threads=1)
    first, second, third, *_ = sorted(out.iterdir())
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    whole = second.read_bytes()
    second.unlink()
    later = third.stat().st_mtime_ns + 1_000_000_000
    os.utime(photos / third.name, ns=(later, later))
    (photos / first.name).unlink()
    shrink.run(photos, tmp_path / "out", short_side=40, threads=1)
    after = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert second.read_bytes() == whole
    assert {n for n in after if after[n] == before[n]} == before.keys() - {
        second.name, third.name,
    }  # fmt: skip
    # What has no origin any more counts no more, and is left alone.
    assert names_of(out, tmp_path / "out/names") == sorted(before.keys() - {first.name})


def test_copies_of_another_size_are_made_anew(tiny, tmp_path):
    shrink.run(
        tiny.images, tmp_path / "out", short_side=40, threads=1, annotations=tiny.annotations
    )
    copy = sorted((tmp_path / "out/images").iterdir())[0]
    copy.write_bytes(b"cut off")
    shrink.run(
        tiny.images, tmp_path / "out", short_side=32, threads=1, annotations=tiny.annotations
    )
    truth = GroundTruth(tmp_path / "out/annotations.json")
    for path in (tmp_path / "out/images").iterdir():
        assert size_of(path) == truth.size(path.name) == (32, 48)


@pytest.mark.parametrize("out", [".", "photos", "photos/deep"])
def test_the_copies_do_not_lie_among_the_images(tiny, tmp_path, out, refused):
    photos = tmp_path / "photos" if out != "." else tmp_path / "images"
    shutil.copytree(tiny.images, photos)
    before = sorted(tmp_path.rglob("*"))
    with refused("or the images among the copies; choose another folder"):
        shrink.run(photos, tmp_path / out, short_side=40, threads=1)
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_images_stop_or_are_left_out(tiny, tmp_path, capsys):
    photos = shutil.copytree(tiny.images, tmp_path / "photos")
    (photos / "empty.jpg").touch()
    arguments = ["data", "shrink", "--images", str(photos), "--short-side", "40"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 2
    assert f"image {photos / 'empty.jpg'}: empty file" in capsys.readouterr().err
    assert not (tmp_path / "a/summary.json").exists()
    assert main([*arguments, "--out", str(tmp_path / "b"), "--on-bad-image", "skip"]) == 0
    summary = json.loads((tmp_path / "b/summary.json").read_text())
    assert summary == {"short_side": 40, "images": 13, "bad": {"empty.jpg": "empty file"}}


def test_two_images_of_one_name_are_refused(tmp_path, write_image):
    for name in ("x.png", "x.png.jpg"):
        write_image(tmp_path / "photos" / name, (40, 40))
    with pytest.raises(InputError, match=r"x\.png and x\.png\.jpg would get the same name"):
        shrink.run(tmp_path / "photos", tmp_path / "out", short_side=32, threads=1)
    assert not (tmp_path / "out").exists()
