"""What evaluations move by where they depart from VirTex and Detectron2, or did so once.

    python tests/bench/downstream.py --voc VOC2007 --coco COCO [--images 600] [--threads 2]

VOC2007 and COCO are folders in the layout of docs/evaluation.md, whole or in part (of COCO,
train2017).  Backbones are a ResNet-18 of random weights, and what `--backbone` names.  Prints one
line a figure, as a table.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from PIL import Image
from pycocotools import mask as run_lengths
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from cyborgs.evaluation.average_precision import Detections, voc_class_ap, written
from cyborgs.evaluation.data.classes import central_crop
from cyborgs.evaluation.data.detection import DetectionSet, coco_objects
from cyborgs.evaluation.data.voc import voc_classes, voc_labels, voc_objects
from cyborgs.evaluation.detector_heads import mask_targets
from cyborgs.evaluation.detector_parts import Resizing, placed, resized_size
from cyborgs.evaluation.linear import pooled
from cyborgs.evaluation.sources import find_source
from cyborgs.evaluation.voc_detection import VocDetection
from cyborgs.evaluation.voc_svm import VocSvm, class_ap
from cyborgs.images.decoding import read_pixels, size_of
from cyborgs.runtime.hardware import autocast, describe

CPU = torch.device("cpu")

# Short side of most of VOC2007's photographs, in pixels.
VOC_SIDE = 375


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voc", type=Path, required=True, help="folder VOC2007")
    parser.add_argument("--coco", type=Path, required=True, help="folder of COCO 2017")
    parser.add_argument("--backbone", help="file that `cyborgs import` takes, or a state")
    parser.add_argument("--images", type=int, default=600, help="of VOC2007's splits, at most")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    coco = coco_objects(
        options.coco / "train2017", options.coco / "annotations/instances_train2017.json"
    )
    photos = [read_pixels(image.path) for image in coco.images]
    print(f"{describe(CPU)}, {options.threads} threads; {len(photos)} photographs of COCO")
    print("| evaluation | what | figure |")
    print("|---|---|---|")
    sources = [find_source("random", "resnet18")]
    if options.backbone:
        sources.append(find_source(options.backbone))
    for source in sources:
        backbone = source.load(0).to(memory_format=torch.channels_last)
        called = f"{source.name}, {source.architecture}"
        for row in test_images(photos, backbone):
            tell("voc_svm, imagenet_linear", called, row)
        for row in classification(options, backbone):
            tell("voc_svm", called, row)
    for row in scoring(options):
        tell("voc_detection", "", row)
    for row in resizing(photos):
        tell("voc_detection, coco_instances", "", row)
    for row in masks(coco):
        tell("coco_instances", "", row)


def tell(evaluation: str, whose: str, row: tuple[str, str]) -> None:
    what, figure = row
    print(f"| {evaluation} | {what}{f' ({whose})' if whose else ''} | {figure} |", flush=True)


def averaged_crop(image, short_side: int, crop: int):
    """As `central_crop`, but shrunk by means over areas."""
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    size = round(width * scale), round(height * scale)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (resized.shape[0] - crop) // 2, (resized.shape[1] - crop) // 2
    return resized[top : top + crop, left : left + crop]


@torch.inference_mode()
def features(backbone, crops, precision="float32") -> np.ndarray:
    """Mean features, l2-normalised."""
    found = []
    for part in np.array_split(np.stack(crops), max(1, len(crops) // 32)):
        with autocast(CPU, precision):
            found.append(F.normalize(pooled(backbone, torch.from_numpy(part)).float(), dim=-1))
    return torch.cat(found).numpy()


def test_images(photos, backbone):
    bilinear = [central_crop(photo, 256, 224) for photo in photos]
    averaged = [averaged_crop(photo, 256, 224) for photo in photos]
    apart = np.mean(
        [np.abs(a.astype(int) - b).mean() for a, b in zip(bilinear, averaged, strict=True)]
    )
    yield "test images bilinear or averaged: grey levels apart", f"{apart:.2f}"
    one, other = features(backbone, bilinear), features(backbone, averaged)
    nearest = np.sort(one @ one.T, axis=1)[:, -2]
    yield (
        "… cosine of their features, median; beside that of the next photograph",
        f"{np.median((one * other).sum(1)):.5f}; {np.median(nearest):.5f}",
    )
    half = features(backbone, bilinear, "bfloat16")
    yield "features in bfloat16 or float32: median cosine", f"{np.median((one * half).sum(1)):.5f}"


def classification(options, backbone):
    """mAP of SVMs by how images are resized, and by the solver's seed."""
    classes = voc_classes(options.voc)
    names, labels = {}, {}
    for split in ("trainval", "test"):
        names[split], labels[split] = voc_labels(options.voc, split, classes)
        names[split] = names[split][: options.images]
        labels[split] = labels[split][: options.images]
    photos = {
        split: [read_pixels(options.voc / f"JPEGImages/{name}.jpg") for name in found]
        for split, found in names.items()
    }
    # Smaller copies are shrunk as much as photographs of the usual size would be.
    side = float(np.median([min(photo.shape[:2]) for photo in photos["trainval"]]))
    short_side = round(256 * min(1, side / VOC_SIDE))
    crop = short_side * 7 // 8 // 32 * 32
    settings = VocSvm()

    def maps(cut, seeds):
        found = {
            split: features(backbone, [cut(photo, short_side, crop) for photo in own])
            for split, own in photos.items()
        }
        counted = [
            c
            for c in range(len(classes))
            if (labels["trainval"][:, c] == 1).sum() >= 3 and (labels["test"][:, c] == 1).any()
        ]
        scores = Parallel(options.threads)(
            delayed(class_ap)(
                found["trainval"], labels["trainval"][:, c],
                found["test"], labels["test"][:, c], settings=settings, seed=seed,
            )
            for seed in seeds
            for c in counted
        )  # fmt: skip
        values = np.array([ap for ap, _ in scores]).reshape(len(seeds), len(counted))
        return 100 * values.mean(1)

    bilinear, averaged = maps(central_crop, range(3)), maps(averaged_crop, range(1))
    count = f"{len(names['trainval'])} and {len(names['test'])} images, side {short_side}"
    yield f"… mAP in percent, {count}", f"{bilinear[0]:.2f} or {averaged[0]:.2f}"
    yield (
        "seed of the SVMs' solver: range of mAP over three",
        f"{bilinear.max() - bilinear.min():.3f}",
    )


def scoring(options):
    """VOC's AP of made-up detections, which are as good as those of a trained detector."""
    images = voc_objects([options.voc], "test", voc_classes(options.voc))
    images = enlarged(replace(images, images=images.images[: options.images]))
    found = made_up(images, np.random.default_rng(0))
    bare = [replace(own, boxes=own.boxes + np.float32([1, 1, 0, 0])) for own in found]
    lines = [written(own) for own in found]
    counted = [
        label
        for label in range(1, len(images.classes) + 1)
        if any(((i.labels == label) & ~i.ignored).any() for i in images.images)
    ]

    def figures(order, own):
        aps = np.array(
            [
                [
                    voc_class_ap(
                        [images.images[i] for i in order], [own[i] for i in order], label, iou
                    )
                    for iou in (number / 100 for number in range(50, 100, 5))
                ]
                for label in counted
            ]
        )
        return 100 * np.array([aps.mean(), aps[:, 0].mean(), aps[:, 5].mean()])

    order = np.arange(len(images.images))
    ours = figures(order, lines)
    rounded = ours - figures(order, bare)
    yield (
        f"AP, AP50 and AP75 of made-up detections in {len(order)} images, by VOC's rule",
        told(ours, ".2f"),
    )
    yield "… rounding scores and boxes: difference in points", told(rounded, "+.3f")
    shuffled = [np.random.default_rng(seed).permutation(order) for seed in range(3)]
    spread = np.ptp([figures(one, lines) for one in shuffled], axis=0)
    yield "… order of equal scores: range over three", told(spread, ".3f")


def told(values, form: str) -> str:
    return " / ".join(format(value, form) for value in values)


def enlarged(images: DetectionSet) -> DetectionSet:
    """Boxes as in photographs of the usual size, in whole pixels."""
    found = []
    for image in images.images:
        factor = max(1.0, VOC_SIDE / min(size_of(image.path)))
        boxes = np.rint(image.boxes * factor).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        found.append(replace(image, boxes=boxes))
    return replace(images, images=found)


def made_up(images: DetectionSet, rng: np.random.Generator) -> list[Detections]:
    found = []
    for image in images.images:
        kept = rng.random(len(image.boxes)) < 0.85
        boxes, labels = image.boxes[kept], image.labels[kept]
        size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + rng.normal(0, 0.07, boxes.shape) * size
        scores = rng.beta(5, 2, len(boxes))
        wrong = 3
        corners = rng.uniform(0, 300, (wrong, 2))
        boxes = np.concatenate(
            [boxes, np.hstack([corners, corners + rng.uniform(20, 150, (wrong, 2))])]
        )
        found.append(
            Detections(
                boxes=boxes.astype(np.float32),
                scores=np.concatenate([scores, rng.uniform(0.05, 0.6, wrong)]).astype(np.float32),
                labels=np.concatenate([labels, rng.integers(1, len(images.classes) + 1, wrong)]),
            )
        )
    return found


def resizing(photos):
    """Pictures as detectors see them, beside Pillow's."""
    settings = VocDetection()
    for side in (min(settings.sides), settings.test_side):
        for whose, kind in (("ours", Resizing), ("torchvision's", GeneralizedRCNNTransform)):
            resize = kind([side], settings.longest, [0.0] * 3, [1 / 255] * 3).eval()
            apart, sizes = [], []
            for photo in photos[:32]:
                images, _ = resize([torch.from_numpy(photo).permute(2, 0, 1).float() / 255])
                height, width = images.image_sizes[0]
                found = images.tensors[0, :, :height, :width].permute(1, 2, 0).numpy()
                scale = min(side / min(photo.shape[:2]), settings.longest / max(photo.shape[:2]))
                theirs = tuple(int(length * scale + 0.5) for length in photo.shape[:2])
                sizes.append(theirs != (height, width))
                resized = np.asarray(
                    Image.fromarray(photo).resize(theirs[::-1], Image.Resampling.BILINEAR)
                )
                height, width = min(height, theirs[0]), min(width, theirs[1])
                both = found[:height, :width], resized[:height, :width]
                apart.append(np.abs(both[0] - both[1]).mean())
            yield (
                f"pictures at {side} and Detectron2's (Pillow), {whose}: grey levels apart; of "
                "another size",
                f"{np.mean(apart):.2f}; {np.mean(sizes):.0%}",
            )
    padded = [
        np.prod([-(-n // 32) * 32 / n for n in resized_size(*photo.shape[:2], 800, 1333)]) - 1
        for photo in photos
    ]
    yield "zeros that a picture alone is padded with at 800", f"{np.mean(padded):.1%} of its area"


def masks(coco: DetectionSet):
    """Masks of 28 x 28 as targets, and back at their place in the picture."""
    apart, ours, theirs = [], [], []
    for image in coco.images:
        assert image.outlines is not None
        for box, outline in zip(image.boxes, image.outlines, strict=True):
            corner, size = box[:2], box[2:] - box[:2]
            if not isinstance(outline.segmentation, list) or size.min() < 4:
                continue
            polygons = [
                ((np.reshape(polygon, (-1, 2)) - corner) / size * 28).ravel().tolist()
                for polygon in outline.segmentation
            ]
            drawn = run_lengths.decode(run_lengths.merge(run_lengths.frPyObjects(polygons, 28, 28)))
            mask = torch.from_numpy(outline.mask())
            edges = torch.from_numpy(box)[None]
            target = mask_targets([mask[None]], [torch.tensor([0])], [edges], 28)
            apart.append(np.abs(target[0].numpy() - drawn).mean())
            found = placed(target[None], edges, *mask.shape)[0, 0] >= 0.5
            ours.append(shared(found, mask))
            found = paste_masks_in_image(target[None], edges, tuple(mask.shape))[0, 0] >= 0.5
            theirs.append(shared(found, mask))
    yield (
        f"targets of {len(apart)} masks, and their polygons drawn at 28 x 28: cells that differ",
        f"{np.mean(apart):.1%}",
    )
    yield (
        "… put back, and the masks that they are of, ours and torchvision's: mean IoU",
        f"{np.mean(ours):.3f}; {np.mean(theirs):.3f}",
    )


def shared(one, other) -> float:
    """Intersection over union."""
    other = other > 0
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


if __name__ == "__main__":
    main()
