"""Masks as PNG, `.npy` and COCO annotations: there and back."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as rle

from cyborgs.masks.formats import (
    coco_annotations,
    read_npy,
    read_png,
    storable,
    write_npy,
    write_png,
)
from cyborgs.masks.palette import colours

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9)
LABELS = st.sampled_from([3, 255, 256, 65535]).flatmap(
    lambda most: arrays(np.uint16, SHAPES, elements=st.integers(0, most))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LABELS)
def test_there_and_back(folder, labels):
    for write, read, name in ((write_png, read_png, "m.png"), (write_npy, read_npy, "m.npy")):
        write(folder / name, labels)
        back = read(folder / name)
        assert back.shape == labels.shape
        np.testing.assert_array_equal(back, labels)


def test_a_png_shows_the_palette(tmp_path):
    labels = np.array([[0, 1], [200, 255]])
    write_png(tmp_path / "m.png", labels)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colours()[labels])


@pytest.mark.parametrize(("most", "mode"), [(0, "P"), (255, "P"), (256, "I;16"), (65535, "I;16")])
def test_a_png_takes_as_many_bits_as_the_largest_label_needs(tmp_path, most, mode):
    labels = np.array([[0, most]])
    assert write_png(tmp_path / "m.png", labels) == (mode == "P")
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == mode
    assert read_png(tmp_path / "m.png").tolist() == labels.tolist()


def test_npy_is_what_the_published_program_read(tmp_path):
    write_npy(tmp_path / "m.npy", np.array([[0, 300]], dtype=np.uint16))
    loaded = np.load(tmp_path / "m.npy")
    assert loaded.dtype == np.int64
    assert loaded.tolist() == [[0, 300]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LABELS)
def test_coco_annotations_cover_each_pixel_once(labels):
    found = list(coco_annotations(labels, 5, 11))
    assert [a["id"] for a in found] == list(range(11, 11 + len(np.unique(labels))))
    again = np.full(labels.shape, -1)
    for a in found:
        mask = rle.decode(a["segmentation"]).astype(bool)
        assert (again[mask] == -1).all()
        again[mask] = a["label"]
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert a["bbox"] == box
        assert a["area"] == mask.sum()
        assert (a["image_id"], a["category_id"], a["iscrowd"]) == (5, 1, 0)
    np.testing.assert_array_equal(again, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, bool])
def test_integers_of_any_type_are_read(tmp_path, dtype):
    labels = np.array([[0, 1, 1]]).astype(dtype)
    np.save(tmp_path / "m.npy", labels)
    assert read_npy(tmp_path / "m.npy").tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "1"])
def test_pngs_of_one_channel_are_read(tmp_path, mode):
    Image.new(mode, (3, 2), 1).save(tmp_path / "m.png")
    assert read_png(tmp_path / "m.png").tolist() == [[1, 1, 1], [1, 1, 1]]


class TestBadInput:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_a_picture_in_colours(self, tmp_path, refused, mode):
        Image.new(mode, (3, 2)).save(tmp_path / "m.png")
        with refused(f"m.png is a picture in colours ({mode}), not labels"):
            read_png(tmp_path / "m.png")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n1234"])
    def test_no_png(self, tmp_path, refused, content):
        (tmp_path / "m.png").write_bytes(content)
        with refused("m.png cannot be read"):
            read_png(tmp_path / "m.png")

    def test_a_truncated_png(self, tmp_path, refused):
        write_png(tmp_path / "m.png", np.random.default_rng(0).integers(0, 256, (50, 60)))
        content = (tmp_path / "m.png").read_bytes()
        (tmp_path / "m.png").write_bytes(content[: len(content) // 2])
        with refused("m.png cannot be read"):
            read_png(tmp_path / "m.png")

    @pytest.mark.parametrize(
        ("array", "what"),
        [
            (np.zeros((2, 3)), "float64, 2-D"),
            (np.zeros((1, 2, 3), int), "int64, 3-D"),
            (np.zeros(4, int), "int64, 1-D"),
            (np.array([["a"]]), "2-D"),
        ],
    )
    def test_arrays_that_are_no_labels(self, tmp_path, refused, array, what):
        np.save(tmp_path / "m.npy", array)
        with refused("m.npy holds", what, "2-D integers"):
            read_npy(tmp_path / "m.npy")

    def test_objects_are_not_loaded(self, tmp_path, refused):
        np.save(tmp_path / "m.npy", np.array([[{}]]), allow_pickle=True)
        with refused("m.npy cannot be read"):
            read_npy(tmp_path / "m.npy")

    def test_a_pickle_is_not_loaded(self, tmp_path, refused):
        (tmp_path / "m.npy").write_bytes(pickle.dumps(np.zeros((2, 3), int)))
        with refused("m.npy cannot be read"):
            read_npy(tmp_path / "m.npy")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00"])
    def test_no_array(self, tmp_path, refused, content):
        (tmp_path / "m.npy").write_bytes(content)
        with refused("m.npy cannot be read"):
            read_npy(tmp_path / "m.npy")

    def test_labels_below_zero(self, refused):
        with refused("mask x has the label -1; labels begin with 0"):
            storable(np.array([[0, -1]]), "mask x")

    def test_more_labels_than_a_shard_holds(self, refused):
        with refused("mask x has 65537 labels; at most 65536 are allowed"):
            storable(np.arange(2**16 + 1)[None], "mask x")


def test_large_labels_are_numbered_anew():
    assert storable(np.array([[70000, 5, 2**40]]), "x").tolist() == [[1, 0, 2]]
    assert storable(np.array([[65535, 5]]), "x").tolist() == [[65535, 5]]
