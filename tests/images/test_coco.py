"""COCO JSONs as tools write them: the right value, or one line that says what is wrong."""

import copy
import json

import pytest

from cyborgs.images.coco import read_coco
from tests.bench.fuzz_annotations import NAMES, outcome, sound, write_images


@pytest.fixture
def load(tmp_path):
    def read(change=lambda content: None):
        content = sound()
        change(content)
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return read_coco(path)

    return read


def of_images(found):
    return {
        name: [found.annotations[place] for place in found.of_image[image["id"]]]
        for name, image in found.images.items()
    }


def setting(key, value, entries="annotations"):
    def change(content):
        for entry in content[entries]:
            entry[key] = value(entry[key]) if callable(value) else value

    return change


@pytest.mark.parametrize("entries", ["images", "annotations", "categories"])
@pytest.mark.parametrize("write", [str, float])
def test_whole_numbers_written_otherwise(load, entries, write):
    """An id is one, whether a table or a database wrote it."""
    expected = of_images(load())

    def change(content):
        for entry in content[entries]:
            for key in {"id", "image_id", "category_id"} & set(entry):
                entry[key] = write(entry[key])

    found = load(change)
    assert of_images(found) == expected
    assert found.numbered
    assert all(type(a[key]) is int for a in found.annotations for key in ("id", "image_id"))


def test_names_for_ids_of_images(load):
    def change(content):
        for entry in content["images"]:
            entry["id"] = f"00{entry['id']}"
        for entry in content["annotations"]:
            entry["image_id"] = f"00{entry['image_id']}"

    assert {n: len(own) for n, own in of_images(load(change)).items()} == {
        n: len(own) for n, own in of_images(load()).items()
    }


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(0, 0), (1, 1), (False, 0), (True, 1), (0.0, 0), (1.0, 1), ("0", 0), ("1", 1), (None, 0)],
)
def test_crowds(load, value, crowd):
    for annotation in load(setting("iscrowd", value)).annotations:
        assert annotation["iscrowd"] == crowd
        assert type(annotation["iscrowd"]) is int


@pytest.mark.parametrize(
    ("ids", "order", "labels"),
    [
        ([3, 2, 1], [2, 1, 0], ["annotation 1", "annotation 2", "annotation 3"]),
        ([3, 0, -1], [2, 1, 0], ["annotation -1", "annotation 0", "annotation 3"]),
        (
            [7, 7, 1],
            [2, 0, 1],
            ["annotation 1", "annotation 7 (annotations[0])", "annotation 7 (annotations[1])"],
        ),
        (["7", 7.0, 1.5], [0, 1, 2], [f"annotation 7 (annotations[{n}])" for n in (0, 1)] + [None]),
        ([None, True, [1]], [0, 1, 2], [f"annotations[{n}]" for n in range(3)]),
        (["b", "a\n", 4], [2, 0, 1], ["annotation 4", 'annotation "b"', 'annotation "a\\n"']),
    ],
)
def test_ids_order_and_name_annotations(load, ids, order, labels):
    def change(content):
        content["annotations"] = content["annotations"][:3]
        for annotation, identity in zip(content["annotations"], ids, strict=True):
            annotation |= {"id": identity, "image_id": 1}

    found = load(change)
    assert found.of_image[1] == order
    expected = [label or f"annotations[{n}]" for label, n in zip(labels, order, strict=True)]
    assert [found.label(place) for place in order] == expected
    assert found.numbered == (ids == [3, 2, 1])


def test_annotations_without_ids(load):
    found = load(lambda content: [a.pop("id") for a in content["annotations"]])
    assert found.of_image == {1: [0, 1, 2], 2: [3, 4], 3: []}
    assert found.label(3) == "annotations[3]"
    assert not found.numbered


def test_annotations_of_no_image_are_kept_apart(load):
    found = load(lambda content: content["annotations"][1].update(image_id=99))
    assert found.orphaned == [1]
    assert found.of_image == {1: [0, 2], 2: [3, 4], 3: []}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("./a.png", "a.png"),
        ("././sub//b.png", "sub/b.png"),
        ("sub/./b.png", "sub/b.png"),
        ("sub./b.png", "sub./b.png"),
        ("/data//a.png", "/data/a.png"),
        ("../a.png", "../a.png"),
        ("sub\\b.png", "sub\\b.png"),
    ],
)
def test_names_of_images(load, name, plain):
    def change(content):
        content["images"] = content["images"][:2]
        content["images"][0]["file_name"] = name
        content["images"][1]["file_name"] = "other.png"

    assert set(load(change).images) == {plain, "other.png"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (setting("id", True, "images"), "'id' of images[0] is true"),
        (setting("id", 1.5, "images"), "'id' of images[0] is 1.5"),
        (setting("id", 2**64, "images"), "'id' of images[0] is"),
        (setting("height", 0, "images"), "'height' of images[0] is 0"),
        (setting("height", -5, "images"), "'height' of images[0] is -5"),
        (setting("width", "30", "images"), "'width' of images[0] is \"30\""),
        (setting("width", True, "images"), "'width' of images[0] is true"),
        (setting("width", 10**8, "images"), "are decoded"),
        (setting("file_name", "", "images"), "'file_name' of images[0] is \"\""),
        (setting("file_name", 3, "images"), "'file_name' of images[0] is 3"),
        (lambda c: c["images"][1].update(file_name="./a.png"), '"a.png" among them'),
        (lambda c: c["images"][1].update(id="1"), "1 values of 'id' stand for more than one image"),
        (setting("image_id", None), "'image_id' of annotations[0] (annotation 11) is null"),
        (setting("image_id", True), "'image_id' of annotations[0] (annotation 11) is true"),
        (setting("image_id", lambda i: f"x{i}"), "none of 5 annotations is of an image"),
        (setting("image_id", 77), "(annotation 11) is 77; give the ids of the images"),
        (
            lambda c: c["annotations"][1].pop("category_id"),
            "annotations[1] (annotation 12) is miss",
        ),
        (setting("category_id", True), "'category_id' of annotations[0] (annotation 11) is true"),
        (setting("category_id", 2), "is 2, which 'categories' does not have"),
        (lambda c: c.update(categories=[]), "is 1, which 'categories' does not have"),
        (setting("id", -1, "categories"), "'id' of categories[0] is -1"),
        (setting("id", 2**31, "categories"), "'id' of categories[0] is 2147483648"),
        (setting("id", "cat", "categories"), "'id' of categories[0] is \"cat\""),
        (setting("id", 1, "categories"), "'id' stand for more than one category, 1 among them"),
        (setting("iscrowd", 2), "'iscrowd' of annotations[0] (annotation 11) is 2"),
        (setting("iscrowd", "no"), "'iscrowd' of annotations[0] (annotation 11) is \"no\""),
        (setting("iscrowd", []), "'iscrowd' of annotations[0] (annotation 11) is []"),
        (lambda c: c["annotations"].append(7), "'id' of annotations[5] is missing"),
    ],
)
def test_values_that_are_none(load, change, told, refused):
    with refused("instances.json", told):
        load(change)


def test_outlines_in_fractions(load, refused):
    fractions = [[0.1, 0.2, 0.5, 0.2, 0.5, 0.9]]
    with refused("5 of 5 outlines lie within 0 … 1, for example that of annotation 11"):
        load(setting("segmentation", fractions))
    with refused("1 of 2 outlines lie within 0 … 1, for example that of annotation 14"):
        load(lambda c: c["annotations"][3].update(segmentation=fractions))

    def among_many(content):
        # An object within one pixel, as may be.
        one = content["annotations"][0]
        content["annotations"] = [one | {"id": n} for n in range(1, 2001)]
        content["annotations"][0]["segmentation"] = fractions

    assert len(load(among_many).annotations) == 2000


# Of every type that JSON has.
VALUES = [None, "x", "1", True, 1.5, 1, [], [1], {}, {"a": 1}, float("nan"), 10**30, -1]
KEYS = {
    "images": ["id", "file_name", "height", "width"],
    "annotations": ["id", "image_id", "category_id", "iscrowd", "bbox", "area", "segmentation"],
    "categories": ["id", "name"],
}


@pytest.mark.parametrize(
    ("entries", "key"), [(entries, key) for entries, keys in KEYS.items() for key in keys]
)
def test_a_value_of_any_type_is_right_or_refused(entries, key, tmp_path):
    """By `data check` and by an evaluation; see `outcome`."""
    write_images(tmp_path)
    for value in [*VALUES, "missing"]:
        for every in (False, True):
            content = sound()
            for entry in content[entries] if every else content[entries][:1]:
                if value == "missing":
                    del entry[key]
                else:
                    entry[key] = copy.deepcopy(value)
            assert outcome(content, json.dumps(content), tmp_path)


def test_a_sound_file_is_scored(tmp_path):
    write_images(tmp_path)
    assert len(NAMES) == len(sound()["images"])
    assert outcome(sound(), json.dumps(sound()), tmp_path) == "read and scored"
