"""Stage `evaluate objects`: classification of annotated objects on frozen features."""

from pathlib import Path

import numpy as np
import torch

from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream, Objects
from cyborgs.data.annotations import GroundTruth, draw_annotated
from cyborgs.data.decoding import decode
from cyborgs.data.index import Index, read_index
from cyborgs.errors import InputError
from cyborgs.evaluation.objects import Crops, classify, crop, features, split
from cyborgs.evaluation.results import Result, rows_of, write_result
from cyborgs.evaluation.sources import RANDOM, Source
from cyborgs.files import sha256
from cyborgs.hardware import choose_device, provenance_of
from cyborgs.progress import say, track
from cyborgs.stages.provenance import provenance
from cyborgs.tables import aligned


def run(
    config: Downstream,
    source: Source,
    images: Path,
    index_path: Path,
    annotations: Path,
    compute: Compute,
    out: Path,
    command: str,
) -> Result:
    """Measure a backbone and write the figures as JSON.

    Args:
        config: how.
        source: the backbone.
        images: folder of the images.
        index_path: their index.
        annotations: COCO instances JSON of them.
        compute: device and threads.
        out: the JSON file to write.
        command: that makes it again.

    Returns:
        The figures, as `write_result` has them.

    Raises:
        InputError: input that is missing or does not fit.
    """
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    index = read_index(index_path)
    settings = config.objects
    crops = _crops(images, index, GroundTruth(annotations), settings)
    if not len(crops.categories):
        raise InputError(
            f"annotations {annotations}: no object of {settings.smallest} pixels a side in these "
            "images; do they belong to them?"
        )
    vectors = None
    seeds = []
    for seed in range(config.seeds):
        # Only random weights are others for each seed.
        if vectors is None or source.name == RANDOM:
            vectors = features(source.load(seed), crops.pixels, device)
        train, test = split(crops.images, crops.categories, settings.test, seed)
        scores = classify(vectors, crops.categories, train, test, settings)
        counts = {"train": int(train.sum()), "test": int(test.sum())}
        seeds.append({"seed": seed, **counts, **scores})
    inputs = {"index": index.digest, "annotations": sha256(annotations), **source.digests}
    result = write_result(
        out,
        "objects",
        source,
        seeds,
        command,
        provenance(
            "evaluate-objects",
            config.used_by("objects"),
            inputs,
            ("scikit-learn",),
            provenance_of(device, "float32"),
        ),
        len(np.unique(crops.categories)),
    )
    say(aligned(rows_of([result])))
    return result


def _crops(images: Path, index: Index, truth: GroundTruth, settings: Objects) -> Crops:
    drawn = draw_annotated(index, truth, settings.images, "objects")
    size = settings.size
    pixels, categories, positions = [], [], []
    for position in track(map(int, drawn), len(drawn), "objects", "images"):
        entry = index[position]
        instances = truth.instances(entry)
        if not len(instances.masks):
            continue
        image = decode(images, entry)
        for number, part in crop(image, instances.masks, size, settings.smallest):
            pixels.append(part)
            categories.append(instances.categories[number])
            positions.append(position)
    return Crops(
        np.array(pixels, np.uint8).reshape(-1, size, size, 3),
        np.array(categories, np.int64),
        np.array(positions, np.int64),
    )
