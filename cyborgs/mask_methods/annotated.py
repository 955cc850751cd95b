"""Annotated instances: an oracle."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from cyborgs.common.errors import InputError
from cyborgs.mask_methods.method import Labeller, Labels, StoredMethod
from cyborgs.mask_methods.whole import Whole

if TYPE_CHECKING:
    from cyborgs.images.annotations import GroundTruth
    from cyborgs.images.decoding import Entry
    from cyborgs.images.index import Index


class Annotated(StoredMethod):
    """Annotated instances; an oracle, for comparison."""

    annotated: ClassVar[bool] = True

    kind: Literal["ground-truth"]

    def labels(self, truth: "GroundTruth", entry: "Entry") -> Labels:
        """Labels ``(rows, cols)``: 0 is everything else, and instance i of the image is 1 + i.

        An image that the annotations do not know has one mask.
        """
        from cyborgs.masks.alignment import at_centres

        if entry.name not in truth:
            return Whole(kind="global", stride=self.stride).labels(entry.height, entry.width)
        return at_centres(truth.instances(entry).label_map(), self.stride)

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """See `MaskMethod`."""
        from cyborgs.common.files import require_file, sha256
        from cyborgs.images.annotations import GroundTruth

        if annotations is None:
            raise InputError("seed_masks.kind: 'ground-truth' needs --annotations")
        digest = sha256(require_file(annotations, "annotations"))
        truth = GroundTruth(annotations)
        return Labeller(
            lambda _, entry: self.labels(truth, entry), self.stride, {"annotations": digest}
        )
