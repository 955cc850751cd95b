"""Regions that another program found in an image: they may overlap, and leave pixels uncovered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from cyborgs.common.errors import InputError
from cyborgs.images.annotations import paint
from cyborgs.images.decoding import MAX_PIXELS, Entry, upright
from cyborgs.images.outlines import Outline
from cyborgs.masks.alignment import centres_in, is_same_picture

Size = tuple[int, int]


def own_size(segmentations: Sequence[Any]) -> Size | None:
    """Height and width that run lengths give themselves; None where not all are run lengths.

    What lists images can have these the wrong way round (MaskCut's JSON does).
    """
    if not all(isinstance(segmentation, dict) for segmentation in segmentations):
        return None
    sizes = [segmentation.get("size") for segmentation in segmentations]
    first = sizes[0] if sizes else None
    if not isinstance(first, list) or [type(side) for side in first] != [int, int]:
        return None
    height, width = first
    # Others than the first are refused when they are decoded.
    return (height, width) if min(first) >= 1 and height * width <= MAX_PIXELS else None


def turned(size: Size, entry: Entry) -> int | None:
    """How masks of a height and width must be turned to lie on an image: an EXIF orientation.

    They can be of the upright picture (1), or of the stored pixels (the image's own), and of
    another size in both.  None where they cannot be of the image.
    """
    height, width = size
    image = (entry.height, entry.width)
    if min(size) < 1:
        return None
    sides = {1: size, entry.orientation: (width, height)} if entry.orientation >= 5 else {1: size}
    for is_one in (lambda a, b: a == b, is_same_picture):
        for orientation, seen in sides.items():
            if is_one(seen, image):
                return orientation
    return None


def region_labels(outlines: Sequence[Outline], entry: Entry, stride: int) -> NDArray[np.int32]:
    """Labels of an image's grid: region i of those that have pixels is 1 + i, the rest is 0.

    Where regions overlap the one of fewer pixels wins, of equal ones the first.

    Args:
        outlines: of the regions, all of one height and width: the image's, or those of the same
            picture at another size, of which each location takes what its centre lies on.
        entry: the image.
        stride: pixels between two locations.

    Returns:
        int32 ``(rows, cols)``.

    Raises:
        InputError: an outline that cannot be decoded, or is of another picture's size.
    """
    codes = [outline.run_lengths() for outline in outlines]
    areas = [int(run_lengths.area(code)) for code in codes]
    kept = [number for number, area in enumerate(areas) if area]
    image = (entry.height, entry.width)
    size, orientation = image, 1
    if outlines:
        first = outlines[0]
        size = (first.height, first.width)
        found = turned(size, entry)
        if found is None:
            raise InputError(
                f"annotations {first.path}: masks of image {entry.name} are of {size[0]} x "
                f"{size[1]} pixels (height x width), its file of {image[0]} x {image[1]}, which "
                "cannot be one picture at two sizes; give the masks of these images"
            )
        orientation = found
    rows, cols = centres_in(image, stride, size if orientation == 1 else (size[1], size[0]))

    def at_centres(number: int) -> NDArray[np.bool_]:
        mask = np.asarray(run_lengths.decode(codes[kept[number]]), dtype=bool)
        return upright(mask, orientation)[rows, cols]

    return paint([areas[number] for number in kept], at_centres, (len(rows), len(cols)))
