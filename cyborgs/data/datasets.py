"""Data sets of evaluations: what must be where, in the layout that VirTex has too."""

from collections.abc import Iterable
from pathlib import Path

from cyborgs.errors import InputError

# Files and folders that each evaluation reads.
_NEEDED = {
    "voc_svm": (
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2007/JPEGImages",
    ),
    "voc_detection": (
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2007/JPEGImages",
        "VOC2007/Annotations",
        "VOC2012/ImageSets/Main/trainval.txt",
        "VOC2012/JPEGImages",
        "VOC2012/Annotations",
    ),
    "imagenet_linear": ("imagenet/train", "imagenet/val"),
    "coco_instances": (
        "coco/train2017",
        "coco/val2017",
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
    ),
}

_HOW = {
    "VOC2007": "`cyborgs data download voc` fetches it",
    "VOC2012": "`cyborgs data download voc` fetches it",
    "imagenet": "`cyborgs data imagenet` says how to get it",
    "coco": "`cyborgs data download coco` fetches it",
}


def require_datasets(datasets: Path, evaluations: Iterable[str]) -> None:
    """Raise `InputError`, with a line for each file or folder that an evaluation lacks."""
    missing = [
        f"downstream.{name}: {datasets / needed} does not exist; {_how(datasets, needed)}"
        for name in evaluations
        for needed in _NEEDED.get(name, ())
        if not (datasets / needed).exists()
    ]
    if missing:
        raise InputError("\n".join(missing))


def _how(datasets: Path, needed: str) -> str:
    # Where PASCAL's own archives unpack to.
    if (datasets / "VOCdevkit" / needed).exists():
        return f"it is in {datasets / 'VOCdevkit'}: set downstream.datasets to that"
    return f"{_HOW[needed.split('/')[0]]}, or set downstream.datasets"
