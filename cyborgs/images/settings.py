"""The section `data`: what to train on."""

from typing import Literal, Self

from pydantic import Field, model_validator

from cyborgs.common.section import CELL, Section


class Scenes(Section):
    """Labelled scenes drawn by the program itself: the embedded data."""

    images: int = Field(320, ge=1, description="number of scenes")
    seed: int = Field(0, ge=0, description="seed of the drawing, independent of the run's seed")
    height: int = Field(192, ge=64, description="pixels")
    width: int = Field(256, ge=64, description="pixels")


class Data(Section):
    """What to train on: exactly one of `images` and `scenes`."""

    images: str | None = Field(None, description="folder of images, searched recursively")
    list: str | None = Field(
        None,
        description="file that lists the images to use, one per line, by their paths below that "
        "folder; null: all images",
    )
    annotations: str | None = Field(
        None,
        description="COCO instances JSON of those images, for measuring masks and for probes; "
        "training uses it only with `seed_masks: {kind: ground-truth}`",
    )
    short_side: int | None = Field(
        None,
        ge=CELL,
        description="first make a copy of the images with this short side, in pixels, and use the "
        "copy; annotations are scaled with it; null: use the images as they are",
    )
    scenes: Scenes | None = Field(None, description="draw scenes instead of reading images")
    on_bad_image: Literal["error", "skip"] = Field(
        "error",
        description="if an image cannot be decoded: stop, or leave it out and list it",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.images is None) == (self.scenes is None):
            raise ValueError("give exactly one of the keys 'images' and 'scenes'")
        if self.scenes is not None and self.annotations is not None:
            raise ValueError("'annotations' goes with 'images'; scenes bring their own")
        if self.scenes is not None and (self.list, self.short_side) != (None, None):
            raise ValueError("'list' and 'short_side' go with 'images'")
        return self

    @property
    def labelled(self) -> bool:
        """Whether there is ground truth to measure masks against."""
        return self.scenes is not None or self.annotations is not None
