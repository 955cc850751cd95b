"""Superpixels."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cyborgs.common.section import MOST_LABELS, NonNegative, Positive
from cyborgs.mask_methods.method import Labels
from cyborgs.mask_methods.segmenter import Segmenter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Slic(Segmenter):
    """Superpixels of nearby pixels with similar colours (SLIC; Achanta et al., 2012)."""

    # Measured on photographs, noise and one colour: 122 to 148.
    BYTES_A_PIXEL: ClassVar[int] = 150

    kind: Literal["slic"]
    n_segments: int = Field(
        100, ge=1, le=MOST_LABELS, description="superpixels per image, about; rarely more"
    )
    compactness: Positive = Field(
        10.0, description="weight of position relative to colour; larger gives squarer superpixels"
    )
    sigma: NonNegative = Field(0.0, description="blur before segmenting, in pixels")

    def segment(self, pixels: "NDArray[np.uint8]") -> Labels:
        """See `Segmenter`: k-means of colour, in CIELAB, and place; each segment is one piece."""
        from skimage.segmentation import slic

        segments: Labels = slic(
            pixels,
            n_segments=self.n_segments,
            compactness=self.compactness,
            sigma=self.sigma,
            start_label=0,
        )
        return segments
