"""Stages `evaluate voc-detection` and others that train: train from a backbone, then score."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cyborgs.common.errors import InputError
from cyborgs.common.files import keep
from cyborgs.common.progress import say, track
from cyborgs.common.seeding import derive
from cyborgs.common.tables import aligned
from cyborgs.config import Compute
from cyborgs.config.downstream import Downstream
from cyborgs.evaluation.kinds import S, Trained
from cyborgs.evaluation.results import read_results, rows_of, write_result
from cyborgs.evaluation.sources import Source
from cyborgs.evaluation.task import Task
from cyborgs.models.backbones import family_of
from cyborgs.run.provenance import key_of, provenance
from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import choose_device
from cyborgs.runtime.memory import keep_freed_memory
from cyborgs.training.batches import Steps, arrived, load_batches
from cyborgs.training.finetune import (
    Finetuner,
    FinetuningState,
    Recipe,
    load_finetuning,
    save_finetuning,
)
from cyborgs.training.rolling import Rolling
from cyborgs.training.session import leads, run_steps, shared_precision, sole_job


def run(
    evaluation: Trained[S],
    config: Downstream,
    source: Source,
    datasets: Path,
    *,
    seed: int,
    compute: Compute,
    out: Path,
    work: Path,
    metrics: Path | None,
    command: str,
) -> None:
    """Train from a backbone, score, and write the metrics as JSON.

    Interrupted, the same call continues from the last rolling checkpoint and comes to the same
    metrics (on GPUs nearly: see `Finetuner`).

    Args:
        evaluation: what is trained, and how it is scored.
        config: its settings.
        source: the backbone.
        datasets: folder of its data.
        seed: of what is drawn: heads, order and mirroring of images, and random weights.
        compute: device, threads, processes, workers, and how often to save.
        out: the JSON file to write.
        work: folder for rolling checkpoints.
        metrics: file for the metrics of each epoch, or None.
        command: that makes the file again.

    Raises:
        InputError: input that is missing, damaged or does not fit together.
        ResumeLaterError: this job must leave, and the state is saved.
    """
    evaluation.fits(config.settings(evaluation), source.architecture)
    task, name = evaluation.task(config.settings(evaluation), datasets), evaluation.name
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    if device.type == "cpu":
        keep_freed_memory()
    record = provenance(
        evaluation.stage,
        config.used_by(name),
        {**task.inputs, **source.digests},
        libraries=family_of(source.architecture).libraries,
    )
    identity = {"seed": seed, "architecture": source.architecture, "network": source.network}
    key = f"{name}-{key_of(record | identity)}"
    rolling = Rolling(work, key, save_finetuning, load_finetuning)
    lead = leads()
    with sole_job(work / f"{key}.lock", out, device):
        # A job that outlived its workflow may have made it, earlier or while this one waited.
        if distributed.agree(lead and _is_made(out, record, identity), device):
            if lead:
                keep(out)
                rolling.remove()
            return
        ranks = distributed.size()
        continued = rolling.load()
        chosen = shared_precision(
            task.recipe.precision, f"downstream.{name}.precision", device, continued
        )
        recipe = replace(task.recipe, precision=chosen["precision"])
        record |= {"hardware": chosen}
        if continued is None:
            _inspect(name, task, ranks)
        trainer = _trainer(task, recipe, source, seed=seed, device=device, continued=continued)
        examples = task.examples(seed)

        def batches(first: int, last: int) -> tuple[int, Iterator[Any]]:
            steps = Steps(
                task.count,
                np.arange(task.count),
                batch_size=task.recipe.batch_size,
                first=first,
                last=last,
                seed=seed,
                rank=distributed.rank(),
                ranks=ranks,
            )
            pin = device.type == "cuda"
            return len(steps), load_batches(
                examples, steps, workers=compute.workers, pin=pin, collate=task.collate
            )

        def checkpoint() -> None:
            rolling.save(trainer.state(record))

        if trainer.step < task.steps:
            count, training = batches(trainer.step, task.steps)
            # Scoring may take long, too.
            run_steps(
                trainer,
                training,
                count,
                checkpoint=checkpoint,
                compute=compute,
                metrics=metrics,
                label=name,
                more=True,
            )
        if task.batchnorm:
            count, measuring = batches(task.steps, task.steps + task.batchnorm)
            label = f"{name}, BatchNorm" if lead else None
            measuring = distributed.in_step(arrived(measuring), count, 1, device)
            trainer.measure_batchnorm(track(measuring, count, label, "steps"))
        else:
            trainer.share_batchnorm()
        score = task.score(trainer.network.eval(), device, recipe.precision, compute.workers)
        if lead:
            row = {"seed": seed, "train": task.count, "test": task.tested, **score}
            result = write_result(
                out,
                name,
                source,
                seeds=[row],
                command=command,
                provenance=record,
                classes=task.classes,
            )
            rolling.remove()
            say(aligned(rows_of([result])))


def _inspect(name: str, task: Task, ranks: int) -> None:
    """Find annotations that are damaged, or of other images, before training or scoring does."""
    parts = [range(distributed.rank(), len(images), ranks) for images in task.inspected]
    count = sum(map(len, parts))
    own = (images[i] for images, part in zip(task.inspected, parts, strict=True) for i in part)
    label = f"{name}, check annotations" if leads() else None
    for image in track(own, count, label if count else None, "images"):
        image.check()


def _trainer(
    task: Task,
    recipe: Recipe,
    source: Source,
    *,
    seed: int,
    device: torch.device,
    continued: FinetuningState | None,
) -> Finetuner:
    backbone = source.load(seed)
    torch.manual_seed(derive(seed, "heads"))
    network = task.network(backbone)
    return Finetuner(
        network,
        task.groups,
        recipe,
        steps_per_epoch=task.steps_per_epoch,
        seed=seed,
        device=device,
        state=continued,
    )


def _is_made(out: Path, record: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether metrics are there, made by the same settings from the same inputs."""
    if not out.exists():
        return False
    with suppress(InputError):
        (result,) = read_results([out])
        seeds = [row["seed"] for row in result["seeds"]]
        found = {**result["backbone"], "seed": seeds[0] if len(seeds) == 1 else None}
        same = all(found[name] == value for name, value in identity.items())
        # As JSON has it.
        wanted = key_of(json.loads(json.dumps(record)))
        return same and key_of(result["provenance"]) == wanted
    return False
