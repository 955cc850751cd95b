"""What every method of making masks of round 0 has: settings, and labels of images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from pydantic import Field

from cyborgs.common.section import Section

# The workflow reads its configuration, of which methods are a part, without NumPy and OpenCV.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cyborgs.images.decoding import Entry
    from cyborgs.images.index import Index

Labels: TypeAlias = "NDArray[np.integer]"


@dataclass(frozen=True)
class Labeller:
    """A method that is ready to label the images of an index.

    Attributes:
        label: integer labels ``(rows, cols)`` of the image at a position of the index, by the rule
            of `cyborgs.masks.alignment`; raises `BadImageError` for an image that has none.
        stride: pixels between two labels.
        inputs: hexadecimal digests of what the labels are made from, besides the images, by role.
    """

    label: "Callable[[int, Entry], Labels]"
    stride: int
    inputs: Mapping[str, str] = field(default_factory=dict)


class MaskMethod(Section):
    """A way of making masks of round 0: one kind of the section `seed_masks`.

    The settings are the fields of a subclass, whose docstring's first line says what the masks are.

    Attributes:
        STAGE, VERSION: of the provenance. Raise the version, and give the method a stage of its
            own, when its labels change, so that they are made again and those of others are not.
        from_state: whether the stage `bootstrap` makes the masks, from the initial weights.
        annotated: whether the images' annotations are needed.
        threaded: whether labels take so long that a job labels several images at a time.
    """

    STAGE: ClassVar[str] = "seed-masks"
    VERSION: ClassVar[int] = 1
    from_state: ClassVar[bool] = False
    annotated: ClassVar[bool] = False
    threaded: ClassVar[bool] = False

    kind: str

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """Get ready.

        Args:
            images: folder of the images.
            index: of the images.
            annotations: COCO instances JSON of the images; given where the method is `annotated`.

        Raises:
            InputError: input that is missing or does not fit, by name.
        """
        raise NotImplementedError

    def memory_needed(self, height: int, width: int) -> int:
        """Bytes that labelling an image of ``height`` x ``width`` pixels takes, about."""
        return 0

    def shards(self) -> list[Path]:
        """Files of masks that were given, which must be there before anything runs."""
        return []

    def single_mask(self) -> str | None:
        """Which key makes one mask an image, if any does, for messages."""
        return None


class StoredMethod(MaskMethod):
    """A method whose labels are stored at a stride that is chosen."""

    stride: int = Field(8, ge=1, le=32, description="pixels between two stored labels")
