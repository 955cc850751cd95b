"""Stage `evaluate objects`: classification of annotated objects on frozen features."""

import json
from pathlib import Path
from statistics import mean, pstdev, stdev
from typing import Any

import numpy as np
import torch

from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream, Objects
from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import decode
from cyborgs.data.index import Index, read_index
from cyborgs.distributed import choose_device
from cyborgs.errors import InputError
from cyborgs.evaluation.objects import Crops, classify, crop, features, split
from cyborgs.evaluation.sources import RANDOM, Network, find_source
from cyborgs.files import atomic_write, require_file, sha256
from cyborgs.progress import say, track
from cyborgs.seeding import generator
from cyborgs.stages.provenance import provenance
from cyborgs.tables import aligned

# Columns of the table: key of the figures, heading.
COLUMNS = {
    "knn": "k-NN",
    "knn_classes": "k-NN, mean of classes",
    "linear": "linear",
    "linear_classes": "linear, mean of classes",
}

Result = dict[str, Any]


def run(
    config: Downstream,
    backbone: str,
    images: Path,
    index_path: Path,
    annotations: Path,
    compute: Compute,
    out: Path,
    architecture: str | None = None,
    network: Network = "online",
) -> Result:
    """Measure a backbone and write the figures as JSON.

    Args:
        config: how.
        backbone: file, "random" or "imagenet", as `find_source` has it.
        images: folder of the images.
        index_path: their index.
        annotations: COCO instances JSON of them.
        compute: device and threads.
        out: the JSON file to write.
        architecture: of random and ImageNet weights.
        network: "online" or "target".

    Returns:
        ``backbone``, ``settings``, the figures of each seed under ``seeds``, ``mean`` and
        ``deviation`` (of the sample; 0 for one seed) over seeds, and ``provenance``.

    Raises:
        InputError: input that is missing or does not fit.
    """
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    source = find_source(backbone, architecture, network)
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
    spread = stdev if len(seeds) > 1 else pstdev
    result = {
        "evaluation": "objects",
        "backbone": {
            "name": source.name,
            "architecture": source.architecture,
            "layout": source.layout,
            "network": source.network,
        },
        "categories": len(np.unique(crops.categories)),
        "seeds": seeds,
        "mean": {key: mean(row[key] for row in seeds) for key in COLUMNS},
        "deviation": {key: spread([row[key] for row in seeds]) for key in COLUMNS},
        "provenance": provenance(
            "evaluate-objects",
            config.model_dump(include={"seeds", "objects"}),
            {
                "index": index.digest,
                "annotations": sha256(annotations),
                **({"backbone": source.digest} if source.digest else {}),
            },
            ("scikit-learn",),
        ),
    }
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    say(aligned(rows_of([result])))
    return result


def _crops(images: Path, index: Index, truth: GroundTruth, settings: Objects) -> Crops:
    annotated = np.array([p for p in range(len(index)) if index[p].name in truth], np.int64)
    # The same images for every backbone and seed.
    drawn = np.sort(generator(0, "objects").permutation(annotated)[: settings.images])
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


def table(paths: list[Path], out: Path | None) -> str:
    """The figures of several backbones as text.

    Args:
        paths: what `run` wrote.
        out: file for the same as tab-separated values, with settings and hashes behind each line.

    Raises:
        InputError: a file that is missing or is none of them.
    """
    results = read_results(paths)
    rows = rows_of(results)
    if out is not None:
        roles = ("backbone", "index", "annotations")
        header = [*rows[0], *(f"{role} (SHA-256)" for role in roles), "settings"]
        lines = [header]
        for row, result in zip(rows[1:], results, strict=True):
            record = result["provenance"]
            hashes = [record["inputs"].get(role, "-") for role in roles]
            lines.append([*row, *hashes, json.dumps(record["config"], sort_keys=True)])
        with atomic_write(out) as temporary:
            temporary.write_text("".join("\t".join(line) + "\n" for line in lines))
    return aligned(rows)


def rows_of(results: list[Result]) -> list[list[str]]:
    """A heading, and a row for each backbone: percent, mean and deviation over seeds."""
    header = ["backbone", "network", *COLUMNS.values(), "seeds", "objects, test", "chance"]
    rows = [
        [
            f"{r['backbone']['name']} ({r['backbone']['architecture']})",
            r["backbone"]["network"],
            *(f"{100 * r['mean'][k]:.1f} ± {100 * r['deviation'][k]:.1f}" for k in COLUMNS),
            str(len(r["seeds"])),
            str(r["seeds"][0]["test"]),
            f"{100 / r['categories']:.1f}",
        ]
        for r in results
    ]
    return [header, *rows]


def read_results(paths: list[Path]) -> list[Result]:
    """What `run` wrote.  Raises `InputError` where a file is missing or is none of them."""
    results = []
    for path in paths:
        require_file(path, "result")
        try:
            result = json.loads(path.read_text())
            if result["evaluation"] != "objects":
                raise ValueError("of another evaluation")
            rows_of([result])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"result {path} is damaged ({error}); make it again") from None
        results.append(result)
    return results
