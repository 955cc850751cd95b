"""Backbones, and their features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cyborgs.api.runs import Run, among, open_run
from cyborgs.checkpoints.layouts import read_checkpoint
from cyborgs.common.errors import InputError
from cyborgs.evaluation.settings import require_multiple
from cyborgs.models.backbones import place_of, stages_named
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pooling import join_stages


def load_backbone(
    source: str | Path | Run,
    round: int | None = None,
    *,
    network: Literal["online", "target"] = "online",
    architecture: str | None = None,
) -> Backbone:
    """A backbone in eval mode, on the CPU.

    Args:
        source: a run, by its folder or open; or a file: a state of this program, or any checkpoint
            that ``cyborgs import`` reads.
        round: of a run, the round after which to take it; 0 has the initial weights.  The last one
            that has been trained, unless told otherwise.
        network: the one that learns, or "target", its moving average.
        architecture: of a file of timm's weights that does not say so itself.

    Raises:
        InputError: no such file or round, or a file that holds no backbone.
    """
    if isinstance(source, Run) or Path(source).is_dir():
        run = open_run(source)
        trained = run.trained()
        if round is None and not trained:
            raise InputError(f"run {run.folder} has no state yet; run the workflow first")
        path = run.files.state(
            among(trained[-1] if round is None else round, trained, run, "state")
        )
    elif round is not None:
        raise InputError(f"round={round}: {source} is not a run; give no round for a file")
    else:
        path = Path(source)
    checkpoint = read_checkpoint(path, "backbone", architecture)
    if network not in ("online", "target"):
        raise InputError(f'network={network!r}: is "online" or "target"')
    if network == "target" and not checkpoint.target:
        raise InputError(f"network: {path} ({checkpoint.layout}) holds no moving average")
    backbone = Backbone(checkpoint.architecture)
    backbone.load_state_dict(checkpoint.backbone(network))
    return backbone.eval()


@torch.no_grad()
def features(
    backbone: Backbone,
    images: ArrayLike | Sequence[ArrayLike],
    block: str | None = None,
    *,
    stages: Sequence[str] | None = None,
) -> Tensor:
    """Features of images, without gradient; images are normalised here, and not resized.

    Args:
        backbone: in eval mode, from `load_backbone`; computes where its weights are.
        images: RGB, uint8 ``(height, width, 3)``, or several of one size, ``(n, height, width,
            3)``.
        block: None for what masks pool in training: the outputs of some stages, average-pooled to
            the grid of the last of them and joined in order (for a ResNet-50: layer2, layer3 and
            layer4, 3,584 channels).  Or a block or stage such as "layer2.2", whose output
            bootstrapping clusters once each location is l2-normalised.
        stages: which are joined, such as ``run.config.model.pooled``; None: those that masks pool
            by default.

    Returns:
        ``(n, channels, rows, cols)``, in the precision of the weights.  A side of a ResNet's
        features has ``ceil(side / stride)`` locations; the strides of layer1 to layer4 are 4, 8, 16
        and 32.

    Raises:
        InputError: images of another type or shape, a backbone in training mode, or an unknown
            block or stage; or joined stages of sides that are no multiple of the last stage's
            stride, where the architecture asks for one.
    """
    if backbone.training:
        raise InputError(
            "the backbone is in training mode, where features depend on the batch; call eval() on "
            "it first"
        )
    if block is not None and stages is not None:
        raise InputError("block and stages: give one of them; a block is not joined with others")
    weights = next(backbone.parameters())
    batch = _batch(images)
    pixels = backbone.normalise(torch.from_numpy(batch).to(weights.device)).to(weights.dtype)
    if block is not None:
        place = place_of(backbone.architecture, block, "block").name
        return backbone.aligned(pixels, [place])[place]
    names = [stage.name for stage in stages_named(backbone.architecture, stages, "stages")]
    for side in batch.shape[1:3]:
        require_multiple(side, backbone.architecture, "images")
    return join_stages(backbone(pixels), names)


def _batch(images: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.uint8]:
    try:
        pixels = np.asarray(images)
    except ValueError:
        raise InputError("images of several sizes: take those of one size at a time") from None
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InputError(
            "images must be RGB, uint8 (height, width, 3) or (n, height, width, 3); got "
            f"{pixels.dtype} {pixels.shape}"
        )
    # torch takes no array that cannot be written to, or with steps backwards.
    return np.array(pixels, order="C")
