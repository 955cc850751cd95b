"""``cyborgs masks show``."""

import numpy as np
import pytest
from PIL import Image

from cyborgs.images.decoding import Entry
from cyborgs.images.finding import find
from cyborgs.images.index import Index
from cyborgs.run.paths import Run
from cyborgs.run.sources import resolve
from cyborgs.stages.masks import show


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_picture_of_a_run(results, tmp_path, suffix):
    out = tmp_path / f"new/p{suffix}"
    show.run(resolve(str(results)), ["3"], "overlay", out)
    with Image.open(out) as image:
        # Photograph, two rounds and ground truth, beside each other.
        assert image.width == 12 + 4 * (show.WIDTH + 12)
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_an_image_is_a_row_and_both_styles_are_two(results, tmp_path):
    heights = {}
    for name, images, style in (
        ("one", ["3"], "mask"),
        ("two", ["3", "000009.jpg"], "overlay"),
        ("both", ["3"], "both"),
    ):
        show.run(resolve(str(results)), images, style, tmp_path / f"{name}.png")
        heights[name] = Image.open(tmp_path / f"{name}.png").height
    assert heights["two"] == heights["both"] == 2 * heights["one"] - 12


def test_the_masks_are_those_of_the_shard(results, tmp_path):
    """Flat colours: as many as the mask has labels, in the same places."""
    show.run(resolve(str(Run(results).masks(1))), ["3"], "mask", tmp_path / "p.png")
    page = np.asarray(Image.open(tmp_path / "p.png"))
    left = 12 + show.WIDTH + 12
    mask = page[-12 - show.WIDTH * 64 // 96 : -12, left : left + show.WIDTH]
    from cyborgs.display.pictures import match, paint, thumbnail
    from cyborgs.images.index import read_index
    from cyborgs.masks.alignment import full_size
    from cyborgs.masks.shards import Masks

    masks = Masks(str(Run(results).masks(1)), read_index(Run(results).index))
    (labels,) = match([full_size(masks.read(3), 64, 96, masks.stride)])
    np.testing.assert_array_equal(mask, thumbnail(paint(labels), show.WIDTH))


def test_a_round_without_a_mask_of_the_image_stays_empty(results, tmp_path, refused):
    """A fixed-K comparison holds some of the images."""
    fixed_k = Run(results).fixed_k(4, 1)
    from cyborgs.masks.shards import Shard

    with Shard(fixed_k) as shard:
        other = next(p for p in range(13) if p not in shard.positions)
    with refused(f"image {other} (", "has no mask in round 1"):
        show.run(resolve(str(fixed_k)), [str(other)], "overlay", tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


INDEX = Index([Entry(n, 8, 8, 1, 0) for n in ("a/x.jpg", "b/x.jpg", "b/ü y.png", "7.jpg")], "d")


@pytest.mark.parametrize(
    ("image", "position"),
    [("0", 0), ("3", 3), ("a/x.jpg", 0), ("b/ü y.png", 2), ("ü y.png", 2), ("ü y", 2), ("7", 3)],
)
def test_an_image_by_number_or_name(image, position):
    assert find(INDEX, image) == position


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("4", ["image 4: the index has 4 images, 0 … 3"]),
        ("-1", ["image -1: the index has 4 images, 0 … 3"]),
        ("x.jpg", ["image x.jpg: 2 images have this name (a/x.jpg, b/x.jpg …)"]),
        ("c/x.jpg", ["image c/x.jpg is not in the index; did you mean", "x.jpg?"]),
        ("nothing at all", ["image nothing at all is not in the index; the first is a/x.jpg"]),
    ],
)
def test_an_image_that_is_not_there(image, parts, refused):
    with refused(*parts):
        find(INDEX, image)


class TestBadInput:
    def test_another_kind_of_file(self, results, tmp_path, refused):
        with refused("p.gif: give a name that ends in .png, .jpg, .webp"):
            show.run(resolve(str(results)), ["3"], "overlay", tmp_path / "p.gif")

    def test_no_terminal(self, results, refused):
        with refused("does not announce support for colours", "give --out"):
            show.run(resolve(str(results)), ["3"], "overlay", None)

    def test_masks_alone(self, results, tmp_path, refused):
        alone = tmp_path / "shard.h5"
        alone.write_bytes((Run(results).masks(1) / "shard-0000-of-0002.h5").read_bytes())
        with refused("masks alone do not say where their index is: give --index"):
            show.run(resolve(str(alone)), ["3"], "overlay", tmp_path / "p.png")
        with refused("masks alone do not say where their images are: give --images"):
            found = resolve(str(alone), index=Run(results).index)
            show.run(found, ["3"], "overlay", tmp_path / "p.png")

    def test_an_image_that_is_gone(self, copy, tmp_path, refused):
        (Run(copy).images() / "000004.jpg").unlink()
        with refused("image 000004.jpg: cannot read"):
            show.run(resolve(str(copy)), ["3"], "overlay", tmp_path / "p.png")
        assert not (tmp_path / "p.png").exists()
