"""How far training and masks are from the published program's, where they depart from it.

    python tests/bench/departures.py PHOTOGRAPHS [--images 128] [--threads 2]

PHOTOGRAPHS is a folder.  Masks are made of groups of 16 by a ResNet-18 of random weights, or by the
backbone that `--backbone` names, as `cyborgs bootstrap` makes them, with K spread evenly over 2 …
256.  Prints the table of docs/method.md.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.bootstrap.kmeans import cluster
from cyborgs.common.section import CELL
from cyborgs.config import Bootstrap, Views
from cyborgs.evaluation.sources import find_source
from cyborgs.images.decoding import SUFFIXES, read_pixels
from cyborgs.masks.alignment import full_size
from cyborgs.models.backbones.resnet import BLOCKS, IMAGENET, LAYERS
from cyborgs.models.normalise import normalise
from cyborgs.models.pair import head
from cyborgs.models.pooling import join_stages, mask_weights, pool_masks
from cyborgs.pretraining.views import cell_labels, draw_view, render, sample_ids
from cyborgs.runtime.hardware import describe

CPU = torch.device("cpu")
STRIDE, SIDE, GROUP, MASKS = 8, 224, 16, 16
LOW, HIGH = 2, 256

# Label slots of the published program.
SLOTS = 81

# A crop and nothing else.
BARE = {"flip": 0.0, "jitter": 0.0, "greyscale": 0.0, "blur": [0.0, 0.0], "solarise": [0.0, 0.0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images")
    parser.add_argument("--backbone", help="file that `cyborgs import` takes, or a state")
    parser.add_argument("--images", type=int, default=128, help="at most")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    paths = sorted(p for p in options.photographs.iterdir() if p.suffix.lower() in SUFFIXES)
    photos = [read_pixels(path) for path in paths[: options.images]]
    source = (
        find_source(options.backbone) if options.backbone else find_source("random", "resnet18")
    )
    backbone = source.load(0)
    masks = labels_of(photos, backbone)
    crops = [crop_of(photo, number) for number, photo in enumerate(photos)]
    cells = cells_of(photos, masks)
    rows = [
        stretching(photos, masks),
        shrinking(photos),
        jitter(crops),
        blur(crops),
        slots(cells),
        sampling(cells),
        majority(photos, masks, backbone),
        norms(photos, masks, backbone),
        off_by_one(),
        (
            "k-means",
            "all points, 20 iterations (FAISS)",
            "a sample of 64 points per cluster, then 3 iterations over all; `bootstrap.exact` as "
            "published",
            "8 to 19 times as fast ([Speed](speed.md#masks))",
            "mean squared distances 1.005 to 1.009 times as large (`tests/bench/bootstrap.py`)",
            "`bootstrap/kmeans.py`",
        ),
    ]
    print(
        f"{describe(CPU)}; {len(photos)} photographs, masks by {source.layout} of a "
        f"{source.architecture}\n"
    )
    print("| what | published | here | why | how much | where |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def labels_of(photos, backbone):
    """Labels at feature resolution, as bootstrapping gives them."""
    block = f"layer2.{BLOCKS[backbone.architecture][1] - 1}"
    extract = FeatureExtractor(backbone, block, CPU, torch.float32)
    groups = [range(i, min(i + GROUP, len(photos))) for i in range(0, len(photos), GROUP)]
    found = []
    for number, members in enumerate(groups):
        maps = extract([photos[i] for i in members])
        k = LOW + int((HIGH - LOW + 1) * (number + 0.5) / len(groups))
        points = torch.cat([m.flatten(0, 1) for m in maps])
        labels = cluster(points, k, seed=number, settings=Bootstrap())
        shapes = [m.shape[:2] for m in maps]
        parts = np.split(labels, np.cumsum([h * w for h, w in shapes])[:-1])
        found += [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return found


def drawn(photo, number, **changes):
    """A view of a photograph, and what it is made by."""
    settings = Views(**(BARE | changes))
    height, width = photo.shape[:2]
    view = draw_view(np.random.default_rng(number), settings, 0, height=height, width=width)
    return view, settings


def crop_of(photo, number):
    return render(photo, *drawn(photo, number))


def apart(one, other):
    """Mean difference in grey levels."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def stretching(photos, masks):
    differ, furthest = [], 0
    for photo, labels in zip(photos, masks, strict=True):
        height, width = photo.shape[:2]
        factors = height / labels.shape[0], width / labels.shape[1]
        theirs = ndimage.zoom(labels, factors, order=0)
        differ.append((theirs != full_size(labels, height, width, STRIDE)).mean())
        # The last location is put on the last pixel, wherever its own one is.
        furthest = max(furthest, width - 1 - STRIDE * (labels.shape[1] - 1))
    return (
        "labels from the grid to pixels",
        "order-0 zoom from corner to corner",
        "the location whose centre is nearest",
        "a location of stride 8 lies on pixel 8i",
        f"{np.mean(differ):.1%} of the pixels differ; positions are up to {furthest} pixels off",
        "`masks/alignment.py`",
    )


def shrinking(photos):
    whole, parts = [], []
    for number, photo in enumerate(photos):
        view, settings = drawn(photo, number)
        c = view.crop
        cut = photo[c.top : c.top + c.height, c.left : c.left + c.width]
        parts.append(apart(render(photo, view, settings), bilinear(cut)))
        c = replace(c, top=0, left=0, height=photo.shape[0], width=photo.shape[1])
        whole.append(apart(render(photo, replace(view, crop=c), settings), bilinear(photo)))
    return (
        "shrinking of views",
        "OpenCV bilinear",
        "means of 2 x 2 first, if the crop is more than twice as large",
        "bilinear alone skips pixels",
        f"{np.mean(parts):.2f} grey levels on crops, {np.mean(whole):.2f} on whole photographs",
        "`data/views.py`",
    )


def bilinear(pixels):
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def jitter(crops):
    ours, theirs, saturated = [], [], []
    rng = np.random.default_rng(0)
    for number, crop in enumerate(crops):
        # Of the whole crop, which already has the view's size, the colours change alone.
        view, settings = drawn(crop, number, jitter=1.0)
        whole = replace(view.crop, top=0, left=0, height=SIDE, width=SIDE)
        ours.append(apart(render(crop, replace(view, crop=whole), settings), crop))
        changed = published_jitter(crop, rng)
        theirs.append(apart(changed, crop))
        saturated.append((cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)[..., 1] >= 250).mean())
    return (
        "colour jitter",
        "brightness added, contrast about 0, hue of 8 bits; 204 … 306 *added* to the saturation",
        "torchvision's (DetCon's adds brightness instead)",
        "theirs saturates almost every pixel: a mistake that the released weights were trained "
        "with",
        f"{np.mean(ours):.0f} grey levels from the crop, theirs {np.mean(theirs):.0f}; "
        f"{np.mean(saturated):.0%} of their pixels saturated",
        "`data/views.py`",
    )


def published_jitter(crop, rng):
    """The published program's, from its description, on 8-bit RGB."""
    brightness, contrast = rng.uniform(0.6, 1.4, 2)
    saturation, hue = rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1)
    return jittered(crop, brightness, contrast, saturation, hue)


def jittered(crop, brightness, contrast, saturation, hue):
    levels = np.arange(256, dtype=np.float32)
    table = np.float32(contrast) * levels + np.float32((brightness - 1) * crop.mean())
    changed = cv2.LUT(crop, np.clip(table, 0, 255).astype(np.uint8))
    hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV).astype(int)
    hsv[..., 0] = (hsv[..., 0] + int(255 * hue)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] + int(255 * saturation), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def blur(crops):
    found = []
    for number, crop in enumerate(crops):
        view, settings = drawn(crop, number, blur=[1.0, 1.0])
        whole = replace(view.crop, top=0, left=0, height=SIDE, width=SIDE)
        full = cv2.GaussianBlur(crop, (23, 23), view.blur_sigma)
        found.append(apart(render(crop, replace(view, crop=whole), settings), full))
    return (
        "blur",
        "23 x 23 pixels",
        "the same kernel, cut at four sigma",
        "time",
        f"{np.mean(found):.2f} grey levels",
        "`data/views.py`",
    )


def cells_of(photos, masks):
    """Labels of the cells of two views of each photograph."""
    found = []
    for number, (photo, labels) in enumerate(zip(photos, masks, strict=True)):
        for which in range(2):
            view, _ = drawn(photo, 2 * number + which, flip=0.5)
            found.append(cell_labels(labels, STRIDE, view.crop, side=SIDE, cell=32))
    return found


def slots(cells):
    lost = np.mean([(c >= SLOTS).mean() for c in cells])
    return (
        "label slots",
        f"{SLOTS}; ids from {SLOTS} on become 0",
        "any id",
        f"K reaches {HIGH}",
        f"{lost:.0%} of the cells would become 0",
        "`data/views.py`",
    )


def sampling(cells):
    kept = [np.unique(np.where(c >= SLOTS, 0, c)) for c in cells]
    absent = np.mean([max(0, MASKS - len(ids)) / MASKS for ids in kept])
    rng = np.random.default_rng(0)
    others = np.mean([len(np.unique(sample_ids(rng, c, MASKS)[0])) for c in cells])
    present = np.mean([len(np.unique(c)) for c in cells])
    return (
        "drawing of masks",
        "without replacement, so absent ids enter as zero vectors and count as positives",
        "with replacement among the ids present, as in DetCon",
        "an absent mask has nothing to learn from",
        f"at least {absent:.0%} of their rows would be absent; ours have {others:.1f} different "
        f"masks in {MASKS} rows, out of {present:.1f} present",
        "`data/views.py`",
    )


def joined(photos, views, backbone):
    """Features on the grid of cells, ``(images, channels, 7, 7)``."""
    pixels = [render(p, v, Views(**BARE)) for p, v in zip(photos, views, strict=True)]
    with torch.inference_mode():
        return join_stages(
            backbone(normalise(torch.from_numpy(np.stack(pixels)), IMAGENET)), LAYERS[1:]
        )


def majority(photos, masks, backbone):
    photos, masks = photos[: 2 * GROUP], masks[: 2 * GROUP]
    views = [drawn(photo, number)[0] for number, photo in enumerate(photos)]
    features = joined(photos, views, backbone)
    outside, cosines = [], []
    for photo, labels, view, own in zip(photos, masks, views, features, strict=True):
        c = view.crop
        full = full_size(labels, *photo.shape[:2], STRIDE)
        full = full[c.top : c.top + c.height, c.left : c.left + c.width].astype(np.float32)
        full = cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST).astype(int)
        cells = torch.from_numpy(cell_labels(labels, STRIDE, c, side=SIDE, cell=32))
        ids = cells.unique()
        spread = torch.from_numpy(np.stack([full == i for i in ids.numpy()]))[None].float()
        soft = F.avg_pool2d(spread, CELL).flatten(2)  # (1, ids, cells)
        hard = mask_weights(cells[None], ids[None])
        inside = (soft * (hard > 0)).sum()
        outside.append(1 - float(inside) / cells.numel())
        shares = soft / soft.sum(-1, keepdim=True)
        one, other = pool_masks(own[None], hard), pool_masks(own[None], shares)
        cosines += F.cosine_similarity(one, other, dim=-1)[0].tolist()
    return (
        "cells of a mask",
        "(not a departure; compared with the exact share of pixels in each cell)",
        "the cells in which it has the majority",
        "49 labels per view instead of a map for every slot; masks do not overlap",
        f"{np.mean(outside):.0%} of the pixels belong to another mask than their cell; cosine of "
        f"pooled features {median(cosines):.3f}",
        "`data/views.py`, `models/pooling.py`",
    )


def median(values):
    return float(np.median(values))


def norms(photos, masks, backbone):
    photos, masks = photos[:GROUP], masks[:GROUP]
    views = [drawn(photo, number)[0] for number, photo in enumerate(photos)]
    cells = np.stack(
        [
            cell_labels(m, STRIDE, v.crop, side=SIDE, cell=32)
            for m, v in zip(masks, views, strict=True)
        ]
    )
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(np.stack([sample_ids(rng, c, MASKS)[0] for c in cells]))
    pooled = pool_masks(joined(photos, views, backbone), mask_weights(torch.from_numpy(cells), ids))
    torch.manual_seed(0)
    projector = head(pooled.shape[-1], 4096, 256).train()
    with torch.inference_mode():
        together = F.normalize(projector(pooled.flatten(0, 1)), dim=-1)
        slot_by_slot = torch.stack([projector(pooled[:, m]) for m in range(MASKS)], 1)
        apart = F.normalize(slot_by_slot.flatten(0, 1), dim=-1)
    same = (together * apart).sum(-1)
    others = together @ together.T
    others = others[~torch.eye(len(others), dtype=bool)]
    return (
        "BatchNorm of the heads",
        f"{MASKS} times over B vectors, one slot of sampled masks each",
        f"once over all B·{MASKS}, as in DetCon",
        "slots have no meaning; more vectors give steadier statistics",
        f"cosine of a projection with its counterpart {median(same.tolist()):.2f}, with another "
        f"mask's {median(others.tolist()):.2f} (B = {GROUP}, random head)",
        "`models/detcon.py`",
    )


def off_by_one():
    count = HIGH + 1 - LOW + 1
    return (
        "K",
        f"{LOW} … {HIGH + 1}",
        f"{LOW} … {HIGH}",
        "an off-by-one error in theirs",
        f"one group in {count} has a K that ours never has",
        "`stages/bootstrap.py`",
    )


if __name__ == "__main__":
    main()
