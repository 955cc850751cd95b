"""Stage `pretrain`: a round of training, from one state to the next."""

import importlib.util
import os
import shutil
import sysconfig
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import keep, sha256
from cyborgs.common.progress import say, track
from cyborgs.config import Compute, Config
from cyborgs.images.index import Index, read_index
from cyborgs.masks.shards import Masks
from cyborgs.models.backbones import family_of
from cyborgs.models.pair import Pair
from cyborgs.pretraining.samples import TwoViews
from cyborgs.pretraining.settings import check_cells
from cyborgs.pretraining.state import first_not_finite, load_state, require_model, save_state
from cyborgs.pretraining.trainer import Trainer
from cyborgs.run.provenance import key_of, provenance
from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import choose_device
from cyborgs.runtime.memory import keep_freed_memory
from cyborgs.training.batches import Steps, load_batches
from cyborgs.training.metrics import Row
from cyborgs.training.rolling import Rolling
from cyborgs.training.session import leads, run_steps, shared_precision, sole_job

# Steps of a round from which compiling clearly pays off: it takes a minute, and saves about a fifth
# of each step's time (measured on an H100).
_WORTH_COMPILING = 5000


def run(
    config: Config,
    *,
    number: int,
    images: Path,
    index_path: Path,
    state_path: Path,
    masks_where: str,
    out: Path,
    work: Path,
    compute: Compute,
    metrics: Path | None = None,
) -> None:
    """Train round ``number`` on the masks of the round before, or on the seed masks.

    Interrupted, the same call continues from the last rolling checkpoint and ends in the
    same state.  One that is there, whole and made from these inputs by these settings, is kept.

    Args:
        config: uses `seed`, `model`, `views` and `pretrain`.
        number: of the round, from 1.
        images: folder of the images.
        index_path: their index.
        state_path: state of the round before.
        masks_where: masks of the round before, or of round 0 with `pretrain.fixed_masks`: a
            folder, a shard, or a pattern.
        out: the state to write.
        work: folder for rolling checkpoints.
        compute: device, threads, workers, how often to save, and how long before a time limit;
            changes no result beyond rounding.
        metrics: file for the metrics of each epoch (`train`), or None.

    Raises:
        InputError: input that is missing, damaged or does not fit together, by name.
    """
    cell = config.model.cell
    check_cells(config.pretrain, config.views, cell)
    torch.set_num_threads(compute.threads)
    device = choose_device(compute.device)
    if device.type == "cpu":
        keep_freed_memory()
    index = read_index(index_path)
    state = load_state(state_path)
    require_model(state_path, state, config.model.recorded())
    if state.round != number - 1:
        raise InputError(
            f"state {state_path} is of round {state.round}; round {number} begins from round "
            f"{number - 1}"
        )
    digest = sha256(state_path)
    masks = Masks(masks_where, index)
    settings = config.for_round(number).pretrain
    wanted = 0 if settings.fixed_masks else number - 1
    if masks.round != wanted:
        raise InputError(
            f"masks {masks_where} are of round {masks.round}; round {number} trains on those of "
            f"round {wanted}"
        )
    if not settings.fixed_masks:
        _require_made_from(masks, masks_where, digest, state_path)
    record = provenance(
        "pretrain",
        {
            "seed": config.seed,
            "model": state.model,
            "views": config.views.recorded(),
            "pretrain": settings.recorded(),
        },
        {"index": index.digest, "state": digest, "masks": masks.digest},
        libraries=family_of(state.architecture).libraries,
    )
    steps_per_epoch = _steps_per_epoch(index, settings.batch_size)
    assert isinstance(settings.epochs, int)
    last = state.step + settings.epochs * steps_per_epoch
    rolling = Rolling(work, f"pretrain-{key_of(record)}", save_state, load_state)
    lead = leads()
    if lead and masks.skipped:
        say(f"pretrain: {len(masks.skipped)} images have no mask and are not drawn")

    with sole_job(work / f"{out.stem}.lock", out, device):
        # A job that outlived its workflow may have made it, earlier or while this one waited.
        if distributed.agree(lead and _is_made(out, record), device):
            if lead:
                keep(out)
                rolling.remove()
            return
        ranks = distributed.size()
        if settings.batch_size % ranks:
            raise InputError(
                f"pretrain.batch_size: {settings.batch_size} is not a multiple of {ranks} processes"
            )
        continued = rolling.load()
        chosen = shared_precision(settings.precision, "pretrain.precision", device, continued)
        settings = settings.model_copy(update={"precision": chosen["precision"]})
        record |= {"hardware": chosen}
        if continued is None:
            _read_all(masks, np.array_split(masks.as_stored, ranks)[distributed.rank()])
        compiled = _is_compiled(compute, device, last - state.step)
        trainer = Trainer(
            continued or state,
            settings,
            steps_per_epoch=steps_per_epoch,
            device=device,
            compiled=compiled,
            seed=config.seed,
        )
        dataset = TwoViews(
            images,
            index,
            masks,
            config.views,
            cell=cell,
            samples=settings.masks,
            seed=config.seed,
            scrambled=settings.scramble_masks,
        )
        steps = Steps(
            len(index),
            masks.positions,
            batch_size=settings.batch_size,
            first=trainer.step,
            last=last,
            seed=config.seed,
            rank=distributed.rank(),
            ranks=ranks,
        )

        def checkpoint() -> None:
            rolling.save(trainer.state(number, record))

        batches = load_batches(dataset, steps, workers=compute.workers, pin=device.type == "cuda")
        rows = run_steps(
            trainer,
            batches,
            len(steps),
            checkpoint=checkpoint,
            compute=compute,
            metrics=metrics,
            label="pretrain",
        )
        if distributed.rank() == 0:
            _require_finite(trainer.pair)
            save_state(out, trainer.state(number, record))
            rolling.remove()
            say(f"pretrain: round {number}, {_summary(rows)}, {last} steps so far, in {out}")


def _is_compiled(compute: Compute, device: torch.device, steps: int) -> bool:
    """Whether the backbones are compiled; says so, as it takes a while.

    Raises `InputError` where that is asked for, and what builds the code is missing.
    """
    chosen, missing = compute.compile, _missing_for_compiling(device)
    if chosen == "auto":
        # Several processes have not been tried with it.
        alone = distributed.size() == 1
        chosen = device.type == "cuda" and alone and not missing and steps >= _WORTH_COMPILING
    elif chosen and missing:
        raise InputError(f"compute.compile: needs {missing}, missing here; set it to false")
    if chosen and leads():
        say(
            f"compiling the backbones (compute.compile: {str(compute.compile).lower()}): the first "
            "step takes about a minute"
        )
    return chosen


def _missing_for_compiling(device: torch.device) -> str | None:
    """What PyTorch's compiler needs on a device and does not find."""
    if device.type == "cpu":
        found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
        return None if found else "a C++ compiler"
    if importlib.util.find_spec("triton") is None:
        return "Triton"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler"
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    return None if headers else "the headers of Python (Debian: python3-dev)"


def _is_made(out: Path, record: dict[str, Any]) -> bool:
    """Whether a state is there, whole, and made by the same settings from the same inputs."""
    with suppress(InputError):
        return out.exists() and key_of(load_state(out).provenance) == key_of(record)
    return False


def _read_all(masks: Masks, positions: NDArray[np.int64]) -> None:
    """Find a damaged mask before training does, in the middle of a round."""
    label = "check masks" if leads() else None
    for position in track(positions, len(positions), label, "images"):
        masks.read(int(position))
    masks.close()


def _require_finite(pair: Pair) -> None:
    """Each loss was finite, but the last step may have been the one too many."""
    name = first_not_finite(pair.state_dict())
    if name is not None:
        raise InputError(
            f"pretrain: {name} has values that are not finite after the last step; lower "
            "pretrain.base_learning_rate, or raise pretrain.schedule.warmup_epochs"
        )


def _summary(rows: list[Row]) -> str:
    """What the epochs of a round came to, or those since it was interrupted."""
    if not rows:
        return "no whole epoch since it was interrupted"
    speed = median(row["images_per_second"] for row in rows)
    first, last = rows[0]["loss"], rows[-1]["loss"]
    return f"{len(rows)} epochs, loss {first:.4f} to {last:.4f}, {speed:.1f} images/s"


def _require_made_from(masks: Masks, where: str, state_digest: str, state_path: Path) -> None:
    made_from = masks.provenance["inputs"].get("state", state_digest)
    if made_from != state_digest:
        raise InputError(
            f"masks {where} were made from another state ({made_from[:12]}…) than {state_path} "
            f"({state_digest[:12]}…): they belong to another run; make them again"
        )


def _steps_per_epoch(index: Index, batch_size: int) -> int:
    if len(index) < batch_size:
        raise InputError(
            f"pretrain.batch_size: {batch_size} images a step, but the index has {len(index)}"
        )
    return len(index) // batch_size
