"""Average precision: VOC's of lines of text by its rule, COCO's by pycocotools called on files."""

import contextlib
import io
import json
import tempfile
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cyborgs.common.errors import InputError
from cyborgs.evaluation.average_precision import (
    Detections,
    coco_ap,
    iou,
    voc_ap,
    voc_class_ap,
    written,
)
from cyborgs.evaluation.data.detection import Annotated, DetectionSet, coco_objects

H, W = 60, 80
REAL = Path(__file__).resolve().parents[2].parent / "shared/data/coco"
COCO_NAMES = ("ap", "ap50", "ap75", "mask_ap", "mask_ap50", "mask_ap75")
VOC_NAMES = ("voc_ap", "voc_ap50", "voc_ap75")


# Boxes of whole pixels, counted from 1, the last one inside: xmin, ymin, xmax, ymax.


def coco_metrics(images, found):
    return {k: v for k, v in coco_ap(images, found).items() if k in COCO_NAMES}


def voc_metrics(images, found):
    return {k: v for k, v in voc_ap(images, found).items() if k in VOC_NAMES}


def pixel_iou(a, b):
    def area(box):
        return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)

    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return Fraction(0)
    shared = width * height
    return Fraction(shared, area(a) + area(b) - shared)


def line(image, score, box):
    """A line of VOC's results as Detectron2 writes it; the box is float32 edges."""
    left, top, right, bottom = box
    left, top = left + np.float32(1), top + np.float32(1)
    return f"{image} {score:.3f} {left:.1f} {top:.1f} {right:.1f} {bottom:.1f}"


def evaluated(truths, lines, percent):
    """The rule of Detectron2's evaluator, in exact fractions.

    ``truths``: of each image, pairs of a box and whether it is difficult.
    """
    objects = sum(not difficult for image in truths for _, difficult in image)
    found = []
    for text in lines:
        image, *numbers = text.split(" ")
        score, *box = map(Fraction, numbers)
        found.append((int(image), score, box))
    detected = set()
    right = wrong = 0
    curve = []
    for image, _, box in sorted(found, key=lambda d: d[1], reverse=True):
        most, which = Fraction(-1), None
        for number, (other, _) in enumerate(truths[image]):
            if pixel_iou(box, other) > most:
                most, which = pixel_iou(box, other), number
        if most > Fraction(percent, 100):
            if truths[image][which][1]:
                continue
            if (image, which) in detected:
                wrong += 1
            else:
                right += 1
                detected.add((image, which))
        else:
            wrong += 1
        curve.append((right / objects, right / (right + wrong)))
    levels = [
        max((p for recall, p in curve if recall >= level), default=0)
        for level in np.arange(0.0, 1.1, 0.1)
    ]
    return sum(levels) / 11


def random_box(rng, smallest=2, largest=14):
    width, height = rng.integers(smallest, largest + 1, 2)
    left, top = rng.integers(1, W - width + 2), rng.integers(1, H - height + 2)
    return tuple(int(v) for v in (left, top, left + width - 1, top + height - 1))


def shaken(rng, box, most=2):
    left, top, right, bottom = np.array(box) + rng.integers(-most, most + 1, 4)
    return int(left), int(top), int(max(left, right)), int(max(top, bottom))


def edges(boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    boxes[:, :2] -= 1
    return boxes


def random_case(seed, images=14, classes=3):
    """Objects ``(class, box, difficult)`` and detections ``(class, score, box)`` of each image."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for _ in range(images):
        own = [
            (int(rng.integers(1, classes + 1)), random_box(rng), bool(rng.random() < 0.3))
            for _ in range(rng.integers(0, 7))
        ]
        guesses = [
            (label if rng.random() < 0.9 else int(rng.integers(1, classes + 1)), shaken(rng, box))
            for label, box, _ in own
            for _ in range(rng.integers(0, 4))
        ]
        guesses += [(int(rng.integers(1, classes + 1)), random_box(rng)) for _ in range(2)]
        objects.append(own)
        found.append(guesses)
    # No score occurs twice.
    scores = iter(rng.permutation(sum(map(len, found))) / 1000)
    return objects, [[(label, float(next(scores)), box) for label, box in own] for own in found]


def annotated(objects):
    images = [
        Annotated(
            path=Path(f"{number}.jpg"),
            identity=number,
            boxes=edges([box for _, box, _ in own]),
            labels=np.array([label for label, _, _ in own], np.int64),
            ignored=np.array([difficult for _, _, difficult in own], bool),
        )
        for number, own in enumerate(objects, start=1)
    ]
    return DetectionSet(tuple(images), ("cat", "dog", "bird"), "")


def detections(found):
    return [
        Detections(
            boxes=edges([box for _, _, box in own]),
            scores=np.array([score for _, score, _ in own]),
            labels=np.array([label for label, _, _ in own], np.int64),
        )
        for own in found
    ]


def inexact(found, seed):
    """Detections with boxes and scores of many digits; several scores are written alike."""
    rng = np.random.default_rng(seed)
    return [
        Detections(
            boxes=d.boxes + rng.normal(0, 0.3, d.boxes.shape).astype(np.float32),
            scores=rng.uniform(0.05, 0.12, len(d.scores)).astype(np.float32),
            labels=d.labels,
        )
        for d in found
    ]


def of_class(objects, found, label):
    """As `evaluated` takes them."""
    truths = [
        [(box, difficult) for which, box, difficult in own if which == label] for own in objects
    ]
    lines = [
        line(image, score, box)
        for image, own in enumerate(found)
        for which, score, box in zip(own.labels, own.scores.tolist(), own.boxes, strict=True)
        if which == label
    ]
    return truths, lines


def perfect(objects):
    """A detection on every object that counts."""
    score = iter(np.linspace(0.9, 0.1, 1000))
    return [
        [(label, float(next(score)), box) for label, box, difficult in own if not difficult]
        for own in objects
    ]


class TestVoc:
    def test_overlaps_are_those_of_whole_pixels(self):
        rng = np.random.default_rng(0)
        boxes = [random_box(rng, 1, 40) for _ in range(200)]
        found = iou(np.array(boxes[0]), np.array(boxes))
        np.testing.assert_allclose(
            found, [float(pixel_iou(boxes[0], b)) for b in boxes], rtol=1e-12
        )
        assert found[0] == 1
        assert (found == 0).any()

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(
        st.floats(0, 1, width=32),
        st.lists(st.floats(0, 2000, width=32), min_size=4, max_size=4),
        st.integers(-8000, 8000),
    )
    def test_what_is_written_is_read_again(self, score, box, half):
        # Halves of the last digit that count, and numbers without any.
        boxes = np.array([box, [half / 8, 0.25, 0.75, half / 4]], np.float32)
        scores = np.array([score, 0.0625], np.float32)
        found = written(Detections(boxes=boxes, scores=scores, labels=np.array([1, 2])))
        for number in range(2):
            text = line(7, scores.tolist()[number], boxes[number])
            numbers = [float(part) for part in text.split(" ")[1:]]
            assert [found.scores[number], *found.boxes[number]] == numbers
        assert found.labels.tolist() == [1, 2]

    @pytest.mark.parametrize("exact", [True, False])
    @pytest.mark.parametrize("seed", range(6))
    def test_a_class_by_the_rule_of_the_evaluator(self, seed, exact):
        objects, found = random_case(seed)
        images, found = annotated(objects).images, detections(found)
        if not exact:
            found = inexact(found, seed)
        lines = [written(own) for own in found]
        for label in (1, 2, 3):
            theirs = of_class(objects, found, label)
            for percent in range(50, 100, 5):
                assert voc_class_ap(images, lines, label, percent / 100) == pytest.approx(
                    evaluated(*theirs, percent), abs=1e-12
                )

    def test_what_is_not_written_does_not_count(self):
        """Rounding changes metrics here, or the tests above would show nothing."""
        objects, found = random_case(0)
        images, found = annotated(objects).images, inexact(detections(found), 0)
        bare = [replace(own, boxes=own.boxes + np.float32([1, 1, 0, 0])) for own in found]
        assert any(
            voc_class_ap(images, [written(own) for own in found], label, 0.5)
            != voc_class_ap(images, bare, label, 0.5)
            for label in (1, 2, 3)
        )

    @pytest.mark.parametrize("seed", range(3))
    def test_means_over_classes_and_thresholds(self, seed):
        objects, found = random_case(seed)
        found = inexact(detections(found), seed)
        expected = np.array(
            [
                [evaluated(*of_class(objects, found, label), p) for p in range(50, 100, 5)]
                for label in (1, 2, 3)
            ]
        )
        assert 0 < expected.mean() < 1
        scores = voc_metrics(annotated(objects), found)
        assert set(scores) == set(VOC_NAMES)
        assert scores["voc_ap"] == pytest.approx(expected.mean(), abs=1e-12)
        assert scores["voc_ap50"] == pytest.approx(expected[:, 0].mean(), abs=1e-12)
        assert scores["voc_ap75"] == pytest.approx(expected[:, 5].mean(), abs=1e-12)
        of_each = voc_ap(annotated(objects), found)["voc_classes"]
        assert list(of_each.values()) == pytest.approx(expected[:, 0].tolist(), abs=1e-12)

    @pytest.mark.parametrize("percent", range(50, 100, 5))
    def test_an_overlap_that_just_reaches_the_threshold_is_wrong(self, percent):
        images = annotated([[(1, (1, 1, 100, 1), False)]]).images
        exceeds, reaches = (
            [written(own) for own in detections([[(1, 0.5, (1, 1, width, 1))]])]
            for width in (percent + 1, percent)
        )
        assert voc_class_ap(images, exceeds, 1, percent / 100) == pytest.approx(1)
        assert voc_class_ap(images, reaches, 1, percent / 100) == 0

    def test_three_of_ten_do_not_reach_a_recall_of_three_tenths(self):
        objects = [[(1, (1, 1, 20, 20), False)] for _ in range(10)]
        found = [[(1, 0.5, (1, 1, 20, 20))] if n < 3 else [] for n in range(10)]
        lines = [written(own) for own in detections(found)]
        ap = voc_class_ap(annotated(objects).images, lines, 1, 0.5)
        assert ap == pytest.approx(3 / 11)

    def test_a_class_without_objects_is_left_out_of_the_mean(self):
        objects = [[(1, (1, 1, 10, 10), False), (3, (20, 20, 30, 30), True)]]
        found = [[(1, 0.9, (1, 1, 10, 10)), (2, 0.8, (1, 1, 10, 10)), (3, 0.7, (1, 1, 9, 9))]]
        scores = voc_metrics(annotated(objects), detections(found))
        assert scores == pytest.approx(dict.fromkeys(VOC_NAMES, 1.0))


class TestPerfectAndEmpty:
    def test_boxes(self):
        objects, _ = random_case(3)
        images, found = annotated(objects), detections(perfect(objects))
        assert coco_metrics(images, found) == pytest.approx(dict.fromkeys(COCO_NAMES[:3], 1.0))
        assert voc_metrics(images, found) == pytest.approx(dict.fromkeys(VOC_NAMES, 1.0))

    def test_nothing_found(self):
        objects, _ = random_case(3)
        images, found = annotated(objects), detections([[] for _ in objects])
        assert coco_metrics(images, found) == dict.fromkeys(COCO_NAMES[:3], 0.0)
        assert voc_metrics(images, found) == dict.fromkeys(VOC_NAMES, 0.0)

    def test_nothing_to_be_found(self):
        objects = [[(1, (1, 1, 10, 10), True)], []]
        found = detections([[(1, 0.9, (1, 1, 10, 10))], [(2, 0.8, (5, 5, 9, 9))]])
        assert coco_metrics(annotated(objects), found) == dict.fromkeys(COCO_NAMES[:3], 0.0)
        assert voc_metrics(annotated(objects), found) == dict.fromkeys(VOC_NAMES, 0.0)

    def test_boxes_and_masks_of_a_coco_file(self, tmp_path):
        images = coco_objects(*write_coco(tmp_path, random_coco(0)[0]))
        found = []
        for image in images.images:
            counted = ~image.ignored
            found.append(
                Detections(
                    boxes=image.boxes[counted],
                    scores=np.linspace(0.9, 0.5, counted.sum()),
                    labels=image.labels[counted],
                    masks=encoded(np.stack([o.mask() for o in image.outlines])[counted]),
                )
            )
        assert coco_metrics(images, found) == pytest.approx(dict.fromkeys(COCO_NAMES, 1.0))
        none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        scores = coco_metrics(images, [none] * len(images.images))
        assert scores == dict.fromkeys(COCO_NAMES, 0.0)


class TestIgnored:
    @pytest.mark.parametrize("score", [coco_metrics, voc_metrics])
    def test_they_count_neither_way(self, score):
        objects = [
            [(1, (1, 1, 20, 20), False), (1, (40, 30, 70, 50), True)],
            [(1, (11, 11, 30, 40), False), (2, (50, 5, 60, 15), False)],
        ]
        images, found = annotated(objects), perfect(objects)
        right = pytest.approx(dict.fromkeys(score(images, detections(found)), 1.0))
        assert score(images, detections(found)) == right
        # Ahead of all others, and twice.
        found[0] += [(1, 0.99, (40, 30, 70, 50)), (1, 0.98, (40, 30, 70, 49))]
        assert score(images, detections(found)) == right
        found[0][-1] = (2, 0.98, (40, 30, 70, 49))  # no object of this class is there
        assert max(score(images, detections(found)).values()) < 0.9


# A COCO file: category ids with gaps, images in another order than their names'.
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 21, "name": "bird"}]


def runs(mask):
    """Uncompressed run lengths, column by column."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], changes, [mask.size]])
    if bounds[-1] == bounds[-2]:
        bounds = bounds[:-1]
    return {"size": list(mask.shape), "counts": np.diff(bounds).tolist()}


def encoded(masks):
    return run_lengths.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))


def random_coco(seed, images=8):
    """Content of a COCO file, and results of both kinds, as JSON would have them."""
    rng = np.random.default_rng(seed)
    content = {
        "images": [
            {"id": 10 * i + 5, "file_name": f"{(5 * i) % images}.jpg", "height": H, "width": W}
            for i in range(images)
        ],
        "annotations": [],
        "categories": CATEGORIES,
    }
    results = []
    for image in content["images"]:
        for _ in range(rng.integers(1, 6)):
            left, top, right, bottom = random_box(rng, 5, 40)
            mask = np.zeros((H, W), bool)
            mask[top - 1 : bottom, left - 1 : right] = True
            box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
            kind = rng.random()
            crowd = kind < 0.2
            if kind > 0.6:
                x, y, width, height = box
                segmentation = [[x, y, x + width, y, x + width, y + height, x, y + height]]
            else:
                segmentation = runs(mask)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice([3, 7, 21])),
                    "bbox": box,
                    "area": int(mask.sum()),
                    "segmentation": segmentation,
                    "iscrowd": int(crowd),
                }
            )
            for _ in range(rng.integers(0, 3)):
                results.append(random_result(rng, content["annotations"][-1], mask))
    # Crowds are there, and more than one kind of mask.
    assert 0 < sum(a["iscrowd"] for a in content["annotations"]) < len(content["annotations"])
    assert {type(a["segmentation"]) for a in content["annotations"]} == {list, dict}
    for result, score in zip(results, rng.permutation(len(results)), strict=True):
        result["score"] = (int(score) + 1) / 128
    return content, results


def random_result(rng, annotation, mask):
    shift = rng.integers(-1, 2, 2)
    guess = np.roll(mask, shift, (0, 1)) & (rng.random(mask.shape) < rng.uniform(0.8, 1))
    code = run_lengths.encode(np.asfortranarray(guess, np.uint8))
    x, y, width, height = annotation["bbox"]
    right = rng.random() < 0.85
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"] if right else int(rng.choice([3, 7, 21])),
        "bbox": [int(x + shift[1]), int(y + shift[0]), int(width + rng.integers(0, 3)), height],
        "segmentation": {"size": list(mask.shape), "counts": code["counts"].decode()},
    }


def write_coco(folder, content):
    """Images without content, and annotations; gives their folder and the file of those."""
    for image in content["images"]:
        (folder / image["file_name"]).touch()
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return folder, path


def as_detections(images, results):
    """Results as a detector would give them, image by image."""
    numbers = {c["id"]: number for number, c in enumerate(CATEGORIES, start=1)}
    found = []
    for image in images.images:
        own = [r for r in results if r["image_id"] == image.identity]
        boxes = np.array([r["bbox"] for r in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found.append(
            Detections(
                boxes=boxes,
                scores=np.array([r["score"] for r in own], np.float32),
                labels=np.array([numbers[r["category_id"]] for r in own], np.int64),
                masks=[r["segmentation"] for r in own],
            )
        )
    return found


def by_pycocotools(folder, results, kind, categories=None, metrics=slice(3)):
    """Metrics of files of results (AP, AP50 and AP75), as pycocotools's demo has it."""
    keys = {"image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation"}
    path = folder / f"{kind}.json"
    path.write_text(json.dumps([{k: r[k] for k in keys} for r in results]))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "instances.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(path)), kind)
        if categories:
            evaluation.params.catIds = categories
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats[metrics])


def perfect_detections(images):
    """Of each object that counts, its own box and mask."""
    return [
        Detections(
            boxes=image.boxes[~image.ignored],
            scores=np.full((~image.ignored).sum(), 0.9),
            labels=image.labels[~image.ignored],
            masks=[
                outline.run_lengths()
                for outline, ignored in zip(image.outlines, image.ignored, strict=True)
                if not ignored
            ],
        )
        for image in images.images
    ]


def decoded(images):
    return [outline.mask() for image in images.images for outline in image.outlines]


class TestCoco:
    @pytest.mark.parametrize("seed", range(4))
    def test_boxes_and_masks_by_pycocotools_on_files(self, seed, tmp_path):
        content, results = random_coco(seed)
        images = coco_objects(*write_coco(tmp_path, content))
        scores = coco_metrics(images, as_detections(images, results))
        expected = [by_pycocotools(tmp_path, results, kind) for kind in ("bbox", "segm")]
        assert 0.05 < np.min(expected) < np.max(expected) < 1
        # By size, and of each class: pycocotools asked for that one alone.
        details = coco_ap(images, as_detections(images, results))
        for kind, prefix in (("bbox", ""), ("segm", "mask_")):
            sizes = [details[f"{prefix}ap_{name}"] for name in ("small", "medium", "large")]
            found = by_pycocotools(tmp_path, results, kind, metrics=slice(3, 6))
            assert [-1 if v is None else v for v in sizes] == pytest.approx(found)
            for category in content["categories"]:
                alone = by_pycocotools(tmp_path, results, kind, [category["id"]])[0]
                own = details[f"{prefix}classes"][category["name"]]
                assert (-1 if own is None else own) == pytest.approx(alone)
        assert scores == pytest.approx(dict(zip(COCO_NAMES, np.ravel(expected), strict=True)))

    def test_boxes_without_a_file_are_scored_as_with_one(self, tmp_path):
        content, results = random_coco(9)
        images = coco_objects(*write_coco(tmp_path, content))
        bare = DetectionSet(images.images, images.classes, images.digest)
        found = as_detections(images, results)
        expected = {name: coco_metrics(images, found)[name] for name in COCO_NAMES[:3]}
        assert coco_metrics(bare, found) == pytest.approx(expected)

    def test_it_prints_nothing(self, tmp_path, capfd):
        content, results = random_coco(1)
        images = coco_objects(*write_coco(tmp_path, content))
        coco_metrics(images, as_detections(images, results))
        assert capfd.readouterr() == ("", "")

    def test_scoring_leaves_the_annotations_as_they_were(self, tmp_path):
        content, results = random_coco(1)
        images = coco_objects(*write_coco(tmp_path, content))
        before = decoded(images)
        found = as_detections(images, results)
        assert coco_metrics(images, found) == coco_metrics(images, found)
        for mask, earlier in zip(decoded(images), before, strict=True):
            np.testing.assert_array_equal(mask, earlier)

    @pytest.mark.parametrize("missing", ["area", "iscrowd"])
    def test_a_key_that_scoring_needs_is_not_missed_after_training(self, missing, tmp_path):
        content, results = random_coco(2)
        for annotation in content["annotations"]:
            del annotation[missing]
        try:
            images = coco_objects(*write_coco(tmp_path, content))
        except InputError:
            return
        assert set(coco_metrics(images, as_detections(images, results))) == set(COCO_NAMES)

    @pytest.mark.parametrize("segmentation", [[], [[4, 4]]])
    def test_a_polygon_without_area_is_scored_as_it_is_read(self, segmentation, tmp_path):
        """It is an empty mask where masks are read."""
        content, results = random_coco(2)
        content["annotations"][0] |= {"segmentation": segmentation, "iscrowd": 0}
        images = coco_objects(*write_coco(tmp_path, content))
        first = next(i for i in images.images if i.identity == content["images"][0]["id"])
        assert not first.outlines[0].mask().any()
        assert set(coco_metrics(images, as_detections(images, results))) == set(COCO_NAMES)

    def test_annotations_of_images_that_are_not_there_are_left_out(self, tmp_path):
        """As in a part of a data set whose images alone were chosen."""
        content, results = random_coco(2)
        images = coco_objects(*write_coco(tmp_path, content))
        expected = coco_metrics(images, as_detections(images, results))
        other = content["annotations"][0] | {"id": 10**6, "image_id": 10**6}
        content["annotations"].append(other)
        images = coco_objects(*write_coco(tmp_path, content))
        assert coco_metrics(images, as_detections(images, results)) == expected

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.randoms(use_true_random=False))
    def test_ids_of_annotations_count_for_nothing(self, draw):
        """pycocotools finds objects by their ids, and takes 0 for none."""
        with tempfile.TemporaryDirectory() as folder:
            content, results = random_coco(3)
            images = coco_objects(*write_coco(Path(folder), content))
            expected = coco_metrics(images, as_detections(images, results))
            ids = [0, 0, 1, 2, -1, -2, 7.0, "7", "x", None, 2.5, True]
            for annotation in content["annotations"]:
                annotation["id"] = draw.choice(ids)
                if draw.random() < 0.1:
                    del annotation["id"]
            draw.shuffle(content["annotations"])
            images = coco_objects(*write_coco(Path(folder), content))
            assert coco_metrics(images, as_detections(images, results)) == pytest.approx(expected)
            assert coco_metrics(images, perfect_detections(images)) == pytest.approx(
                dict.fromkeys(COCO_NAMES, 1.0)
            )

    @pytest.mark.parametrize("ids", ["from 0", "from 1 in each image", "0 alone"])
    @pytest.mark.skipif(not REAL.is_dir(), reason="no COCO images beside the repository")
    def test_perfect_detections_of_photographs(self, ids, tmp_path):
        content = json.loads((REAL / "annotations/instances_val2017.json").read_text())
        of_image = Counter()
        for number, annotation in enumerate(content["annotations"]):
            of_image[annotation["image_id"]] += 1
            annotation["id"] = {
                "from 0": number,
                "from 1 in each image": of_image[annotation["image_id"]],
                "0 alone": 0,
            }[ids]
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        images = coco_objects(REAL / "val2017", path)
        assert len(images.images) >= 100
        assert coco_metrics(images, perfect_detections(images)) == pytest.approx(
            dict.fromkeys(COCO_NAMES, 1.0)
        )

    @pytest.mark.parametrize("split", ["train2017", "val2017"])
    @pytest.mark.skipif(not REAL.is_dir(), reason="no COCO images beside the repository")
    def test_annotations_of_photographs_are_sound(self, split):
        images = coco_objects(REAL / split, REAL / f"annotations/instances_{split}.json")
        for image in images.images:
            image.check()
        images.truth.for_scoring()

    @pytest.mark.parametrize("area", [None, "missing"])
    def test_areas_that_are_missing_are_those_of_masks(self, area, tmp_path):
        content, _ = random_coco(2)
        expected = coco_objects(*write_coco(tmp_path, content)).truth.for_scoring()
        for annotation in content["annotations"]:
            annotation["area"] = area
            if area == "missing":
                del annotation["area"]
        found = coco_objects(*write_coco(tmp_path, content)).truth.for_scoring()
        assert [a["area"] for a in found.dataset["annotations"]] == [
            a["area"] for a in expected.dataset["annotations"]
        ]

    @pytest.mark.parametrize("area", [0, 0.5, 1])
    def test_areas_in_fractions_of_the_image(self, area, tmp_path, refused):
        content, _ = random_coco(2)
        for annotation in content["annotations"]:
            annotation["area"] = area
        images = coco_objects(*write_coco(tmp_path, content))
        with refused("instances.json", f"no 'area' is larger than {area}"):
            images.truth.for_scoring()
        # One object may be small.
        content["annotations"][0]["area"] = 25
        coco_objects(*write_coco(tmp_path, content)).truth.for_scoring()

    def test_outlines_that_enclose_no_pixel(self, tmp_path, refused):
        """As corners of boxes do; a few slivers do so too."""
        content, _ = random_coco(2)
        own = [a for a in content["annotations"] if not a["iscrowd"]]
        for number, annotation in enumerate(own):
            x, y, width, height = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + width, y + height]]
            images = coco_objects(*write_coco(tmp_path, content))
            if 10 * (number + 1) > len(own):
                with refused(f"the outlines of {number + 1} of {len(own)} objects enclose no"):
                    images.truth.for_scoring()
            else:
                images.truth.for_scoring()

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"area": True}, "'area' of annotation 1 is true"),
            ({"area": -1}, "'area' of annotation 1 is -1"),
            ({"area": 10**400}, "'area' of annotation 1 is 1"),
            # pycocotools would count it no more.
            ({"area": 1.1e10}, "'area' of annotation 1 is 11000000000.0"),
            ({"area": "100"}, "'area' of annotation"),
            ({"segmentation": [["x"] * 6]}, "cannot be decoded"),
            ({"segmentation": {"size": [2, 2], "counts": [4]}}, "run lengths of"),
        ],
    )
    def test_what_cannot_be_scored_is_told_when_asked(self, change, told, tmp_path, refused):
        content, _ = random_coco(2)
        content["annotations"][0] |= change
        images = coco_objects(*write_coco(tmp_path, content))
        with refused("instances.json", told):
            images.truth.for_scoring()
