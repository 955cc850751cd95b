"""CYBORGS: bootstrapped masks and contrastive pretraining on scenes (ECCV 2022).

A finished run, or one under way, can be read from Python (docs/python.md):

    run = cyborgs.open_run("results/demo")
    masks = cyborgs.load_masks(run, 2)

`import cyborgs` loads nothing else: each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cyborgs.api.images import ImageMasks, masks_of
    from cyborgs.api.losses import detcon_loss
    from cyborgs.api.masks import RoundMasks, load_masks
    from cyborgs.api.networks import features, load_backbone
    from cyborgs.api.runs import Run, open_run
    from cyborgs.common.errors import InputError

__all__ = [
    "ImageMasks",
    "InputError",
    "RoundMasks",
    "Run",
    "detcon_loss",
    "features",
    "load_backbone",
    "load_masks",
    "masks_of",
    "open_run",
]

# Names of rooms cannot be used: importing a room would replace them.
_HOMES = {
    "ImageMasks": "cyborgs.api.images",
    "InputError": "cyborgs.common.errors",
    "RoundMasks": "cyborgs.api.masks",
    "Run": "cyborgs.api.runs",
    "detcon_loss": "cyborgs.api.losses",
    "features": "cyborgs.api.networks",
    "load_backbone": "cyborgs.api.networks",
    "load_masks": "cyborgs.api.masks",
    "masks_of": "cyborgs.api.images",
    "open_run": "cyborgs.api.runs",
}

# A type checker takes the names above, and no others.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module 'cyborgs' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)

    def __dir__():
        return sorted({*globals(), *__all__})
