"""``cyborgs masks show``: what the rounds did to an image, as pictures."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say
from cyborgs.display.pictures import Panel, Picture, match, overlay, paint, sheet, truth_picture
from cyborgs.display.terminal import can_show, draw, knows_true_colour
from cyborgs.images.annotations import GroundTruth, Instances
from cyborgs.images.decoding import Entry, decode
from cyborgs.images.finding import find
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.run.sources import Sources

# Pixels across, of a panel in a file.
WIDTH = 320

# Kinds of files, with the longest side they can have in pixels.
SUFFIXES = {".png": 2**31 - 1, ".jpg": 65_500, ".webp": 16_383}


def run(sources: Sources, images: Sequence[str], style: str, out: Path | None) -> None:
    """Show images: photograph, the masks of each round, ground truth.

    Args:
        sources: the rounds, and where index, images and annotations are.
        images: numbers in the index, or names; a row each.
        style: "overlay" (masks over the photograph), "mask" (by themselves), or "both".
        out: the picture to write; None draws in the terminal.

    Raises:
        InputError: an image that the index or all masks lack, files that do not fit, another
            kind of file than PNG, JPEG and WebP, a picture too large for one, or a terminal that
            cannot show pictures.
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {out}: give a name that ends in {', '.join(SUFFIXES)}")
    if out is None and not can_show(sys.stdout, os.environ):
        raise InputError(
            "this terminal does not announce support for colours (COLORTERM=truecolor, or a TERM "
            "that ends in -256color): give --out FILE.png"
        )
    index = read_index(sources.require_index())
    folder = sources.require_images()
    positions = [find(index, name) for name in images]
    rounds = [(title, Masks(where, index, complete=False)) for title, where in sources.rounds]
    truth = None if sources.annotations is None else GroundTruth(sources.annotations)
    rows = [
        row
        for position in positions
        for row in _rows(position, index[position], folder, rounds=rounds, truth=truth, style=style)
    ]
    if out is None:
        columns = shutil.get_terminal_size().columns
        draw(rows, columns, knows_true_colour(os.environ), sys.stdout)
        return
    _write(sheet(rows, WIDTH), out)
    say(f"show: {out}")


def _write(picture: Picture, out: Path) -> None:
    height, width = picture.shape[:2]
    suffix = out.suffix.lower()
    if max(height, width) > SUFFIXES[suffix]:
        raise InputError(
            f"--out {out}: {width} x {height} pixels are too many for {suffix}; give a .png, or "
            "show fewer images"
        )
    with atomic_write(out) as temporary:
        Image.fromarray(picture).save(temporary)


def _rows(
    position: int,
    entry: Entry,
    folder: Path,
    *,
    rounds: Sequence[tuple[str, Masks]],
    truth: GroundTruth | None,
    style: str,
) -> list[list[Panel]]:
    """A row of panels of one image for each style."""
    known = [(title, masks) for title, masks in rounds if position in masks]
    if not known:
        raise InputError(
            f"image {position} ({entry.name}) has no mask in {', '.join(t for t, _ in rounds)}"
        )
    photograph = decode(folder, entry)
    instances = None
    if truth is not None and entry.name in truth:
        instances = truth.instances(entry)
    labels = [
        full_size(masks.read(position), entry.height, entry.width, masks.stride)
        for _, masks in known
    ]
    subtitles = {
        title: _subtitle(found, _k(masks, position), instances)
        for (title, masks), found in zip(known, labels, strict=True)
    }
    coloured = dict(zip(subtitles, match(labels), strict=True))
    size = f"{entry.name}, {entry.width} x {entry.height}"
    before = [Panel(f"image {position}", size, photograph)]
    after = []
    if instances is not None:
        count = _count(len(instances.categories), "object")
        after = [Panel("ground truth", count, truth_picture(photograph, instances))]
    rows = []
    for kind in ("overlay", "mask") if style == "both" else (style,):
        panels = [
            Panel(title, subtitles[title], _picture(photograph, coloured[title], kind))
            if title in coloured
            else Panel(title, "no mask of this image", None)
            for title, _ in rounds
        ]
        rows.append([*before, *panels, *after])
    return rows


def _k(masks: Masks, position: int) -> int | None:
    """K of the image's group; by itself an image has as many masks as it needs, and no K."""
    return int(masks.clusters[position]) if masks.groups[position] >= 0 else None


def _picture(photograph: Picture, labels: NDArray[np.integer], kind: str) -> Picture:
    return overlay(photograph, labels) if kind == "overlay" else paint(labels)


def _subtitle(
    labels: NDArray[np.integer], clusters: int | None, instances: Instances | None
) -> str:
    here = _count(len(np.unique(labels)), "mask")
    words = [here] if clusters is None else [f"K = {clusters}", f"{here} here"]
    if instances is not None and len(instances.categories):
        ari = adjusted_rand_index(labels, instances.label_map(), ~instances.ignore)
        words.append(f"ARI {ari:.3f}")
    return " · ".join(words)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
