"""Stage `evaluate segmentation`: linear classification of pixels on frozen features."""

from pathlib import Path

import torch

from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream
from cyborgs.data.annotations import GroundTruth, draw_annotated
from cyborgs.data.decoding import decode
from cyborgs.data.index import read_index
from cyborgs.errors import InputError
from cyborgs.evaluation.results import Result, rows_of, write_result
from cyborgs.evaluation.segmentation import IGNORED, Labels, Pixels, evaluate, split
from cyborgs.evaluation.sources import Source
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
    """Measure a backbone and write the figures as JSON; arguments as `evaluate_objects.run`.

    Raises `InputError` where input is missing or does not fit.
    """
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    index, truth = read_index(index_path), GroundTruth(annotations)
    settings = config.segmentation
    positions = draw_annotated(index, truth, settings.images, "segmentation")
    if len(positions) < 2:
        raise InputError(
            f"annotations {annotations}: they know {len(positions)} of these images; two are "
            "needed, do they belong to them?"
        )

    def read(position: int) -> tuple[Pixels, Labels]:
        entry = index[position]
        instances = truth.instances(entry)
        try:
            labels = instances.category_map()
        except InputError as error:
            raise InputError(f"annotations {annotations}: image {entry.name}: {error}") from None
        labels[instances.ignore] = IGNORED
        return decode(images, entry), labels

    seeds = []
    for seed in track(range(config.seeds), config.seeds, "segmentation", "seeds"):
        train, test = split(positions, settings.test, seed)
        scores = evaluate(source.load(seed), read, train, test, settings, seed, device)
        seeds.append({"seed": seed, "train": len(train), "test": len(test), **scores})
    result = write_result(
        out,
        "segmentation",
        source,
        seeds,
        command,
        provenance(
            "evaluate-segmentation",
            config.used_by("segmentation"),
            {"index": index.digest, "annotations": sha256(annotations), **source.digests},
            ("scikit-learn",),
            provenance_of(device, "float32"),
        ),
        # Background is one.
        1 + len(truth.categories),
    )
    say(aligned(rows_of([result])))
    return result
