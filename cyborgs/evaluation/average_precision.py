"""Average precision of detections: COCO's, by pycocotools, and PASCAL VOC's own."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cyborgs.evaluation.data.detection import Annotated, DetectionSet


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in an image.

    Attributes:
        boxes: float ``(n, 4)``: left, top, right and bottom edge, in pixels.
        scores: float ``(n,)``.
        labels: integer ``(n,)``, from 1.
        masks: run lengths as pycocotools has them, one each, where there are any.
    """

    boxes: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
    masks: Sequence[dict[str, Any]] | None = None


def coco_ap(images: DetectionSet, found: Sequence[Detections]) -> dict[str, Any]:
    """COCO's average precision in 0 … 1: ``ap``, ``ap50`` and ``ap75`` of boxes; of masks, where
    there are any, as ``mask_ap`` and so on.

    Also ``ap_small``, ``ap_medium`` and ``ap_large``, of objects of less than 32 and of 96 pixels
    squared and of larger ones, and ``classes``, the ``ap`` of each by name; None where there is
    no such object.  Objects that are ignored count neither way.

    Args:
        images: what is there.
        found: for each image, in the same order.
    """
    # pycocotools reports its progress on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco(images) if images.truth is None else images.truth.for_scoring()
        scores = _coco_scores(truth, images, found, kind="bbox", prefix="")
        if images.truth is not None:
            scores |= _coco_scores(truth, images, found, kind="segm", prefix="mask_")
    return scores


def _coco_scores(
    truth: COCO, images: DetectionSet, found: Sequence[Detections], *, kind: str, prefix: str
) -> dict[str, Any]:
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    categories = [c["id"] for c in truth.dataset["categories"]]
    results = [
        {
            "image_id": image.identity,
            "category_id": categories[label - 1],
            "score": float(score),
            **_shape(detections, number, kind),
        }
        for image, detections in zip(images.images, found, strict=True)
        for number, (score, label) in enumerate(
            zip(detections.scores, detections.labels, strict=True)
        )
    ]
    # pycocotools cannot read an empty list.
    detected = truth.loadRes(results) if results else COCO()
    evaluation = COCOeval(truth, detected, kind)
    evaluation.params.imgIds = [image.identity for image in images.images]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # -1 where there is no object.
    scores: dict[str, Any] = {
        f"{prefix}{name}": None if value < 0 else float(value)
        for name, value in zip(names, evaluation.stats, strict=False)
    }
    for name in names[:3]:
        scores[f"{prefix}{name}"] = scores[f"{prefix}{name}"] or 0.0
    # (IoU, recall, class, size, number of detections); 0: of all sizes, -1: with all detections
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    known = {category: precision[:, :, k] for k, category in enumerate(evaluation.params.catIds)}
    scores[f"{prefix}classes"] = {
        name: float(known[category].mean()) if (known[category] >= 0).any() else None
        for name, category in zip(images.classes, categories, strict=True)
    }
    return scores


def _shape(detections: Detections, number: int, kind: str) -> dict[str, Any]:
    if kind == "segm":
        assert detections.masks is not None
        return {"segmentation": detections.masks[number]}
    left, top, right, bottom = map(float, detections.boxes[number])
    return {"bbox": [left, top, right - left, bottom - top]}


def _coco(images: DetectionSet) -> COCO:
    """Annotated boxes as a COCO data set; what is ignored is a crowd there."""
    truth = COCO()
    annotations: list[dict[str, Any]] = []
    for image in images.images:
        for box, label, ignored in zip(image.boxes, image.labels, image.ignored, strict=True):
            left, top, right, bottom = map(float, box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.identity,
                    "category_id": int(label),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(ignored),
                }
            )
    truth.dataset = {
        "images": [{"id": image.identity} for image in images.images],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in enumerate(images.classes, start=1)],
    }
    truth.createIndex()
    return truth


def voc_ap(images: DetectionSet, found: Sequence[Detections]) -> dict[str, Any]:
    """PASCAL VOC 2007's average precision in 0 … 1: ``voc_ap50``, ``voc_ap75``, and ``voc_ap``,
    the mean over IoU 0.5, 0.55 … 0.95, as Detectron2's `PascalVOCDetectionEvaluator` has it, of
    detections as it writes them.

    Means over the classes that have an object which is not difficult; ``voc_classes`` has the
    ``voc_ap50`` of each by name.

    Args:
        images: what is there; ``ignored`` are the difficult objects.
        found: for each image, in the same order.
    """
    thresholds = [number / 100 for number in range(50, 100, 5)]
    annotated = list(images.images)
    lines = [written(detections) for detections in found]
    by_class = {
        name: [voc_class_ap(annotated, lines, label, iou) for iou in thresholds]
        for label, name in enumerate(images.classes, start=1)
        if any(((i.labels == label) & ~i.ignored).any() for i in annotated)
    }
    # No class has an object: nothing can be found.
    means = np.mean(list(by_class.values()) or [[0.0] * len(thresholds)], axis=0)
    return {
        "voc_ap": float(means.mean()),
        "voc_ap50": float(means[0]),
        "voc_ap75": float(means[5]),
        "voc_classes": {name: aps[0] for name, aps in by_class.items()},
    }


def written(detections: Detections) -> Detections:
    """Detections as a file of VOC's results has them when Detectron2 wrote it.

    Boxes are of pixels, which are counted from 1, to a tenth of one: left and top are one more than
    the edges.  Scores are to a thousandth.  A half goes to the even digit, as in formatted numbers.
    """
    pixels = detections.boxes.astype(np.float32)
    pixels[:, :2] += 1
    # Ten or a thousand times a float32 is exact in float64.
    return Detections(
        boxes=np.rint(pixels.astype(np.float64) * 10) / 10,
        scores=np.rint(detections.scores.astype(np.float64) * 1000) / 1000,
        labels=detections.labels,
    )


# 0, 0.1 … 1.  In floating point, three of these exceed 3/10, 6/10 and 7/10, so finding 3, 6 or 7 of
# 10 objects does not reach them.  Detectron2 counts in the same way.
_RECALLS = np.arange(11) * 0.1


def voc_class_ap(
    images: Sequence[Annotated], lines: Sequence[Detections], label: int, threshold: float
) -> float:
    """Average precision of a class (development kit of VOC 2007, `VOCevaldet.m`).

    Detections in the order of their scores each take the object of their image that they overlap
    most.  It is right where the IoU is above the threshold (in the kit: or at it) and no earlier
    one took the object; where the object is difficult, the detection does not count.  Precision
    is interpolated at eleven recalls.  Of equal scores, those of earlier images come first.

    Args:
        images: what is there.
        lines: for each image, as `written` gives them.
        label: of the class.
        threshold: of the IoU.
    """
    objects = 0
    scores, right, counted = [], [], []
    for image, detections in zip(images, lines, strict=True):
        own = image.labels == label
        boxes, difficult = image.boxes[own] + (1, 1, 0, 0), image.ignored[own]
        objects += int((~difficult).sum())
        chosen = detections.labels == label
        taken = np.zeros(len(boxes), bool)
        for number in np.argsort(-detections.scores[chosen], kind="stable"):
            scores.append(float(detections.scores[chosen][number]))
            overlaps = iou(detections.boxes[chosen][number], boxes)
            best = int(overlaps.argmax()) if len(boxes) else -1
            hit = best >= 0 and bool(overlaps[best] > threshold)
            counted.append(not (hit and difficult[best]))
            right.append(hit and not difficult[best] and not taken[best])
            if hit:
                taken[best] = True
    order = np.argsort(-np.array(scores), kind="stable")
    hits = np.array(right, bool)[order][np.array(counted, bool)[order]]
    reached = np.cumsum(hits)
    recall = reached / max(objects, 1)
    precision = reached / np.arange(1, len(hits) + 1)
    levels = [precision[recall >= level] for level in _RECALLS]
    return sum(float(p.max()) if len(p) else 0.0 for p in levels) / 11


def iou(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of a box ``(4,)`` with each of others ``(n, 4)``: ``(n,)``.

    Boxes are their first and last pixels: one of equal numbers has an area of 1.
    """
    box, boxes = box.astype(np.float64), boxes.astype(np.float64)
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low + 1, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    return np.asarray(shared / (np.prod(box[2:] - box[:2] + 1) + areas - shared))
