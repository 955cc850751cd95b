"""Stage `seed state`: the training state of round 0."""

from pathlib import Path

import torch

from cyborgs.checkpoints.layouts import Checkpoint, read_checkpoint, read_weights
from cyborgs.common.files import sha256
from cyborgs.common.progress import say
from cyborgs.common.seeding import derive
from cyborgs.config import Config
from cyborgs.models.backbones import family_of
from cyborgs.models.backbones.backbone import describe_mismatch
from cyborgs.models.pair import Pair
from cyborgs.models.settings import Model
from cyborgs.pretraining.state import TrainingState, save_state
from cyborgs.run.provenance import provenance


def run(config: Config, out: Path) -> None:
    """Write the state of round 0: random weights, or those that `model.weights` names.

    Raises `InputError` where the given weights do not fit.
    """
    weights = config.model.weights_file
    given = None if weights is None else read_weights(Path(weights), config.model.architecture)
    _write(config, given, Path(weights or ""), out)


def import_checkpoint(path: Path, out: Path, config: Config | None) -> None:
    """Write the state of round 0 from a checkpoint of another program, or of this one.

    Args:
        path: any file that `read_checkpoint` reads.
        out: the state to write.
        config: uses `seed` and `model`; None: the file's architecture, heads of the file's sizes
            (of the usual ones where it has none), and seed 0 for what it lacks.

    Raises:
        InputError: the file cannot be read, or does not fit the configuration.
    """
    if config is not None:
        model = config.model.model_copy(update={"weights": str(path)})
        run(config.model_copy(update={"model": model}), out)
        return
    given = read_checkpoint(path)
    model = Model().model_copy(update={"architecture": given.architecture})
    sizes = given.online.get("projector.0.weight"), given.online.get("projector.3.weight")
    if sizes[0] is not None and sizes[1] is not None:
        heads = {"hidden": sizes[0].shape[0], "projection": sizes[1].shape[0]}
        model = model.model_copy(update=heads)
    _write(Config(model=model), given, path, out)


def _write(config: Config, given: Checkpoint | None, source: Path, out: Path) -> None:
    model = config.model
    torch.manual_seed(derive(config.seed, "weights"))
    settings = model.recorded()
    pair = Pair(**settings)
    inputs = {}
    told = "random weights"
    if given is not None:
        told = f"from {source} ({given.layout}), {_load(pair, given)}"
        inputs["weights"] = sha256(source)
    record = provenance(
        "seed-state",
        {"seed": config.seed, "model": settings},
        inputs,
        libraries=family_of(model.architecture).libraries,
    )
    save_state(
        out,
        TrainingState(
            model=settings,
            round=0,
            step=0,
            online=pair.online.state_dict(),
            target=pair.target.state_dict(),
            momentum_buffers={},
            scaler={},
            provenance=record,
        ),
    )
    say(f"state of round 0: {model.architecture} in {out}, {told}")


def _load(pair: Pair, given: Checkpoint) -> str:
    """Put a checkpoint's weights into the networks; returns which, for people.

    Heads are taken where all of them fit; a target where the file has one, else it is a copy.
    """
    online = pair.online.state_dict()
    heads = [name for name in online if not name.startswith("backbone.")]
    if all(name in given.online for name in heads) and not describe_mismatch(online, given.online):
        pair.online.load_state_dict(given.online)
        told = "with its heads"
    else:
        pair.online.backbone.load_state_dict(given.backbone())
        told = "heads are random"
    pair.reset_target()
    if given.target:
        target = pair.target.state_dict()
        if describe_mismatch(target, given.target):
            pair.target.backbone.load_state_dict(given.backbone("target"))
        else:
            pair.target.load_state_dict(given.target)
        told += ", with its moving average"
    return told
