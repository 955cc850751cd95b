"""One image's masks, round by round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyborgs.api.masks import Labels, load_masks
from cyborgs.api.runs import Run, open_run
from cyborgs.common.errors import InputError
from cyborgs.display.pictures import match, overlay, truth_picture
from cyborgs.images.annotations import Instances
from cyborgs.run.sources import title_of


@dataclass(frozen=True, eq=False)
class ImageMasks:
    """What the rounds of a run made of one image.

    Attributes:
        position: number of the image in the index.
        name: its path below the images' folder.
        photograph: RGB, uint8 ``(height, width, 3)``.
        rounds: number of a round to the label of each pixel, ``(height, width)``.
        instances: the annotated objects, or None where they are not known.
    """

    position: int
    name: str
    photograph: NDArray[np.uint8]
    rounds: dict[int, Labels]
    instances: Instances | None

    @property
    def truth(self) -> NDArray[np.int32] | None:
        """One object a pixel, ``(height, width)``: 1 + its number, 0 for background."""
        return None if self.instances is None else self.instances.label_map()

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """RGB pictures ``(height, width, 3)``: photograph, each round's masks, ground truth.

        A mask keeps its colour from round to round as far as it stays the same.
        """
        matched = match(list(self.rounds.values()))
        pictures = {"photograph": self.photograph}
        for number, labels in zip(self.rounds, matched, strict=True):
            pictures[title_of(number)] = overlay(self.photograph, labels)
        if self.instances is not None:
            pictures["ground truth"] = truth_picture(self.photograph, self.instances)
        return pictures


def masks_of(run: str | Path | Run, image: str | int) -> ImageMasks:
    """One image's masks of all rounds that have some, with the photograph and the ground truth.

    Args:
        run: folder of a run, or an open one, which reads its annotations only once.
        image: its number, its name, or the end of its name, with or without the suffix.

    Raises:
        InputError: no run, no such image, no mask of it, or files that are damaged.
    """
    opened = open_run(run)
    position = opened.position(image)
    entry = opened.index[position]
    rounds = {}
    for number in opened.rounds:
        masks = load_masks(opened, number)
        if entry.name in masks:
            rounds[number] = masks.full_size(position)
        masks.close()
    if not rounds:
        raise InputError(f"image {entry.name} has no mask in any round of {opened.folder}")
    return ImageMasks(
        position=position,
        name=entry.name,
        photograph=opened.photograph(position),
        rounds=rounds,
        instances=opened.instances(position),
    )
