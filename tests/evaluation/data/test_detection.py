"""Annotated objects, and examples of them whose pixels, boxes and masks stay in step."""

import hashlib
import json

import numpy as np
import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.evaluation.data.detection import (
    Annotated,
    DetectionSet,
    TestImages,
    TrainingExamples,
    coco_objects,
)

H, W = 30, 44
CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 5}]
# Left, top, width, height; category; crowd.
OBJECTS = {
    "b.png": [([3, 4, 10, 8], 2, 0), ([20, 10, 22, 19], 9, 0), ([0, 0, 44, 3], 5, 1)],
    "a.png": [([40, 2, 4, 28], 5, 0)],
    "sub/c.png": [([5, 5, 30, 20], 9, 1)],
    "d.png": [],
}
IDENTITIES = {"b.png": 30, "a.png": 7, "sub/c.png": 12, "d.png": 1}


def colour(number):
    """Of an image's object: none is another's, nor the background's."""
    return 60 * (number + 1)


def content():
    """A COCO file; objects are rectangles without their upper left quarter."""
    found = {
        "images": [
            {"id": IDENTITIES[name], "file_name": name, "height": H, "width": W} for name in OBJECTS
        ],
        "annotations": [],
        "categories": CATEGORIES,
    }
    for name, own in OBJECTS.items():
        for (x, y, w, h), category, crowd in own:
            polygon = [x + w // 2, y, x + w, y, x + w, y + h, x, y + h, x, y + h // 2]
            polygon += [x + w // 2, y + h // 2]
            found["annotations"].append(
                {
                    "id": len(found["annotations"]) + 1,
                    "image_id": IDENTITIES[name],
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "segmentation": [polygon],
                    "area": w * h - (w // 2) * (h // 2),
                    "iscrowd": crowd,
                }
            )
    # Their ids alone say in which order they are.
    found["annotations"].reverse()
    return found


def shape_of(x, y, w, h):
    mask = np.zeros((H, W), bool)
    mask[y : y + h, x : x + w] = True
    mask[y : y + h // 2, x : x + w // 2] = False
    return mask


@pytest.fixture
def coco(tmp_path, write_image):
    """Folder and annotations; each object is painted in its colour."""
    for name, own in OBJECTS.items():
        pixels = np.zeros((H, W, 3), np.uint8)
        for number, (box, _, _) in enumerate(own):
            pixels[shape_of(*box)] = colour(number)
        write_image(tmp_path / name, pixels)
    return write_annotations(tmp_path, content())


def write_annotations(folder, annotations):
    path = folder / "instances.json"
    path.write_text(json.dumps(annotations))
    return folder, path


class TestCocoObjects:
    def test_what_the_file_says(self, coco):
        folder, path = coco
        found = coco_objects(folder, path)
        assert found.classes == ("dog", "cat", "5")
        sizes = "".join(str((folder / name).stat().st_size) for name in sorted(OBJECTS))
        annotations = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = hashlib.sha256((annotations + sizes).encode()).hexdigest()
        assert found.digest == expected
        assert [image.path for image in found.images] == [folder / name for name in sorted(OBJECTS)]
        numbers = {c["id"]: number for number, c in enumerate(CATEGORIES, start=1)}
        for image in found.images:
            name = image.path.relative_to(folder).as_posix()
            own = OBJECTS[name]
            assert image.identity == IDENTITIES[name]
            corners = [(x, y, x + w, y + h) for (x, y, w, h), _, _ in own]
            np.testing.assert_array_equal(image.boxes, np.array(corners).reshape(-1, 4))
            assert image.boxes.dtype == np.float32
            assert image.labels.tolist() == [numbers[category] for _, category, _ in own]
            assert image.labels.dtype == np.int64
            assert image.ignored.tolist() == [crowd == 1 for _, _, crowd in own]
            assert image.ignored.dtype == bool
            for outline, (box, _, _) in zip(image.outlines, own, strict=True):
                np.testing.assert_array_equal(outline.mask(), shape_of(*box))

    def test_an_image_that_is_not_there(self, coco, refused):
        folder, path = coco
        (folder / "sub/c.png").unlink()
        with refused("image (of", "instances.json", "sub/c.png does not exist"):
            coco_objects(folder, path)

    def test_annotations_that_are_not_there(self, coco, refused):
        folder, _ = coco
        with refused("annotations", "nowhere.json does not exist"):
            coco_objects(folder, folder / "nowhere.json")

    @pytest.mark.parametrize(
        "change",
        [
            {"bbox": None},
            {"bbox": [1, 2, 3]},
            {"bbox": {"x": 1}},
            {"bbox": [1, 2, "wide", 3]},
            {"bbox": [1, 2, None, 3]},
            {"category_id": 3},
        ],
    )
    def test_an_annotation_that_cannot_be_used(self, change, coco, refused):
        folder, path = coco
        annotations = content()
        annotations["annotations"][1] |= change
        write_annotations(folder, annotations)
        with refused("instances.json", f"annotation {annotations['annotations'][1]['id']}"):
            coco_objects(folder, path)

    @pytest.mark.parametrize("change", [{"segmentation": None}, {"segmentation": 3}, {}])
    def test_an_annotation_without_a_mask(self, change, coco, refused):
        folder, path = coco
        annotations = content()
        del annotations["annotations"][1]["segmentation"]
        annotations["annotations"][1] |= change
        write_annotations(folder, annotations)
        number = annotations["annotations"][1]["id"]
        with refused("instances.json", f"annotation {number} has no 'segmentation'"):
            coco_objects(folder, path)

    @pytest.mark.parametrize("box", [[W, 2, 5, 5], [2, H, 5, 5], [-20, 2, 5, 5]])
    def test_a_box_outside_of_its_image(self, box, coco, refused):
        folder, path = coco
        annotations = content()
        annotations["annotations"][1]["bbox"] = box
        write_annotations(folder, annotations)
        with refused("instances.json", f"annotation {annotations['annotations'][1]['id']}"):
            coco_objects(folder, path)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            # The object reaches from 20, 10 to 42, 29.
            ({"bbox": [5, 2, 38, 28]}, None),
            (
                {"bbox": [1, 2, 3, 4]},
                "image b.png: its 'bbox' reaches from 1, 2 to 4, 6 (x, y), but",
            ),
            ({"bbox": [20 / W, 10 / H, 22 / W, 19 / H]}, "it looks like fractions of the image"),
            ({"segmentation": []}, "has no outline"),
            ({"segmentation": [[21, 11, 22, 12]]}, "has no outline"),
            ({"segmentation": [[0, 0, 3, 0, 3, 3]]}, "but its outline from 0, 0 to 3, 3"),
        ],
    )
    def test_a_box_is_where_its_outline_is(self, change, told, coco, refused):
        """But for the parts of an object that something hides."""
        folder, path = coco
        annotations = content()
        (annotation,) = (a for a in annotations["annotations"] if a["bbox"] == [20, 10, 22, 19])
        annotation |= {"bbox": [20, 10, 22, 19]} | change
        write_annotations(folder, annotations)
        image = coco_objects(folder, path).images[1]
        assert image.path.name == "b.png"
        if told is None:
            image.check()
        else:
            with refused("instances.json", f"annotation {annotation['id']}", told):
                image.check()

    def test_two_categories_of_one_name(self, coco, refused):
        """Metrics of classes go by name."""
        folder, path = coco
        annotations = content()
        annotations["categories"] = [*CATEGORIES[:2], {"id": 5, "name": "dog"}]
        write_annotations(folder, annotations)
        with refused("categories 9 and 5 are both named", "dog"):
            coco_objects(folder, path)

    @pytest.mark.parametrize("name", [True, [], {}, 1.5])
    def test_a_name_of_a_category_that_is_none(self, name, coco, refused):
        folder, path = coco
        annotations = content()
        annotations["categories"] = [{"id": 9, "name": name}, *CATEGORIES[1:]]
        write_annotations(folder, annotations)
        with refused("'name' of category 9 is"):
            coco_objects(folder, path)

    def test_names_as_windows_writes_them(self, coco):
        folder, path = coco
        expected = coco_objects(folder, path)
        annotations = content()
        for entry in annotations["images"]:
            entry["file_name"] = ".\\" + entry["file_name"].replace("/", "\\")
        write_annotations(folder, annotations)
        found = coco_objects(folder, path)
        assert {i.path for i in found.images} == {i.path for i in expected.images}
        for image in found.images:
            image.check()

    @pytest.mark.parametrize("name", ["x" * 3000, "a\nb.png", "a\0.png", "\ud800.png"])
    def test_names_that_no_file_can_have(self, name, coco, refused):
        folder, path = coco
        annotations = content()
        annotations["images"][0]["file_name"] = name
        write_annotations(folder, annotations)
        with refused("image (of", "does not exist"):
            coco_objects(folder, path)

    def test_a_box_that_is_out_by_rounding_is_none(self, coco):
        folder, path = coco
        annotations = content()
        annotations["annotations"][1]["bbox"] = [0.0, 0.0, W + 0.004, H + 0.004]
        write_annotations(folder, annotations)
        assert len(coco_objects(folder, path).images) == len(OBJECTS)

    def test_ids_of_images_that_are_words(self, coco, refused):
        """Other parts take them; here they are numbers."""
        folder, path = coco
        annotations = content()
        for entry in (*annotations["images"], *annotations["annotations"]):
            key = "image_id" if "image_id" in entry else "id"
            entry[key] = f"image {entry[key]}"
        write_annotations(folder, annotations)
        with refused("instances.json"):
            coco_objects(folder, path)

    def test_a_mask_that_cannot_be_decoded(self, coco, refused):
        folder, path = coco
        annotations = content()
        annotations["annotations"][0]["segmentation"] = {"size": [H, W], "counts": [5]}
        write_annotations(folder, annotations)
        (image,) = (i for i in coco_objects(folder, path).images if i.identity == 12)
        with refused("instances.json", "image sub/c.png, cannot be decoded"):
            image.outlines[0].mask()


def mirrored(examples, position, epoch, original):
    """Whether an example's image is the mirror image of a file."""
    pixels = examples[epoch, position]["image"]
    if np.array_equal(pixels, original[:, ::-1]):
        return True
    np.testing.assert_array_equal(pixels, original)
    return False


def painted(own):
    image = np.zeros((H, W, 3), np.uint8)
    for number, (box, _, _) in enumerate(own):
        image[shape_of(*box)] = colour(number)
    return image


class TestTrainingExamples:
    @pytest.mark.parametrize(
        ("ignored", "kept"), [(False, ["a.png", "b.png"]), (True, ["a.png", "b.png", "sub/c.png"])]
    )
    def test_crowds_and_images_without_objects_are_left_out(self, ignored, kept, coco):
        examples = TrainingExamples(coco_objects(*coco), 0, ignored)
        assert len(examples) == len(kept)
        numbers = {c["id"]: number for number, c in enumerate(CATEGORIES, start=1)}
        for position, name in enumerate(kept):
            own = [o for o in OBJECTS[name] if ignored or not o[2]]
            example = examples[0, position]
            assert example["name"] == str(coco[0] / name)
            assert example["labels"].tolist() == [numbers[category] for _, category, _ in own]
            assert {k: v.dtype for k, v in example.items() if k != "name"} == {
                "image": np.uint8,
                "boxes": np.float32,
                "labels": np.int64,
                "masks": np.uint8,
            }
            assert example["image"].shape == (H, W, 3)
            assert example["boxes"].shape == (len(own), 4)
            assert example["masks"].shape == (len(own), H, W)

    @pytest.mark.parametrize("ignored", [False, True])
    def test_image_boxes_and_masks_are_mirrored_together(self, ignored, coco):
        examples = TrainingExamples(coco_objects(*coco), 3, ignored)
        ways = set()
        for epoch in range(12):
            for position, name in enumerate(["a.png", "b.png"]):
                ways.add(mirrored(examples, position, epoch, painted(OBJECTS[name])))
                example = examples[epoch, position]
                image = example["image"][..., 0]
                kept = [n for n, (_, _, crowd) in enumerate(OBJECTS[name]) if ignored or not crowd]
                for number, mask, box in zip(kept, example["masks"], example["boxes"], strict=True):
                    np.testing.assert_array_equal(mask, image == colour(number))
                    rows, cols = np.nonzero(image == colour(number))
                    edges = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
                    np.testing.assert_array_equal(box, edges)
        assert ways == {False, True}

    def test_mirroring_depends_on_seed_epoch_and_position_alone(self, coco):
        images = coco_objects(*coco)
        keys = [(epoch, position) for epoch in range(40) for position in range(2)]
        files = [painted(OBJECTS[name]) for name in ("a.png", "b.png")]

        def ways(seed, order):
            examples = TrainingExamples(images, seed, False)
            drawn = {(e, p): mirrored(examples, p, e, files[p]) for e, p in order}
            return [drawn[key] for key in keys]

        found = ways(0, keys)
        assert 25 < sum(found) < 55
        assert ways(0, keys[::-1]) == found
        assert ways(1, keys) != found
        assert found[::2] != found[1::2]

    def test_images_without_masks(self, coco, write_image):
        folder, _ = coco
        boxes = np.array([[3, 4, 13, 12], [20, 10, 42, 29]], np.float32)
        image = Annotated(folder / "b.png", 1, boxes, np.array([1, 2]), np.array([False, True]))
        images = DetectionSet((image,), ("x", "y"), "")
        example = TrainingExamples(images, 0, True)[0, 0]
        assert set(example) == {"image", "boxes", "labels", "name"}
        if mirrored(TrainingExamples(images, 0, True), 0, 0, painted(OBJECTS["b.png"])):
            boxes = np.array([[W - r, t, W - x, b] for x, t, r, b in boxes])
        np.testing.assert_array_equal(example["boxes"], boxes)
        assert TrainingExamples(images, 0, False)[0, 0]["labels"].tolist() == [1]

    def test_boxes_without_area_are_left_out(self, coco):
        folder, path = coco
        annotations = content()
        by_id = {a["id"]: a for a in annotations["annotations"]}
        by_id[1]["bbox"][2] = 0
        # The right edge of a mirrored one would be its left edge.
        by_id[4]["bbox"][2] = 1e-5
        write_annotations(folder, annotations)
        examples = TrainingExamples(coco_objects(folder, path), 0, False)
        assert len(examples) == 1
        example = examples[0, 0]
        assert example["labels"].tolist() == [1]
        assert example["masks"].sum() == shape_of(*OBJECTS["b.png"][1][0]).sum()

    def test_no_image_has_an_object(self, coco, refused):
        found = coco_objects(*coco)
        crowd = DetectionSet(found.images[2:], found.classes, found.digest, found.truth)
        assert [image.path.name for image in crowd.images] == ["d.png", "c.png"]
        with refused("no image for training has an object"):
            TrainingExamples(crowd, 0, False)
        assert len(TrainingExamples(crowd, 0, True)) == 1

    def test_an_image_of_another_size_is_named(self, coco, write_image):
        folder, path = coco
        write_image(folder / "a.png", (W, H))
        found = TrainingExamples(coco_objects(folder, path), 0, False)[0, 0]
        assert isinstance(found, InputError)
        message = str(found)
        assert "\n" not in message
        assert f"image {folder / 'a.png'} has {W} x {H} pixels (height x width, upright)" in message
        assert f"its annotations {H} x {W}" in message

    def test_bad_input_comes_back(self, coco):
        folder, path = coco
        examples = TrainingExamples(coco_objects(folder, path), 0, False)
        (folder / "a.png").write_bytes(b"no picture")
        (folder / "b.png").unlink()
        for position, told in ((0, "a.png cannot be decoded"), (1, "b.png cannot be read")):
            found = examples[0, position]
            assert isinstance(found, InputError)
            assert told in str(found)


class TestChecks:
    """What training or scoring would find, from the headers of files."""

    def test_sound_annotations(self, coco):
        for image in coco_objects(*coco).images:
            image.check()

    @pytest.mark.parametrize("size", [(W, H), (2 * H, 2 * W), (H, W + 1)])
    def test_a_picture_of_another_size(self, size, coco, write_image, refused):
        """Larger, too: all boxes would lie in it, and no mask would fit."""
        folder, path = coco
        write_image(folder / "a.png", size)
        image = coco_objects(folder, path).images[0]
        with refused("a.png has", f"its annotations {H} x {W}"):
            image.check()
        found = TestImages(coco_objects(folder, path), 0, 1)[0]
        assert isinstance(found, InputError)

    def test_boxes_beyond_a_picture_whose_size_is_not_told(self, coco, refused):
        folder, _ = coco
        boxes = np.array([[0, 0, W + 1, H], [0, 0, W + 1.5, 3]], np.float32)
        labels, ignored = np.array([1, 1]), np.zeros(2, bool)
        Annotated(folder / "a.png", 1, boxes[:1], labels[:1], ignored[:1]).check()
        with refused("an object that reaches to"):
            Annotated(folder / "a.png", 1, boxes, labels, ignored).check()

    def test_a_mask_that_cannot_be_decoded(self, coco, refused):
        folder, _ = coco
        annotations = content()
        annotations["annotations"][-1]["segmentation"] = {"size": [H, W], "counts": [5]}
        images = coco_objects(*write_annotations(folder, annotations)).images
        with refused("annotation 1, image b.png, cannot be decoded"):
            images[1].check()


class TestShares:
    @pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6])
    def test_ranks_share_all_images(self, ranks, coco):
        images = coco_objects(*coco)
        shares = [TestImages(images, rank, ranks) for rank in range(ranks)]
        seen = [share[number] for share in shares for number in range(len(share))]
        assert sorted(example["position"] for example in seen) == list(range(len(OBJECTS)))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        for example in seen:
            name = sorted(OBJECTS)[example["position"]]
            assert example["image"].dtype == np.uint8
            np.testing.assert_array_equal(example["image"], painted(OBJECTS[name]))

    def test_a_smaller_image_is_named(self, coco, write_image):
        """Its boxes lie outside: annotations of other images, or images that were shrunk."""
        images = coco_objects(*coco)
        write_image(coco[0] / "a.png", (H // 2, W // 2))
        found = TestImages(images, 0, 1)[0]
        assert isinstance(found, InputError)
        assert f"a.png has {H // 2} x {W // 2} pixels" in str(found)

    def test_bad_input_comes_back(self, coco):
        images = coco_objects(*coco)
        (coco[0] / "b.png").write_bytes(b"")
        found = TestImages(images, 1, 4)[0]
        assert isinstance(found, InputError)
        assert "b.png cannot be decoded" in str(found)


def test_examples_are_arrays(coco):
    """From a loader process each tensor would take a file descriptor, and there are many."""
    images = coco_objects(*coco)
    for example in (TrainingExamples(images, 0, False)[0, 0], TestImages(images, 0, 1)[0]):
        assert not any(isinstance(value, torch.Tensor) for value in example.values())
