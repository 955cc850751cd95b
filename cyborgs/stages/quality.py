"""Stage `quality`: masks of a round against ground truth, and the table of all rounds."""

import json
import math
from pathlib import Path
from typing import Any

from cyborgs.data.annotations import GroundTruth
from cyborgs.data.index import read_index
from cyborgs.errors import InputError
from cyborgs.files import atomic_write, require_file, sha256
from cyborgs.masks.alignment import full_size
from cyborgs.masks.quality import QualityMeter
from cyborgs.masks.shards import Masks
from cyborgs.progress import say, track

# Columns of the table: key of the figures, heading.
COLUMNS = {
    "ari": "ARI",
    "ari_foreground": "ARI of objects",
    "mbo_instances": "best overlap (instances)",
    "mbo_classes": "best overlap (classes)",
    "clusters_per_image": "masks an image",
    "images": "images",
}


def run(masks_where: str, index_path: Path, annotations: Path, out: Path | None) -> dict[str, Any]:
    """Measure the masks of a round, of all images or of some.

    Args:
        masks_where: a folder of shards, a shard, or a pattern.
        index_path: the index of the images.
        annotations: COCO instances JSON that names images as the index does.
        out: the JSON file to write, or None.

    Returns:
        ``round``, digests of masks and annotations, and the figures of `QualityMeter.result`.

    Raises:
        InputError: input that is missing or does not fit, or no annotated image among those
            with masks.
    """
    index = read_index(index_path)
    masks = Masks(masks_where, index, complete=False)
    truth = GroundTruth(annotations)
    meter = QualityMeter()
    for position in track(masks.positions, len(masks.positions), "quality", "images"):
        entry = index[int(position)]
        if entry.name not in truth:
            continue
        labels = full_size(masks.read(int(position)), entry.height, entry.width, masks.stride)
        meter.update(labels, truth.instances(entry.name, entry.height, entry.width))
    figures = meter.result()
    if not figures["images"]:
        raise InputError(
            f"annotations {annotations}: no object in any of the {len(masks.positions)} images "
            f"with masks ({index[int(masks.positions[0])].name} …); do they belong to these images?"
        )
    result = {
        "round": masks.round,
        "masks": masks.digest,
        "annotations": sha256(annotations),
        # JSON has no nan: null where a figure is not defined.
        **{name: None if math.isnan(value) else value for name, value in figures.items()},
    }
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def table(measured: list[tuple[str, Path]], out: Path) -> str:
    """Write the table of all rounds as tab-separated values; returns it as text.

    Args:
        measured: a label of the kind of masks ("K = 8", "as made") and the JSON file of
            `run`, in the order of the rows.
        out: the file to write.

    Raises:
        InputError: a JSON file that is missing or damaged.
    """
    rows = []
    for kind, path in measured:
        require_file(path, "quality")
        try:
            figures = json.loads(path.read_text())
            rows.append([kind, str(figures["round"]), *(_shown(figures[c]) for c in COLUMNS)])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"quality {path} is damaged ({error}); delete it") from None
    header = ["masks", "round", *COLUMNS.values()]
    with atomic_write(out) as temporary:
        temporary.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in [header, *rows])
    text = "\n".join(line.rstrip() for line in lines)
    say(text)
    return text


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
