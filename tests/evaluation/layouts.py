"""Data sets in the layouts of VirTex, derived from annotated images: for tests alone.

``coco`` as it is, ``VOC2007`` and ``VOC2012`` with the boxes of the commonest categories, filled as
masks in ``VOC2012``, and ``imagenet`` with crops of their objects.
"""

import json
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np

# A folder of images, and a COCO instances JSON of them.
Source = tuple[Path, Path]


def derive(train: Source, test: Source, out: Path, images: int, categories: int = 2) -> None:
    """Write all layouts below ``out``: so many images for training, half as many for testing.

    The first that show one of the commonest categories are taken.  Objects whose id is a multiple
    of 7 are difficult in VOC.  VOC2012 has the last quarter of the images for
    training.
    """
    (out / "coco/annotations").mkdir(parents=True)
    folders, contents = {}, {}
    for split, (folder, annotations), most in (
        ("train2017", train, images),
        ("val2017", test, images // 2),
    ):
        content = json.loads(annotations.read_text())
        if split == "train2017":
            names = _commonest(content, categories)
        contents[split], folders[split] = _some(content, most, names), folder
        (out / f"coco/{split}").symlink_to(folder.resolve())
        target = out / f"coco/annotations/instances_{split}.json"
        target.write_text(json.dumps(contents[split]))
    most = 3 * images // 4
    for year, split, which, part in (
        ("VOC2007", "trainval", "train2017", slice(0, most)),
        ("VOC2012", "trainval", "train2017", slice(most, None)),
        ("VOC2007", "test", "val2017", slice(None)),
    ):
        _voc(out / year, split, contents[which], folders[which], part, names)
    for split, which in (("train", "train2017"), ("val", "val2017")):
        _crops(out / "imagenet" / split, contents[which], folders[which], names)
        _masks(out / "VOC2012", split, contents[which], folders[which], names)


def _some(content: dict, most: int, names: dict[int, str]) -> dict:
    """The first images that show one of some categories, and their annotations."""
    shown = {a["image_id"] for a in _objects(content) if a["category_id"] in names}
    images = [image for image in content["images"] if image["id"] in shown][:most]
    kept = {image["id"] for image in images}
    return content | {
        "images": images,
        "annotations": [a for a in content["annotations"] if a["image_id"] in kept],
    }


def _commonest(content: dict, number: int) -> dict[int, str]:
    """Ids and names of the categories that most images show."""
    shown = Counter(c for _, c in {(a["image_id"], a["category_id"]) for a in _objects(content)})
    called = {c["id"]: c["name"].replace(" ", "") for c in content["categories"]}
    return {identity: called[identity] for identity, _ in shown.most_common(number)}


def _objects(content: dict) -> list[dict]:
    return [a for a in content["annotations"] if not a.get("iscrowd")]


def _voc(
    root: Path, split: str, content: dict, images: Path, part: slice, names: dict[int, str]
) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shown = []
    for image in content["images"][part]:
        own = [
            a
            for a in _objects(content)
            if a["image_id"] == image["id"] and a["category_id"] in names
        ]
        name = f"{split}_{Path(image['file_name']).stem}"
        shown.append((name, own))
        (root / f"JPEGImages/{name}.jpg").symlink_to((images / image["file_name"]).resolve())
        (root / f"Annotations/{name}.xml").write_text(_xml(image, own, names))
    lists = root / "ImageSets/Main"
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name, _ in shown))
    for identity, called in names.items():
        lines = []
        for name, own in shown:
            easy = [a["id"] % 7 != 0 for a in own if a["category_id"] == identity]
            label = -1 if not easy else int(any(easy))
            lines.append(f"{name} {label:2d}\n")
        (lists / f"{called}_{split}.txt").write_text("".join(lines))


def _xml(image: dict, own: list[dict], names: dict[int, str]) -> str:
    things = []
    for a in own:
        left, top, width, height = a["bbox"]
        right, bottom = min(left + width, image["width"]), min(top + height, image["height"])
        # Pixels from 1, the last one inside.
        corners = {"xmin": int(left) + 1, "ymin": int(top) + 1}
        corners |= {"xmax": max(int(right), int(left) + 1), "ymax": max(int(bottom), int(top) + 1)}
        box = "".join(f"<{k}>{v}</{k}>" for k, v in corners.items())
        things.append(
            f"<object><name>{escape(names[a['category_id']])}</name>"
            f"<difficult>{int(a['id'] % 7 == 0)}</difficult><bndbox>{box}</bndbox></object>"
        )
    return f"<annotation>{''.join(things)}</annotation>"


def _crops(folder: Path, content: dict, images: Path, names: dict[int, str]) -> None:
    for called in names.values():
        (folder / called).mkdir(parents=True)
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for a in _objects(content):
        left, top, width, height = (round(value) for value in a["bbox"])
        if a["category_id"] not in names or min(width, height) < 8:
            continue
        pixels = cv2.imread(str(images / files[a["image_id"]]))
        crop = pixels[top : top + height, left : left + width]
        cv2.imwrite(str(folder / names[a["category_id"]] / f"{a['id']}.JPEG"), crop)


def _masks(root: Path, split: str, content: dict, images: Path, names: dict[int, str]) -> None:
    for folder in ("SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbers = {identity: number for number, identity in enumerate(names, start=1)}
    shown = []
    for image in content["images"]:
        shown.append(f"{split}_{Path(image['file_name']).stem}")
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for a in _objects(content):
            if a["image_id"] == image["id"] and a["category_id"] in numbers:
                left, top, width, height = (round(value) for value in a["bbox"])
                mask[top : top + height, left : left + width] = numbers[a["category_id"]]
        cv2.imwrite(str(root / f"SegmentationClass/{shown[-1]}.png"), mask)
        (root / f"JPEGImages/{shown[-1]}.jpg").symlink_to((images / image["file_name"]).resolve())
    (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(shown))
