"""The whole image as one mask."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyborgs.mask_methods.method import Labeller, Labels, StoredMethod

if TYPE_CHECKING:
    from cyborgs.images.index import Index


class Whole(StoredMethod):
    """One mask per image, as in BYOL."""

    kind: Literal["global"]

    def labels(self, height: int, width: int) -> Labels:
        """Zeros ``(rows, cols)``, for an image of ``height`` x ``width`` pixels."""
        import numpy as np

        from cyborgs.masks.alignment import grid_size

        return np.zeros((grid_size(height, self.stride), grid_size(width, self.stride)), np.uint8)

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """See `MaskMethod`."""
        return Labeller(lambda _, entry: self.labels(entry.height, entry.width), self.stride)

    def single_mask(self) -> str | None:
        """See `MaskMethod`."""
        return "seed_masks.kind: global"
