"""Equal rectangles."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cyborgs.mask_methods.method import Labeller, Labels, StoredMethod

if TYPE_CHECKING:
    from cyborgs.images.index import Index


class Grid(StoredMethod):
    """Equal rectangles."""

    kind: Literal["grid"]
    cells: int = Field(5, ge=1, le=256, description="rectangles along each side")

    def labels(self, height: int, width: int) -> Labels:
        """Labels ``(rows, cols)`` of an image of ``height`` x ``width`` pixels.

        There are fewer than ``cells`` a side where the image has fewer locations.
        """
        import numpy as np

        rows = np.arange(0, height, self.stride) * self.cells // height
        cols = np.arange(0, width, self.stride) * self.cells // width
        return rows[:, None] * self.cells + cols

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """See `MaskMethod`."""
        return Labeller(lambda _, entry: self.labels(entry.height, entry.width), self.stride)

    def single_mask(self) -> str | None:
        """See `MaskMethod`."""
        return "seed_masks.cells: 1" if self.cells == 1 else None
