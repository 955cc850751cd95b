"""Files of mask quality, and their rows in tables."""

import json
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file

# Columns of the table: key of the metrics, heading.
COLUMNS = {
    "ari": "ARI",
    "ari_foreground": "ARI of objects",
    "mbo_instances": "mean best overlap (instances)",
    "mbo_classes": "mean best overlap (classes)",
    "asa": "ASA",
    "boundary_recall": "boundary recall",
    "boundary_precision": "boundary precision",
    "miou": "mIoU (matched)",
    "clusters_per_image": "masks an image",
    "images": "images",
}


Metrics = dict[str, Any]


def read_quality(path: Path) -> Metrics:
    """What `run` wrote.  Raises `InputError` where it is missing, damaged or of another version."""
    require_file(path, "quality")
    try:
        metrics: Metrics = json.loads(path.read_text())
        lacking = {"round", "best", "worst", *COLUMNS} - set(metrics)
        if lacking:
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"quality {path} is damaged or not a measurement of masks ({error}); give what "
            "`cyborgs masks quality` wrote, or run it again"
        ) from None
    return metrics


def rows_of(measured: list[tuple[str, Metrics]]) -> list[list[str]]:
    """A heading, and a row of text for each kind of masks and its metrics."""
    header = ["masks", "round", *COLUMNS.values()]
    rows = [[kind, str(f["round"]), *(_shown(f[key]) for key in COLUMNS)] for kind, f in measured]
    return [header, *rows]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
