"""Decoding: what kinds of files become RGB, and which changes to a file are noticed."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from cyborgs.data.decoding import BrokenImageError, decode, inspect
from cyborgs.data.index import scan

HEIGHT, WIDTH = 24, 40


def blocks():
    """Four blocks of plain colours, which lossy formats keep: red, green; blue, grey."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:12, :16], pixels[:12, 16:] = (200, 30, 30), (30, 200, 30)
    pixels[12:, :16], pixels[12:, 16:] = (30, 30, 200), (90, 90, 90)
    return pixels


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decoded(folder, content, suffix):
    """Pixels of a file, by way of the index."""
    path = folder / f"x{suffix}"
    path.write_bytes(content)
    (entry,) = scan(folder, threads=1)
    return decode(path, entry.name, entry.bytes, entry.height, entry.width)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".jpg", "JPEG"),
        (".png", "PNG"),
        (".webp", "WEBP"),
        (".bmp", "BMP"),
        (".tif", "TIFF"),
        (".jpeg", "PNG"),  # ImageNet has such files
    ],
)
def test_pixels_are_red_green_and_blue_whatever_the_format(tmp_path, suffix, form):
    pixels = decoded(tmp_path, encoded(Image.fromarray(blocks()), form), suffix)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    lossless = form in ("PNG", "BMP", "TIFF")
    difference = np.abs(pixels.astype(int) - blocks())
    assert difference.max() == 0 if lossless else np.median(difference) <= 3


@pytest.mark.parametrize(
    ("form", "mode"),
    [(form, mode) for form in ("PNG", "TIFF") for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    + [(form, "CMYK") for form in ("JPEG", "TIFF")]
    + [("JPEG", "L")],
)
def test_every_mode_becomes_rgb(tmp_path, form, mode):
    image = Image.fromarray(blocks())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    pixels = decoded(tmp_path, encoded(image, form), f".{form.lower()}")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    expected = Image.fromarray(blocks()).convert("L") if mode == "I;16" else image
    difference = np.abs(pixels.astype(int) - np.asarray(expected.convert("RGB")))
    # Inks have no one way into RGB.
    assert np.median(difference) <= (30 if mode == "CMYK" else 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_index_and_decoder_agree_on_a_turned_image(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(Image.fromarray(blocks()), form, exif=exif)
    # What the EXIF standard says is at the upper left of the picture as it should be seen.
    stored = blocks()
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert inspect(content) == upright.shape[:2]
    pixels = decoded(tmp_path, content, f".{form.lower()}")
    assert pixels.shape == upright.shape
    assert np.median(np.abs(pixels.astype(int) - upright)) <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (8, 8), (9, 17), (33, 31)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_size_of_a_jpeg_that_is_inspected_at_an_eighth(size, options):
    image = Image.fromarray(np.zeros((*size, 3), np.uint8))
    assert inspect(encoded(image, "JPEG", **options)) == size


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_broken(part, form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    assert inspect(content) == (64, 64)
    with pytest.raises(BrokenImageError, match=r"\w") as caught:
        inspect(content[: int(part * len(content))])
    assert "\n" not in str(caught.value)


@pytest.fixture
def indexed(tmp_path):
    """A file and what the index says of it."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.fromarray(blocks()), "JPEG"))
    return path, ("a/photo.jpg", path.stat().st_size, HEIGHT, WIDTH)


def test_a_file_as_it_was_indexed_is_decoded(indexed):
    path, entry = indexed
    assert decode(path, *entry).shape == (HEIGHT, WIDTH, 3)


def test_a_file_of_another_length_is_refused(indexed, refused):
    path, entry = indexed
    size = entry[1]
    for content in (path.read_bytes()[:-1], path.read_bytes() + b"\0", b""):
        path.write_bytes(content)
        with refused("image a/photo.jpg: ", str(path), f"{len(content)} bytes", f"{size} when"):
            decode(path, *entry)


def test_an_image_of_another_size_is_refused_even_at_the_same_length(indexed, refused):
    path, (name, size, height, width) = indexed
    with refused("image a/photo.jpg: ", str(path), "24 x 40 pixels", "40 x 24 when it was indexed"):
        decode(path, name, size, width, height)


def test_a_file_that_is_gone_is_named(indexed, refused):
    path, entry = indexed
    path.unlink()
    with refused("image a/photo.jpg: cannot read", str(path), "No such file"):
        decode(path, *entry)


def test_garbage_of_the_right_length_is_refused(indexed, refused):
    path, entry = indexed
    path.write_bytes(bytes(entry[1]))
    with refused("image a/photo.jpg: ", str(path), "cannot be decoded"):
        decode(path, *entry)
