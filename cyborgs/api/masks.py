"""The masks of one round of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyborgs.api.runs import Run, among, open_run
from cyborgs.common.errors import InputError
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks

Labels = NDArray[np.integer]


class UnknownImageError(InputError, KeyError):
    """An image that a run or a round has no masks of."""

    # `KeyError` would show the message in quotes.
    __str__ = Exception.__str__


class RoundMasks(Mapping[str, Labels]):
    """The masks of a round: names of images to labels, read from the run's shards when asked for.

    ``masks["000018.jpg"]`` and ``masks[17]``, by number, are the labels of one image at feature
    resolution: unsigned integers ``(rows, cols)``, with ``rows = ceil(height / stride)``.  Images
    that are clustered together share their labels.  Iteration follows the order of the index.

    Attributes:
        run: that the masks are of.
        round: number of the round; 0 is the seed.
        stride: pixels between two locations.
    """

    def __init__(self, run: Run, masks: Masks) -> None:
        self.run = run
        self.round = masks.round
        self.stride = masks.stride
        self._masks = masks

    def __getitem__(self, image: str | int) -> Labels:
        return self._masks.read(self._position(image))

    def __iter__(self) -> Iterator[str]:
        return (self.run.names[position] for position in self._masks.positions)

    def __len__(self) -> int:
        return len(self._masks.positions)

    def __contains__(self, image: object) -> bool:
        try:
            return isinstance(image, str | int | np.integer) and self._position(image) >= 0
        except UnknownImageError:
            return False

    def __repr__(self) -> str:
        return f"<masks of {len(self)} images, round {self.round} of {self.run.folder}>"

    def full_size(self, image: str | int) -> Labels:
        """Labels of every pixel, ``(height, width)``: each takes that of the nearest location."""
        position = self._position(image)
        entry = self.run.index[position]
        return full_size(self._masks.read(position), entry.height, entry.width, self.stride)

    def clusters(self, image: str | int) -> int:
        """K that an image was clustered with; of seed masks, its number of labels."""
        return int(self._masks.clusters[self._position(image)])

    def close(self) -> None:
        """Close the files that are open; reading opens them again."""
        self._masks.close()

    def _position(self, image: str | int | np.integer) -> int:
        try:
            position = self.run.position(image if isinstance(image, str) else int(image))
        except InputError as error:
            raise UnknownImageError(str(error)) from None
        if position not in self._masks:
            raise UnknownImageError(
                f"image {self.run.names[position]} has no mask in round {self.round} of "
                f"{self.run.folder}"
            )
        return position


def load_masks(run: str | Path | Run, round: int) -> RoundMasks:
    """The masks of a round.

    Args:
        run: folder of a run, or an open one.
        round: number of the round; 0 is the seed.

    Raises:
        InputError: no run, no masks of that round, or masks that are damaged or of other images.
    """
    opened = open_run(run)
    number = among(round, opened.rounds, opened, "masks")
    return RoundMasks(opened, Masks(opened.files.shards(number), opened.index, complete=False))
