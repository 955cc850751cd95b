"""Stage `evaluate voc-svm`: VOC07 classification by linear SVMs on frozen features."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from numpy.typing import NDArray

from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream, VocSvm
from cyborgs.data.classes import CentralCrops
from cyborgs.data.dataset import arrived, load_batches
from cyborgs.data.voc import voc_classes, voc_labels
from cyborgs.evaluation.linear import pooled
from cyborgs.evaluation.results import Result, rows_of, write_result
from cyborgs.evaluation.sources import RANDOM, Source
from cyborgs.evaluation.svm import class_ap, require_enough
from cyborgs.files import atomic_write, require_file
from cyborgs.hardware import choose_device, provenance_of
from cyborgs.models.backbones import Backbone
from cyborgs.progress import say, track
from cyborgs.stages.provenance import provenance
from cyborgs.tables import aligned
from cyborgs.training.finetune import moved

# Images that go through the network together.
_BATCH = 32


def run(
    config: Downstream,
    source: Source,
    datasets: Path,
    compute: Compute,
    out: Path,
    command: str,
    scores: Path | None = None,
) -> Result:
    """Measure a backbone and write the figures as JSON.

    Args:
        config: how.
        source: the backbone.
        datasets: folder with ``VOC2007``.
        compute: device, threads and loader processes.
        out: the JSON file to write.
        command: that makes it again.
        scores: file (.npz) for what the figures of the first seed come from: ``names`` of the test
            images, ``classes``, ``truth`` (int8 ``(images, classes)``: 1, -1, and 0 where only
            difficult objects are seen) and ``scores`` (float32, of the same shape).

    Returns:
        The figures, as `write_result` has them; a row also has ``classes``, the average precision
        of each, and ``costs``, the C of each.

    Raises:
        InputError: data that is missing, damaged, or too little.
    """
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    settings, root = config.voc_svm, datasets / "VOC2007"
    classes = voc_classes(root)
    splits = {split: voc_labels(root, split, classes) for split in ("trainval", "test")}
    (_, train), (_, test) = splits["trainval"], splits["test"]
    for column, name in enumerate(classes):
        require_enough(name, train[:, column], test[:, column], settings.folds)
    digests = {split: _digest(root, *part) for split, part in splits.items()}
    vectors: dict[str, NDArray[np.float32]] = {}
    seeds: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        # Only random weights are others for each seed.
        if not vectors or source.name == RANDOM:
            backbone = source.load(seed)
            vectors = {
                split: _features(backbone, root, split, names, settings, compute, device)
                for split, (names, _) in splits.items()
            }

        # Processes, as in one process all of the solver's threads draw from one generator.
        found = Parallel(compute.threads, return_as="generator")(
            delayed(class_ap)(
                vectors["trainval"], train[:, c], vectors["test"], test[:, c], settings, seed
            )
            for c in range(len(classes))
        )
        fitted = list(track(found, len(classes), f"voc_svm, seed {seed}", "classes"))
        if scores is not None and seed == 0:
            _write_scores(scores, splits["test"], classes, [own for _, _, own in fitted])
        seeds.append(
            {
                "seed": seed,
                "train": len(train),
                "test": len(test),
                "map": float(np.mean([ap for ap, _, _ in fitted])),
                "classes": {n: ap for n, (ap, _, _) in zip(classes, fitted, strict=True)},
                "costs": {n: c for n, (_, c, _) in zip(classes, fitted, strict=True)},
            }
        )
    result = write_result(
        out,
        "voc_svm",
        source,
        seeds,
        command,
        provenance(
            "evaluate-voc-svm",
            config.used_by("voc_svm"),
            {**digests, **source.digests},
            ("scikit-learn",),
            provenance_of(device, "float32"),
        ),
        len(classes),
    )
    say(aligned(rows_of([result])))
    return result


def _write_scores(
    path: Path,
    test: tuple[list[str], NDArray[np.int64]],
    classes: list[str],
    scores: list[NDArray[np.float32]],
) -> None:
    names, truth = test
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            names=np.array(names),
            classes=np.array(classes),
            truth=truth.astype(np.int8),
            scores=np.stack(scores, axis=1),
        )


@torch.inference_mode()
def _features(
    backbone: Backbone,
    root: Path,
    split: str,
    names: list[str],
    settings: VocSvm,
    compute: Compute,
    device: torch.device,
) -> NDArray[np.float32]:
    """Mean features of central crops, l2-normalised: float32 ``(images, channels)``."""
    backbone = backbone.to(device).to(memory_format=torch.channels_last)
    paths = [_image(root, name) for name in names]
    crops = CentralCrops(paths, np.zeros(len(paths), np.int64), settings.short_side, settings.crop)
    keys = [list(range(i, min(i + _BATCH, len(paths)))) for i in range(0, len(paths), _BATCH)]
    found = []
    batches = arrived(load_batches(crops, keys, compute.workers, device.type == "cuda"))
    for batch in track(batches, len(keys), f"voc_svm, {split}", "batches"):
        images = moved(batch["image"], device)
        found.append(F.normalize(pooled(backbone, images), dim=-1).cpu())
    return torch.cat(found).numpy()


def _digest(root: Path, names: list[str], labels: NDArray[np.int64]) -> str:
    """SHA-256 of names and sizes of images, and of their labels."""
    files = [require_file(_image(root, name), "image") for name in names]
    lines = [f"{name} {file.stat().st_size}" for name, file in zip(names, files, strict=True)]
    return hashlib.sha256("\n".join(lines).encode() + labels.tobytes()).hexdigest()


def _image(root: Path, name: str) -> Path:
    return root / f"JPEGImages/{name}.jpg"
