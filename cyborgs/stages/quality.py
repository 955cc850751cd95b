"""Stage `quality`: masks of a round against ground truth, and the table of all rounds."""

import heapq
import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, sha256
from cyborgs.common.progress import say, track
from cyborgs.common.tables import aligned
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.index import Index, read_index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.quality.metrics import QualityMeter
from cyborgs.quality.results import Metrics, read_quality, rows_of
from cyborgs.run.sources import Sources

# Images that are named, of highest and of lowest adjusted Rand index.
EXTREMES = 12


def run(masks_where: str, index_path: Path, annotations: Path, out: Path | None) -> Metrics:
    """Measure the masks of a round, of all images or of some.

    One pass over the images, group by group; of an image nothing is kept.

    Args:
        masks_where: a folder of shards, a shard, or a pattern.
        index_path: the index of the images.
        annotations: COCO instances JSON that names images as the index does.
        out: the JSON file to write, or None.

    Returns:
        ``round``, digests of masks and annotations, the metrics of `QualityMeter.result` (None
        where undefined), and ``best`` and ``worst``: ``position``, ``name`` and ``ari`` of the
        images of highest and of lowest adjusted Rand index.

    Raises:
        InputError: input that is missing or does not fit, or no annotated image among those
            with masks.
    """
    result = _measure(masks_where, read_index(index_path), GroundTruth(annotations), annotations)
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _measure(masks_where: str, index: Index, truth: GroundTruth, annotations: Path) -> Metrics:
    masks = Masks(masks_where, index, complete=False)
    meter = QualityMeter()
    measured: list[tuple[float, int]] = []
    # The images of a group follow one another, as the meter asks.
    order = masks.positions[np.argsort(masks.groups[masks.positions], kind="stable")]
    for position in track(map(int, order), len(order), "quality", "images"):
        entry = index[position]
        if entry.name not in truth:
            continue
        labels = full_size(masks.read(position), entry.height, entry.width, masks.stride)
        instances = truth.instances(entry)
        ari = meter.update(labels, instances, int(masks.groups[position]))
        if ari is not None and not math.isnan(ari):
            measured.append((ari, position))
    metrics = meter.result()
    if not metrics["images"]:
        raise InputError(
            f"annotations {annotations}: no object in any of the {len(masks.positions)} images "
            f"with masks ({index[int(masks.positions[0])].name} …); do they belong to these images?"
        )

    def named(images: Iterable[tuple[float, int]]) -> list[Metrics]:
        return [{"position": p, "name": index[p].name, "ari": ari} for ari, p in images]

    return {
        "round": masks.round,
        "masks": masks.digest,
        "annotations": sha256(annotations),
        # JSON has no nan: null where a metric is not defined.
        **{name: None if math.isnan(value) else value for name, value in metrics.items()},
        "best": named(heapq.nsmallest(EXTREMES, measured, key=lambda m: (-m[0], m[1]))),
        "worst": named(heapq.nsmallest(EXTREMES, measured)),
    }


def run_all(sources: Sources) -> list[Metrics]:
    """Measure each round of the sources.

    Raises `InputError` as `run`, and where the annotations are not known.
    """
    index = read_index(sources.require_index())
    annotations = sources.require_annotations()
    truth = GroundTruth(annotations)
    return [_measure(where, index, truth, annotations) for _, where in sources.rounds]


def text(results: list[Metrics]) -> str:
    """The metrics for people: a line a round."""
    return aligned([row[1:] for row in rows_of([("", metrics) for metrics in results])])


def table(measured: list[tuple[str, Path]], out: Path) -> str:
    """Write the table of all rounds as tab-separated values; returns it as text.

    Args:
        measured: a label of the kind of masks ("K = 8", "as made") and the JSON file of
            `run`, in the order of the rows.
        out: the file to write.

    Raises:
        InputError: a JSON file that is missing or damaged.
    """
    rows = rows_of([(kind, read_quality(path)) for kind, path in measured])
    with atomic_write(out) as temporary:
        temporary.write_text("".join("\t".join(row) + "\n" for row in rows))
    shown = aligned(rows)
    say(shown)
    return shown
