"""Galleries: the same images in every round, beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyborgs.display.pictures import match, overlay, resized, thumbnail, truth_picture
from cyborgs.images.annotations import Instances
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.report.page import Picture, photo_source

# Pixels across; twice what a phone shows beside another picture.
WIDTH = 288


@dataclass(frozen=True)
class Series:
    """Masks of several rounds that were made alike: "as made", or at a fixed K."""

    kind: str
    rounds: Sequence[tuple[str, Masks]]


@dataclass(frozen=True)
class Shown:
    """An image: rows of pictures in the order they are looked at, each with what they are."""

    title: str
    rows: list[tuple[str, list[Picture]]]


@dataclass(frozen=True)
class Gallery:
    """Images chosen for one reason."""

    title: str
    images: list[Shown]


def rows_of_pictures(
    name: str,
    position: int,
    photograph: NDArray[np.uint8],
    *,
    series: Sequence[Series],
    truth: Instances | None,
) -> list[tuple[str, list[Picture]]]:
    """The masks of each series round by round, after the photograph and the ground truth.

    Args:
        name: of the image.
        position: in the index.
        photograph: RGB ``(height, width, 3)``.
        series: masks; rounds without one of this image are left out.
        truth: its annotated instances, or None.

    Returns:
        For each series, what it is and small pictures; the first row begins with the
        photograph and the ground truth.
    """
    small = thumbnail(photograph, WIDTH)
    first = [Picture(photo_source(small), "photograph", f"photograph {name}")]
    if truth is not None:
        caption = f"ground truth · {_count(len(truth.categories), 'object')}"
        picture = thumbnail(truth_picture(photograph, truth), WIDTH)
        first.append(Picture(photo_source(picture), caption, f"objects annotated in {name}"))
    rows = []
    for group in series:
        known = [(title, masks) for title, masks in group.rounds if position in masks]
        labels = [_labels(masks, position, photograph) for _, masks in known]
        cells = []
        for (title, _), found, coloured in zip(known, labels, match(labels), strict=True):
            caption = " · ".join([title, *_in_words(found, truth)])
            picture = overlay(small, resized(coloured, small.shape[0], small.shape[1]))
            told = f"masks of {name}, {group.kind}, {caption}"
            cells.append(Picture(photo_source(picture), caption, told))
        rows.append((group.kind, [*first, *cells]))
        first = []
    return rows


def _labels(masks: Masks, position: int, photograph: NDArray[np.uint8]) -> NDArray[np.integer]:
    height, width = photograph.shape[:2]
    return full_size(masks.read(position), height, width, masks.stride)


def _in_words(labels: NDArray[np.integer], truth: Instances | None) -> list[str]:
    words = [_count(len(np.unique(labels)), "mask")]
    if truth is not None and len(truth.categories):
        ari = adjusted_rand_index(labels, truth.label_map(), ~truth.ignore)
        # Not broken between the two words.
        words.append(f"ARI\N{NO-BREAK SPACE}{ari:.2f}")
    return words


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
