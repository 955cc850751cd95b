"""Decoding: what kinds of files become RGB, and which changes to a file are noticed."""

import io
import resource
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from cyborgs.images.decoding import (
    MAX_PIXELS,
    BrokenImageError,
    Entry,
    decode,
    examine,
    size_of,
    upright,
)
from cyborgs.images.index import scan
from cyborgs.images.listing import names_of

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
    (folder / f"x{suffix}").write_bytes(content)
    (entry,) = scan(folder, names_of(folder), threads=1)
    return decode(folder, entry)


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_index_and_decoder_agree_on_a_turned_image(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(Image.fromarray(blocks()), form, exif=exif)
    # What the EXIF standard says is at the upper left of the picture as it should be seen.
    stored = blocks()
    expected = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    entry = examine("x", content)
    assert (entry.height, entry.width) == expected.shape[:2]
    assert entry.orientation == orientation
    np.testing.assert_array_equal(upright(stored, orientation), expected)
    pixels = decoded(tmp_path, content, f".{form.lower()}")
    assert pixels.shape == expected.shape
    assert size_of(tmp_path / f"x.{form.lower()}") == expected.shape[:2]
    assert np.median(np.abs(pixels.astype(int) - expected)) <= 3


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"no picture", None])
def test_the_size_of_what_is_no_image(content, tmp_path, refused):
    if content is not None:
        (tmp_path / "x.jpg").write_bytes(content)
    with refused(f"image {tmp_path / 'x.jpg'} cannot be"):
        size_of(tmp_path / "x.jpg")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (8, 8), (9, 17), (33, 31)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_size_of_a_jpeg_that_is_inspected_at_an_eighth(size, options):
    image = Image.fromarray(np.zeros((*size, 3), np.uint8))
    assert inspected_size(encoded(image, "JPEG", **options)) == size


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_broken(part, form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    assert inspected_size(content) == (64, 64)
    with pytest.raises(BrokenImageError, match=r"\w") as caught:
        examine("x", content[: int(part * len(content))])
    assert "\n" not in str(caught.value)


def inspected_size(content):
    entry = examine("x", content)
    assert entry.bytes == len(content)
    return entry.height, entry.width


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    content = encoded(Image.fromarray(blocks()), "JPEG", exif=exif)
    assert examine("x", content).orientation == 1
    assert decoded(tmp_path, content, ".jpg").shape == (HEIGHT, WIDTH, 3)


def claiming(form, height, width):
    """A small file whose header claims another size."""
    content = bytearray(encoded(Image.new("L", (8, 8)), form))
    if form == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif form == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    else:
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_a_decompression_bomb_is_not_decoded(form):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BrokenImageError, match=f"60000 x 50000 pixels; at most {MAX_PIXELS:,}"):
        examine("x", claiming(form, 50_000, 60_000))
    # Not even once: 3 GB would be seen (in KiB).
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.fixture
def indexed(tmp_path):
    """A folder with a file in it, and what the index says of that."""
    path = tmp_path / "a/photo.jpg"
    path.parent.mkdir()
    path.write_bytes(encoded(Image.fromarray(blocks()), "JPEG"))
    return tmp_path, path, examine("a/photo.jpg", path.read_bytes())


def test_a_file_as_it_was_indexed_is_decoded(indexed):
    folder, _, entry = indexed
    assert entry == Entry(
        "a/photo.jpg", HEIGHT, WIDTH, entry.bytes, zlib.crc32((folder / entry.name).read_bytes())
    )
    assert decode(folder, entry).shape == (HEIGHT, WIDTH, 3)


def test_a_file_of_another_length_is_refused(indexed, refused):
    folder, path, entry = indexed
    for content in (path.read_bytes()[:-1], path.read_bytes() + b"\0", b""):
        path.write_bytes(content)
        with refused(
            "image a/photo.jpg: ", str(path), f"{len(content)} bytes", f"{entry.bytes} when"
        ):
            decode(folder, entry)


def test_another_picture_of_the_same_length_is_refused(indexed, refused):
    """A comment fills it up; nothing else tells it from the one that was indexed."""
    folder, path, entry = indexed
    other = encoded(Image.fromarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8)), "JPEG")
    room = entry.bytes - len(other) - 4
    path.write_bytes(
        other[:2] + b"\xff\xfe" + struct.pack(">H", room + 2) + bytes(room) + other[2:]
    )
    assert inspected_size(path.read_bytes()) == (HEIGHT, WIDTH)
    assert path.stat().st_size == entry.bytes
    with refused("image a/photo.jpg: ", str(path), "has changed since it was indexed"):
        decode(folder, entry)


def test_a_file_that_is_read_in_another_way_is_refused(indexed, refused):
    """As by another version of a library."""
    folder, path, entry = indexed
    with refused("image a/photo.jpg: ", str(path), "(40 x 24 pixels when", "save it again"):
        decode(folder, replace(entry, height=WIDTH, width=HEIGHT))
    path.write_bytes(bytes(100))
    entry = replace(entry, bytes=100, crc32=zlib.crc32(bytes(100)))
    with refused("image a/photo.jpg: ", "cannot be decoded by OpenCV"):
        decode(folder, entry)


def test_a_file_that_is_gone_is_named(indexed, refused):
    folder, path, entry = indexed
    path.unlink()
    with refused("image a/photo.jpg: cannot read", str(path), "No such file"):
        decode(folder, entry)
