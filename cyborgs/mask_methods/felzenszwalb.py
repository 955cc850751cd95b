"""Graph-based segments, with which DetCon seeds its masks."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cyborgs.common.section import NonNegative, Positive
from cyborgs.mask_methods.method import Labels
from cyborgs.mask_methods.segmenter import Segmenter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Felzenszwalb(Segmenter):
    """Graph-based segments of each image (Felzenszwalb and Huttenlocher, 2004), as in DetCon."""

    # Of this method alone, as its default changed.
    STAGE: ClassVar[str] = "seed-masks-felzenszwalb"
    VERSION: ClassVar[int] = 2
    # Edges of a graph, in 64 bits: measured on photographs, noise and one colour, 344 to 346.
    BYTES_A_PIXEL: ClassVar[int] = 350

    kind: Literal["felzenszwalb"]
    scale: Positive = Field(1000.0, description="larger gives larger segments")
    min_size: int = Field(
        1000, ge=1, description="smallest segment, in pixels (after `short_side`)"
    )
    sigma: NonNegative = Field(0.8, description="blur before segmenting, in pixels")
    short_side: int | None = Field(
        None,
        ge=16,
        description="first shrink images to this short side, in pixels; null: full size, for which "
        "DetCon chose `scale` and `min_size` on COCO. For photographs of several megapixels, 480 "
        "(COCO's) saves time",
    )

    def segment(self, pixels: "NDArray[np.uint8]") -> Labels:
        """See `Segmenter`; `min_size` and `sigma` are in these pixels."""
        from skimage.segmentation import felzenszwalb

        segments: Labels = felzenszwalb(
            pixels, scale=self.scale, sigma=self.sigma, min_size=self.min_size
        )
        return segments
