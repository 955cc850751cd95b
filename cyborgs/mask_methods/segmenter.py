"""What methods that segment each image by its pixels share."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cyborgs.mask_methods.method import Labeller, Labels, StoredMethod

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cyborgs.images.decoding import Entry
    from cyborgs.images.index import Index


class Segmenter(StoredMethod):
    """A method that segments the pixels of each image.

    Attributes:
        BYTES_A_PIXEL: what segmenting takes at most for a pixel of the segmented image.
    """

    threaded: ClassVar[bool] = True
    BYTES_A_PIXEL: ClassVar[int]

    short_side: int | None = Field(
        None,
        ge=16,
        description="first shrink images to this short side, in pixels; null: full size",
    )

    def segment(self, pixels: "NDArray[np.uint8]") -> Labels:
        """Integer segments ``(height, width)`` of RGB pixels ``(height, width, 3)``."""
        raise NotImplementedError

    def labels(self, image: "NDArray[np.uint8]") -> Labels:
        """Labels ``(rows, cols)`` of an RGB image ``(height, width, 3)`` at its grid locations.

        The image is shrunk to `short_side` first, where it is larger.
        """
        import cv2
        import numpy as np

        height, width = image.shape[:2]
        small_height, small_width = self._segmented_size(height, width)
        small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
        segments = self.segment(np.asarray(small, np.uint8))
        # Pixel of the shrunk image under each location's centre.
        rows = np.arange(0, height, self.stride) * small_height // height
        cols = np.arange(0, width, self.stride) * small_width // width
        return segments[rows[:, None], cols]

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """See `MaskMethod`."""
        from cyborgs.images.decoding import decode

        def label(_: int, entry: "Entry") -> Labels:
            return self.labels(decode(images, entry))

        return Labeller(label, self.stride)

    def memory_needed(self, height: int, width: int) -> int:
        """See `MaskMethod`; of decoding and segmenting."""
        rows, columns = self._segmented_size(height, width)
        return rows * columns * self.BYTES_A_PIXEL + height * width * 3

    def _segmented_size(self, height: int, width: int) -> tuple[int, int]:
        factor = 1.0
        if self.short_side is not None:
            factor = min(1.0, self.short_side / min(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))
