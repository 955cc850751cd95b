"""Throw broken COCO JSONs at what reads them: none may crash, hang, leak, or lose an object unsaid.

python -m tests.bench.fuzz_annotations [--files 10000] [--seed 1]

Each file is a sound one with some of its values changed, left out, doubled or exchanged.  It is
refused in one line, or `cyborgs data check` accounts for every annotation, and an evaluation
refuses it before it trains, or gives perfect detections an average precision of 1.  A crash ends
this program by a signal, a file that takes over ten seconds by an alarm; memory is printed as it
goes.
"""

import contextlib
import copy
import io
import json
import random
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as run_lengths

from cyborgs.common.errors import InputError
from cyborgs.evaluation.average_precision import Detections, coco_ap
from cyborgs.evaluation.data.detection import coco_objects
from cyborgs.images.annotations import GroundTruth
from cyborgs.stages import data_check
from tests.bench.fuzzing import throw

H, W = 24, 30
NAMES = ("a.png", "sub/b.png", "c.png")

# No JSON writer writes this number, which readers take for infinity.
TOO_LARGE = "1e400 as a number"

VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 5.5, 1.0, -3, 30, 24, 1e9, -1e9, 1e300, 10**25, 2**31, 2**64,
    float("nan"), float("inf"), TOO_LARGE, "", "0", "1", "2", "abc", "é", "x" * 5000, "a.png", "\n",
    "./a.png", "sub\\b.png", "\ud800", "\0", [], {}, [[]], [[[]]], [1, 2], [1, 2, 3, 4],
    [[1, 1], [9, 1], [9, 9]], [[1, 1, 9, 1, 9, 9]], [0.1, 0.2, 0.5, 0.2, 0.5, 0.9], {"id": 1},
    {"size": [H, W], "counts": [H * W]}, {"size": [H, W], "counts": "o" * 5000},
]  # fmt: skip


def write_images(folder):
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((H, W, 3), 40 * number, np.uint8))


def sound():
    """A file with every kind of mask, a crowd, and an image without annotations."""

    def annotation(number, image, category, box, kind, crowd=0):
        x, y, w, h = box
        mask = np.zeros((H, W), np.uint8)
        mask[y : y + h, x : x + w] = 1
        code = run_lengths.encode(np.asfortranarray(mask))
        flat = mask.T.ravel()
        counts = [x * H + y, *[h, H - h] * (w - 1), h]
        assert sum(counts[1::2]) == flat.sum()
        segmentation = {
            "polygon": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            "two": [
                [x, y, x + w, y, x + w, y + h - 2, x, y + h - 2],
                [x, y + h - 3, x + w, y + h - 3, x + w, y + h, x, y + h],
            ],
            "runs": {"size": [H, W], "counts": [*counts, H * W - sum(counts)]},
            "compressed": {"size": [H, W], "counts": code["counts"].decode()},
        }[kind]
        return {
            "id": number, "image_id": image, "category_id": category, "iscrowd": crowd,
            "bbox": [float(v) for v in box], "area": w * h, "segmentation": segmentation,
        }  # fmt: skip

    return {
        "info": {"year": 2017},
        "images": [
            {"id": number, "file_name": name, "height": H, "width": W}
            for number, name in enumerate(NAMES, start=1)
        ],
        "annotations": [
            annotation(11, 1, 1, (2, 3, 10, 8), "polygon"),
            annotation(12, 1, 3, (14, 5, 12, 12), "runs"),
            annotation(13, 1, 1, (0, 20, 30, 4), "compressed", crowd=1),
            annotation(14, 2, 3, (5, 5, 15, 15), "two"),
            annotation(15, 2, 1, (1, 1, 6, 9), "compressed"),
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def places(value, found=None, parent=None):
    """Each pair of a list or an object, and a key of it."""
    found = [] if found is None else found
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in pairs:
        found.append((value, key))
        if isinstance(child, dict | list):
            places(child, found, value)
    return found


def change(content, draw):
    """Change one place of a file."""
    # What lies deep is most of all: runs and points.
    options = places(content)
    parent, key = draw.choice(options)
    if draw.random() < 0.5:
        entry = draw.choice(content["annotations"]) if content.get("annotations") else content
        if isinstance(entry, dict) and entry:
            parent, key = entry, draw.choice(list(entry))
    kind = draw.randrange(9)
    value = parent[key]
    if kind <= 2:
        parent[key] = copy.deepcopy(draw.choice(VALUES))
    elif kind == 3:
        del parent[key]
    elif kind == 4 and isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), copy.deepcopy(value))
    elif kind == 5:
        other, where = draw.choice(options)
        parent[key] = copy.deepcopy(other[where])
    elif kind == 6:
        parent[key] = [value] if draw.random() < 0.7 or not isinstance(value, list) else value[:1]
    elif kind == 7 and isinstance(value, int | float) and not isinstance(value, bool):
        parent[key] = draw.choice(
            [-value, value + 1, value / W, value * 1000, str(value), float(value)]
        )
    elif isinstance(value, str) and value:
        at = draw.randrange(len(value))
        parent[key] = value[:at] + draw.choice(["", "P", "0", "é", "\\", "/"]) + value[at + 1 :]
    elif isinstance(value, list):
        draw.shuffle(value)


def broken_annotations(count, seed):
    """Sound files with one to four changes; one in twenty is cut off as well."""
    draw = random.Random(seed)
    for _ in range(count):
        content = sound()
        for _ in range(draw.choice([1, 1, 1, 2, 2, 4])):
            with contextlib.suppress(LookupError, TypeError):  # what an earlier change removed
                change(content, draw)
        text = json.dumps(content).replace(json.dumps(TOO_LARGE), "1e400")
        yield content, text[: draw.randrange(len(text))] if draw.random() < 0.05 else text


def accounted(content, folder, path):
    """What `data check` says, all annotations of the file being in it."""
    checked = data_check.run(folder, 1, annotations=path)
    cover = checked["annotations"]
    truth = GroundTruth(path)
    told = cover["instances"] + cover["crowds"] + len(cover["empty"]) + len(cover["orphaned"])
    told += sum(len(truth.raw(name)) for name in cover["missing"])
    for name in truth.names - set(cover["missing"]):
        # Of an image that does not fit, the first of what is wrong.
        image = name if name.isprintable() else json.dumps(name)
        if any(f"image {image}" in misfit for misfit in cover["misfits"]):
            told += len(truth.raw(name))
    assert told == len(content["annotations"]), (told, cover)
    assert all("\n" not in misfit for misfit in cover["misfits"])
    return checked


def scored(folder, path):
    """What perfect detections score; None where no object can be detected."""
    images = coco_objects(folder, path)
    for image in images.images:
        image.check()
    images.truth.for_scoring()
    found, sizes = [], []
    for image in images.images:
        own = ~image.ignored
        codes = [o.run_lengths() for o, kept in zip(image.outlines, own, strict=True) if kept]
        boxes = image.boxes[own]
        sizes += np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).tolist()
        sizes += [float(run_lengths.area(code)) for code in codes]
        found.append(Detections(boxes, np.full(own.sum(), 0.9), image.labels[own], codes))
    scores = coco_ap(images, found)
    return (scores["ap"], scores["mask_ap"]) if sizes and min(sizes) > 0 else None


def attempt(action, *arguments):
    """What an action returns, or the line with which it refuses its input."""
    try:
        return action(*arguments), None
    except InputError as error:
        line = str(error)
    assert line
    assert "\n" not in line
    return None, line


def outcome(content, text, folder):
    """What became of a file; raises `AssertionError` where something was lost unsaid."""
    path = folder / "instances.json"
    path.write_text(text)
    with contextlib.redirect_stderr(io.StringIO()):
        checked, refusal = attempt(accounted, content, folder, path)
        if refusal:
            return "refused when read"
        scores, refusal = attempt(scored, folder, path)
        if refusal:
            told = not data_check.sound(checked)
            return "told by the check, and refused" if told else "read, refused by an evaluation"
    assert scores is None or min(scores) > 0.999, scores
    return "read and scored" if data_check.sound(checked) else "told by the check"


def shown_outcome(file, folder):
    """The outcome; prints a file that something was wrong with."""
    try:
        return outcome(*file, folder)
    except Exception:
        print(file[1])
        raise


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name))
        throw(
            __doc__.splitlines()[0],
            broken_annotations,
            lambda file: shown_outcome(file, Path(name)),
            count=10_000,
        )
