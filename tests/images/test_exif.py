"""EXIF as files in the wild have it: one reader says how a picture is turned, for all who ask."""

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cyborgs.images.decoding import (
    Entry,
    decode,
    examine,
    has_unread_exif,
    pixels_of,
    read_pixels,
    size_of,
    upright,
)

HEIGHT, WIDTH = 24, 40
ORIENTATION = 0x0112

# Bytes of a value by the number of its type (TIFF 6.0, section 2).
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def jpeg(segments: bytes = b"") -> bytes:
    """Four blocks of plain colours, with segments after the beginning."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:12, :16], pixels[:12, 16:] = (200, 30, 30), (30, 200, 30)
    pixels[12:, :16], pixels[12:, 16:] = (30, 30, 200), (90, 90, 90)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    content = stream.getvalue()
    return content[:2] + segments + content[2:]


def segment(content: bytes, marker: int = 0xE1) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def tiff(entries, order="<", magic=42, tail=b"") -> bytes:
    """A TIFF header and a directory of entries: tag, type, count, and four bytes of value."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", magic, 8)
    body = b"".join(struct.pack(order + "HHI", *e[:3]) + e[3] for e in entries)
    return head + struct.pack(order + "H", len(entries)) + body + bytes(4) + tail


def require_one_view(tmp_path, content: bytes) -> Entry:
    """All who look at a file see the same size, and pixels turned as its entry says."""
    entry = examine("x.jpg", content)
    (tmp_path / "x.jpg").write_bytes(content)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    assert stored.shape == (HEIGHT, WIDTH, 3)
    assert type(entry.orientation) is int
    expected = upright(stored, entry.orientation)
    assert (entry.height, entry.width) == expected.shape[:2]
    for pixels in (decode(tmp_path, entry), pixels_of(content), read_pixels(tmp_path / "x.jpg")):
        np.testing.assert_array_equal(pixels, expected)
        assert pixels.flags.c_contiguous
    assert size_of(tmp_path / "x.jpg") == (entry.height, entry.width)
    return entry


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exif")


entries = st.lists(
    st.tuples(
        st.sampled_from([ORIENTATION, ORIENTATION, 0x010E, 0x0110, 0x0132, 0x8769, 0x8825, 0x0201]),
        st.sampled_from([*SIZES, 0, 99]),
        st.sampled_from([0, 1, 1, 1, 2, 5, 2**31]),
        st.sampled_from([b"\6\0\0\0", b"\0\6\0\0", b"\0\0\0\6", b"\3\0\0\0"])
        | st.binary(min_size=4, max_size=4),
    ),
    max_size=4,
)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@settings(max_examples=400, deadline=None)
@given(
    entries,
    st.sampled_from("<>"),
    st.sampled_from([42, 42, 42, 43, 0, 0x2A00]),
    st.binary(max_size=40),
    st.sampled_from([b"Exif\0\0", b"Exif\0\0", b"Exif\0\0Exif\0\0", b"exif\0\0", b"Exif\0", b""]),
    st.integers(0, 3),
)
@example([], "<", 42, b"", b"Exif\0\0", 0)
def test_any_exif_is_read_in_one_way(folder, entries, order, magic, tail, prefix, cut):
    content = prefix + tiff(entries, order, magic, tail)
    require_one_view(folder, jpeg(segment(content[: len(content) - cut])))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_garbage_for_exif_refuses_no_picture(folder, garbage):
    entry = require_one_view(folder, jpeg(segment(b"Exif\0\0" + garbage)))
    assert entry.orientation in range(1, 9)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [3, 4])
def test_a_whole_number_turns_in_both_byte_orders(folder, order, orientation, kind):
    """A LONG as well, which some cameras write for the SHORT of the standard."""
    value = struct.pack(order + ("H" if kind == 3 else "I"), orientation).ljust(4, b"\0")
    content = jpeg(segment(b"Exif\0\0" + tiff([(ORIENTATION, kind, 1, value)], order)))
    assert require_one_view(folder, content).orientation == orientation
    assert not has_unread_exif(content)


@pytest.mark.parametrize(
    "exif",
    [b"\x137garbage that is no TIFF", tiff([(ORIENTATION, 3, 1, b"\6\0\0\0")], magic=43)[:20]],
    ids=["text", "BigTIFF, cut short"],
)
def test_exif_that_cannot_be_read_is_ignored_and_counted(folder, exif):
    content = jpeg(segment(b"Exif\0\0" + exif))
    assert require_one_view(folder, content).orientation == 1
    assert has_unread_exif(content)


@pytest.mark.parametrize(
    "segments",
    [
        segment(b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'/>"),
        segment(b"JFIF\0\1\1\0\0\1\0\1\0\0", 0xE0),
    ],
    ids=["XMP", "JFIF"],
)
@pytest.mark.parametrize("first", [True, False])
def test_other_segments_change_nothing(folder, segments, first):
    exif = segment(b"Exif\0\0" + tiff([(ORIENTATION, 3, 1, b"\6\0\0\0")]))
    content = jpeg(segments + exif if first else exif + segments)
    assert require_one_view(folder, content).orientation == 6
