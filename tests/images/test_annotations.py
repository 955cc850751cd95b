"""Ground truth from COCO instances JSON, against masks made or looped over here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle  # type: ignore[import-untyped]

from cyborgs.common.errors import InputError
from cyborgs.images.annotations import GroundTruth, Instances
from cyborgs.images.decoding import Entry, upright

# pycocotools hands NumPy 2 an array type of before it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

H, W = 10, 12
COCO_VAL = (
    Path(__file__).resolve().parents[2].parent
    / "shared/data/coco/annotations/instances_val2017.json"
)


def rectangle(top: int, left: int, bottom: int, right: int) -> list[int]:
    """Polygon of the pixels of rows ``top … bottom - 1`` and columns ``left … right - 1``."""
    return [left, top, right, top, right, bottom, left, bottom]


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Uncompressed run lengths, column by column, counted pixel by pixel."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = not value
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    code = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def annotation(number: int, segmentation: Any, category: int = 1, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": 7,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
    }


def dataset(*annotations: dict[str, Any], name: str = "a/b.jpg") -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": name, "height": H, "width": W},
            {"id": 8, "file_name": "bare.jpg", "height": H, "width": W},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def load(folder: Path, content: Any) -> GroundTruth:
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return GroundTruth(path)


def instances(folder: Path, *annotations: dict[str, Any]) -> Instances:
    return load(folder, dataset(*annotations)).instances(Entry("a/b.jpg", H, W, 1, 0))


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_names_are_paths_below_the_images_folder(tmp_path: Path) -> None:
    truth = load(tmp_path, dataset())
    assert "a/b.jpg" in truth
    assert "bare.jpg" in truth
    assert "b.jpg" not in truth
    with pytest.raises(KeyError):
        truth.instances(Entry("b.jpg", H, W, 1, 0))


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    instances(tmp_path, annotation(1, [rectangle(1, 1, 4, 4)]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "segmentation",
    [
        [rectangle(1, 2, 5, 7)],
        [rectangle(1, 2, 5, 4), rectangle(1, 4, 5, 7)],
        [rectangle(1, 2, 5, 7), [1, 1, 3, 3], [4, 4]],
        runs(block(1, 2, 5, 7)),
        compressed(block(1, 2, 5, 7)),
    ],
    ids=["polygon", "two polygons", "polygon and points", "run lengths", "compressed"],
)
def test_every_kind_of_segmentation(tmp_path: Path, segmentation: Any) -> None:
    found = instances(tmp_path, annotation(1, segmentation))
    assert found.masks.dtype == bool
    assert found.masks.shape == (1, H, W)
    np.testing.assert_array_equal(found.masks[0], block(1, 2, 5, 7))
    assert not found.ignore.any()


@pytest.mark.parametrize("encode", [runs, compressed])
def test_run_lengths_of_any_mask(tmp_path: Path, encode: Any) -> None:
    rng = np.random.default_rng(0)
    # Long and short runs: compressed lengths of one to three characters, rising and falling.
    wanted = [
        np.repeat(rng.random((60, 1 + 120 // width)) < share, width, axis=1)[:, :120]
        for share in (0.02, 0.5, 0.98)
        for width in (1, 15, 60)
    ]
    content = dataset(*(annotation(n, encode(mask)) for n, mask in enumerate(wanted)))
    content["images"][0].update(height=60, width=120)
    found = load(tmp_path, content).instances(Entry("a/b.jpg", 60, 120, 1, 0))
    np.testing.assert_array_equal(found.masks, wanted)


def test_instances_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    found = instances(
        tmp_path,
        annotation(30, [rectangle(0, 0, 3, 3)], category=2),
        annotation(4, [rectangle(5, 5, 8, 8)], category=1),
        annotation(11, [rectangle(2, 2, 9, 9)], category=2),
    )
    np.testing.assert_array_equal(
        found.masks, [block(5, 5, 8, 8), block(2, 2, 9, 9), block(0, 0, 3, 3)]
    )
    assert found.categories.dtype == np.int64
    assert found.categories.tolist() == [1, 2, 2]


def test_crowds_are_ignored_where_no_instance_is(tmp_path: Path) -> None:
    found = instances(
        tmp_path,
        annotation(1, runs(block(0, 0, 6, 6)), crowd=1),
        annotation(2, [rectangle(4, 4, 8, 8)]),
        annotation(3, runs(block(9, 0, 10, 12)), crowd=1),
    )
    np.testing.assert_array_equal(found.masks, [block(4, 4, 8, 8)])
    crowd = block(0, 0, 6, 6) | block(9, 0, 10, 12)
    np.testing.assert_array_equal(found.ignore, crowd & ~block(4, 4, 8, 8))


def test_an_annotation_without_iscrowd_is_an_instance(tmp_path: Path) -> None:
    plain = annotation(1, [rectangle(0, 0, 3, 3)])
    del plain["iscrowd"]
    assert len(instances(tmp_path, plain).masks) == 1


def test_masks_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    found = instances(
        tmp_path,
        annotation(1, []),
        annotation(2, [[1, 1, 5, 5]]),
        annotation(3, [rectangle(50, 50, 60, 60)]),
        annotation(4, runs(np.zeros((H, W), dtype=bool))),
        annotation(5, [rectangle(1, 1, 4, 4)], category=2),
    )
    np.testing.assert_array_equal(found.masks, [block(1, 1, 4, 4)])
    assert found.categories.tolist() == [2]


def test_windows_writes_names_otherwise(tmp_path: Path) -> None:
    """An image is found by either name; a file may be called so itself."""
    own = annotation(1, [rectangle(1, 1, 4, 4)])
    truth = load(tmp_path, dataset(own, name=".\\a\\b.jpg"))
    for name in ("a/b.jpg", ".\\a\\b.jpg"):
        assert name in truth
        assert len(truth.instances(Entry(name, H, W, 1, 0)).masks) == 1
    assert set(truth.names) == {".\\a\\b.jpg", "bare.jpg"}
    # Where another image has that name, it is that one's.
    content = dataset(own)
    content["images"][1]["file_name"] = "a\\b.jpg"
    truth = load(tmp_path, content)
    assert len(truth.instances(Entry("a/b.jpg", H, W, 1, 0)).masks) == 1
    assert len(truth.instances(Entry("a\\b.jpg", H, W, 1, 0)).masks) == 0


@pytest.mark.parametrize("ids", [[5, 5, 5], [None] * 3, ["x", 2.5, True], [0, 0, 0]])
def test_no_instance_is_lost_by_its_id(tmp_path: Path, ids: list[Any]) -> None:
    """Of equal ids, and without, they are in the file's order."""
    blocks = [(0, 0, 3, 3), (5, 5, 8, 8), (2, 2, 9, 9)]
    own = [annotation(i, [rectangle(*b)]) for i, b in zip(ids, blocks, strict=True)]
    np.testing.assert_array_equal(instances(tmp_path, *own).masks, [block(*b) for b in blocks])


def test_crowds_written_as_text(tmp_path: Path) -> None:
    own = [annotation(n, [rectangle(n, n, n + 3, n + 3)]) | {"iscrowd": "0"} for n in range(3)]
    own[1]["iscrowd"] = "1"
    found = instances(tmp_path, *own)
    np.testing.assert_array_equal(found.masks, [block(0, 0, 3, 3), block(2, 2, 5, 5)])
    assert found.ignore.any()


def test_a_message_names_an_annotation_whose_id_is_not_its_own(tmp_path: Path) -> None:
    truth = load(tmp_path, dataset(annotation(4, []), annotation(4, [[None] * 6])))
    with pytest.raises(InputError, match=r"of annotation 4 \(annotations\[1\]\), image a/b.jpg"):
        truth.instances(Entry("a/b.jpg", H, W, 1, 0))


def test_an_image_without_annotations(tmp_path: Path) -> None:
    truth = load(tmp_path, dataset(annotation(1, [rectangle(1, 1, 4, 4)])))
    found = truth.instances(Entry("bare.jpg", H, W, 1, 0))
    assert found.masks.shape == (0, H, W)
    assert found.categories.shape == (0,)
    for empty in (found.ignore, found.label_map(), found.category_map()):
        assert empty.shape == (H, W)
        assert not empty.any()


def test_of_overlapping_instances_the_smaller_shows() -> None:
    small, large = block(2, 2, 5, 5), block(0, 0, 8, 8)
    for masks in ([small, large], [large, small]):
        found = Instances(np.array(masks), np.array([5, 9]), np.zeros((H, W), dtype=bool))
        labels = found.label_map()
        assert labels.dtype == np.int32
        number = 1 if masks[0] is small else 2
        np.testing.assert_array_equal(labels == number, small)
        np.testing.assert_array_equal(labels == 3 - number, large & ~small)
        categories = found.category_map()
        assert categories.dtype == np.int32
        np.testing.assert_array_equal(categories, np.array([0, 5, 9])[labels])


def test_of_overlapping_equal_instances_the_first_shows() -> None:
    masks = np.array([block(0, 0, 4, 4), block(2, 2, 6, 6), block(1, 1, 5, 5)])
    labels = Instances(masks, np.ones(3, np.int64), np.zeros((H, W), bool)).label_map()
    np.testing.assert_array_equal(labels == 1, masks[0])
    np.testing.assert_array_equal(labels == 2, masks[1] & ~masks[0])
    np.testing.assert_array_equal(labels == 3, masks[2] & ~masks[1] & ~masks[0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 5).flatmap(lambda n: arrays(np.bool_, (n, 3, 4), elements=st.booleans())),
)
def test_label_map_pixel_by_pixel(masks: np.ndarray) -> None:
    found = Instances(masks, np.ones(len(masks), np.int64), np.zeros((3, 4), bool))
    wanted = np.zeros((3, 4), dtype=int)
    for y in range(3):
        for x in range(4):
            covering = [(masks[i].sum(), i) for i in range(len(masks)) if masks[i, y, x]]
            wanted[y, x] = 1 + min(covering)[1] if covering else 0
    np.testing.assert_array_equal(found.label_map(), wanted)


def test_category_zero_is_not_taken_for_background() -> None:
    found = Instances(block(0, 0, 4, 4)[None], np.array([0]), np.zeros((H, W), bool))
    with pytest.raises(InputError, match="number the categories from 1") as error:
        found.category_map()
    one_line(error)


def test_another_size_is_an_error(tmp_path: Path) -> None:
    truth = load(tmp_path, dataset(annotation(1, [rectangle(1, 1, 4, 4)])))
    with pytest.raises(InputError) as error:
        truth.instances(Entry("a/b.jpg", W, H, 1, 0))
    message = one_line(error)
    for part in ("instances.json", "a/b.jpg", f"{H} x {W}", f"{W} x {H}"):
        assert part in message


def change(key: str, number: int, **values: Any) -> str:
    content = dataset(annotation(1, [rectangle(1, 1, 4, 4)]))
    content[key][number].update(values)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not JSON"),
        ("not json", "not JSON"),
        ('{"images": [', "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="nested"),
        ("[]", "no list 'images'"),
        ('{"annotations": [], "categories": []}', "no list 'images'"),
        ('{"images": [], "categories": []}', "no list 'annotations'"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        ('{"images": [], "annotations": {}, "categories": []}', "no list 'annotations'"),
        ('{"images": [3], "annotations": [], "categories": []}', "'id' of images[0]"),
        ('{"images": [], "annotations": [], "categories": [{}]}', "'id' of categories[0]"),
        (change("images", 1, height=None), "'height' of images[1]"),
        (change("images", 1, width=4.5), "'width' of images[1]"),
        (change("annotations", 0, category_id="cat"), "'category_id' of annotations[0]"),
        (change("annotations", 0, image_id=[7]), "'image_id' of annotations[0]"),
        (change("images", 1, file_name="a/b.jpg"), "'file_name'"),
        (change("images", 1, id=7), "'id'"),
        (change("annotations", 0, segmentation=[[float("nan")] * 6]), "NaN"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, content)
    message = one_line(error)
    assert str(tmp_path / "instances.json") in message
    assert expected in message


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\xfd")
    with pytest.raises(InputError, match="not JSON") as error:
        GroundTruth(path)
    one_line(error)


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError) as error:
            GroundTruth(path)
        assert str(path) in one_line(error)


def test_duplicated_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a/b\.jpg"):
        load(tmp_path, change("images", 1, file_name="a/b.jpg"))


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        "abc",
        [1, 2, 3, 4, 5, 6, 7],
        {"size": [H, W]},
        {"size": [H, W], "counts": []},
        {"size": [H, W], "counts": [60, 59]},
        {"size": [H, W], "counts": [60, 500]},
        {"size": [H, W], "counts": [60, -60, 120]},
        {"size": [H, W], "counts": "l1TNh3"},  # the same, compressed
        {"size": [H, W], "counts": "zzz"},
        {"size": [H, W], "counts": ""},
        {"size": [H, W], "counts": "é"},
        runs(np.ones((W, H), dtype=bool)),
        compressed(np.ones((W, H), dtype=bool)),
        compressed(np.ones((H, W - 1), dtype=bool)) | {"size": [H, W]},
    ],
)
def test_a_segmentation_that_cannot_be_decoded(tmp_path: Path, segmentation: Any) -> None:
    truth = load(tmp_path, dataset(annotation(13, segmentation)))
    with pytest.raises(InputError) as error:
        truth.instances(Entry("a/b.jpg", H, W, 1, 0))
    message = one_line(error)
    for part in ("instances.json", "annotation 13", "a/b.jpg"):
        assert part in message
    # Other images stay usable.
    assert len(truth.instances(Entry("bare.jpg", H, W, 1, 0)).masks) == 0


@pytest.mark.skipif(not COCO_VAL.is_file(), reason="no COCO annotations beside the repository")
def test_real_annotations() -> None:
    truth = GroundTruth(COCO_VAL)
    content = json.loads(COCO_VAL.read_text())
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    assert crowded
    for image in content["images"]:
        if image["id"] not in crowded and image["id"] > 1300:
            continue
        height, width = image["height"], image["width"]
        found = truth.instances(Entry(image["file_name"], height, width, 1, 0))
        codes: tuple[list[Any], list[Any]] = [], []
        for entry in sorted(content["annotations"], key=lambda a: a["id"]):
            if entry["image_id"] == image["id"]:
                codes[entry["iscrowd"]].append(encoded(entry["segmentation"], height, width))
        areas = [int(area) for area in rle.area(codes[0]) if area]
        assert found.masks.sum(axis=(1, 2)).tolist() == areas
        union = rle.merge(codes[0])
        assert (found.label_map() > 0).sum() == rle.area(union)
        if codes[1]:
            crowd = rle.merge(codes[1])
            shared = rle.merge([crowd, union], intersect=True)
            assert found.ignore.sum() == rle.area(crowd) - rle.area(shared) > 0
        else:
            assert not found.ignore.any()


def encoded(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_ground_truth_is_turned_with_the_picture(tmp_path: Path, orientation: int) -> None:
    """Annotations of the upright picture stay; those of the stored pixels are turned like them."""
    stored = np.zeros((H, W), dtype=bool)
    stored[1:3, 1:7] = True
    seen = upright(stored, orientation)
    entry = Entry("a/b.jpg", *seen.shape, 1, 0, orientation)

    def found(mask: np.ndarray) -> np.ndarray:
        content = dataset(annotation(1, runs(mask)))
        content["images"][0] |= {"height": mask.shape[0], "width": mask.shape[1]}
        return load(tmp_path, content).instances(entry).masks[0]

    np.testing.assert_array_equal(found(seen), seen)
    if orientation >= 5:
        np.testing.assert_array_equal(found(stored), seen)
