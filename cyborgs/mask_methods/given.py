"""Masks that were made elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cyborgs.common.errors import BadImageError
from cyborgs.mask_methods.method import Labeller, Labels, MaskMethod

if TYPE_CHECKING:
    from cyborgs.images.decoding import Entry
    from cyborgs.images.index import Index


class Given(MaskMethod):
    """Mask shards made elsewhere, of the same images, or of them at another size."""

    kind: Literal["file"]
    masks: str = Field(description="folder of shards, one shard, or a pattern")

    def labeller(self, images: Path, index: "Index", annotations: Path | None) -> Labeller:
        """See `MaskMethod`."""
        from cyborgs.common.progress import say
        from cyborgs.masks.given import GivenMasks

        given = GivenMasks(self.masks, index)
        if given.resampled:
            say("seed: the given masks are of the same pictures at another size, and are resampled")

        def label(position: int, entry: "Entry") -> Labels:
            if position in given.skipped:
                raise BadImageError(given.skipped[position])
            return given.read(position, entry)

        return Labeller(label, given.stride, {"masks": given.digest})

    def shards(self) -> list[Path]:
        """See `MaskMethod`."""
        from cyborgs.masks.shards import find_shards

        return find_shards(self.masks)
