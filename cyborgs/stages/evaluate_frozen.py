"""Stages `evaluate objects` and others of frozen features: measure, all seeds in one job."""

from pathlib import Path

import torch

from cyborgs.common.progress import say
from cyborgs.common.tables import aligned
from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream
from cyborgs.evaluation.kinds import D, Frozen, Given, S
from cyborgs.evaluation.results import Result, rows_of, write_result
from cyborgs.evaluation.sources import Source
from cyborgs.models.backbones import family_of
from cyborgs.run.provenance import provenance
from cyborgs.runtime.hardware import choose_device, provenance_of


def run(
    evaluation: Frozen[S, D],
    config: Downstream,
    source: Source,
    data: D,
    *,
    compute: Compute,
    out: Path,
    command: str,
    scores: Path | None = None,
) -> Result:
    """Measure a backbone and write the metrics as JSON.

    Args:
        evaluation: what is measured.
        config: how.
        source: the backbone.
        data: what the evaluation is on.
        compute: device, threads and workers.
        out: the JSON file to write.
        command: that makes it again.
        scores: file for the scores of each test image, where the evaluation has such.

    Returns:
        The metrics, as `write_result` has them.

    Raises:
        InputError: input that is missing, damaged, or does not fit.
    """
    evaluation.fits(config.settings(evaluation), source.architecture)
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    measured = evaluation.measure(
        Given(
            settings=config.settings(evaluation),
            data=data,
            source=source,
            seeds=config.seeds,
            device=device,
            compute=compute,
            scores=scores,
        )
    )
    record = provenance(
        evaluation.stage,
        config.used_by(evaluation.name),
        {**measured.inputs, **source.digests},
        libraries=("scikit-learn", *family_of(source.architecture).libraries),
        hardware=provenance_of(device, "float32"),
    )
    result = write_result(
        out,
        evaluation.name,
        source,
        seeds=measured.rows,
        command=command,
        provenance=record,
        classes=measured.classes,
    )
    say(aligned(rows_of([result])))
    return result
