"""Data sets of evaluations: what must be where, in the layout that VirTex has too."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.evaluation.kinds import Evaluation

_HOW = {
    "VOC2007": "`cyborgs data download voc` fetches it",
    "VOC2012": "`cyborgs data download voc` fetches it",
    "imagenet": "`cyborgs data imagenet` says how to get it",
    "coco": "`cyborgs data download coco` fetches it",
}


def require_datasets(datasets: Path, evaluations: Iterable[Evaluation[Any]]) -> None:
    """Raise `InputError`, with a line for each file or folder that an evaluation lacks."""
    missing = [
        f"downstream.{evaluation.name}: {datasets / needed} does not exist; "
        f"{_how(datasets, needed)}"
        for evaluation in evaluations
        for needed in evaluation.needed
        if not (datasets / needed).exists()
    ]
    if missing:
        raise InputError("\n".join(missing))


def _how(datasets: Path, needed: str) -> str:
    # Where PASCAL's own archives unpack to.
    if (datasets / "VOCdevkit" / needed).exists():
        return f"it is in {datasets / 'VOCdevkit'}: set downstream.datasets to that"
    return f"{_HOW[needed.split('/')[0]]}, or set downstream.datasets"
