"""Stage `seed state`: the training state of round 0."""

from pathlib import Path

import torch

from cyborgs.config import Config
from cyborgs.files import sha256
from cyborgs.models.backbones import load_backbone_weights
from cyborgs.models.detcon import DetCon
from cyborgs.progress import say
from cyborgs.seeding import derive
from cyborgs.stages.provenance import provenance
from cyborgs.training.state import TrainingState, save_state


def run(config: Config, out: Path) -> None:
    """Write the state of round 0: random weights, or those that `model.weights` names.

    Raises `InputError` where the given weights do not fit.
    """
    model = config.model
    torch.manual_seed(derive(config.seed, "weights"))
    pair = DetCon(model.architecture, model.hidden, model.projection)
    inputs = {}
    if model.weights is not None:
        load_backbone_weights(pair.online.backbone, Path(model.weights))
        pair.reset_target()
        inputs["weights"] = sha256(Path(model.weights))
    settings = model.model_dump(exclude={"weights"})
    record = provenance("seed-state", {"seed": config.seed, "model": settings}, inputs)
    save_state(
        out,
        TrainingState(
            model=settings,
            round=0,
            step=0,
            online=pair.online.state_dict(),
            target=pair.target.state_dict(),
            velocities={},
            scaler={},
            provenance=record,
        ),
    )
    say(f"seed: {model.architecture} in {out}")
