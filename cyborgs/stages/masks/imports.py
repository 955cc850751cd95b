"""``cyborgs masks import``: masks made elsewhere become shards that can seed a run."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import Entry
from cyborgs.data.index import Index, read_index
from cyborgs.errors import InputError
from cyborgs.files import sha256
from cyborgs.masks.alignment import at_centres
from cyborgs.masks.formats import read_npy, read_png, storable
from cyborgs.masks.shards import Header, write_shard
from cyborgs.progress import say, track
from cyborgs.stages.masks.export import file_name, require_distinct, whole_folder
from cyborgs.stages.provenance import provenance

Labels = NDArray[np.integer]

_READERS: dict[str, Callable[[Path], Labels]] = {".png": read_png, ".npy": read_npy}


def run(source: Path, index_path: Path, out: Path, stride: int, shards: int) -> dict[str, int]:
    """Write the masks of all images of an index as shards of round 0.

    A run begins with them by ``seed_masks: {kind: file, masks: FOLDER}``.

    Args:
        source: a folder of PNGs or of `.npy` files at image size, named as the images are but
            for the suffix; or a COCO instances JSON, where of overlapping instances the smaller
            has the pixel, and what no instance covers is one mask.  Labels are 0 … 65535; an
            image with larger ones is numbered anew.
        index_path: the index of the images.
        out: folder of the shards; must be empty or missing, and appears when all are written.
        stride: pixels between two stored labels; the label at a location's centre is taken.
        shards: how many files; the labels do not depend on it.

    Returns:
        ``images``: how many have masks.

    Raises:
        InputError: a mask that is missing, cannot be read, or is not of its image's size, or a
            folder that is not empty; nothing is written.
    """
    index = read_index(index_path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} exists and is not empty; give another folder")
    if shards > len(index):
        raise InputError(f"--shards: {shards} shards of {len(index)} images; give fewer")
    with whole_folder(out) as folder:
        label, digest = _coco(source, index) if source.is_file() else _folder(source, index)
        record = provenance(
            "import-masks", {"stride": stride}, {"index": index.digest, "source": digest}
        )
        for shard in range(shards):
            header = Header(0, stride, shard, shards, index.digest, record)
            positions = range(len(index) * shard // shards, len(index) * (shard + 1) // shards)
            path = folder / f"shard-{shard:04d}-of-{shards:04d}.h5"
            with write_shard(path, header) as writer:
                for p in track(positions, len(positions), f"import, shard {shard}", "images"):
                    labels = at_centres(label(index[p]), stride)
                    writer.add(p, index[p], labels, -1, len(np.unique(labels)))
    say(f"import: masks of {len(index)} images in {out}")
    return {"images": len(index)}


def _folder(source: Path, index: Index) -> tuple[Callable[[Entry], Labels], str]:
    """How the mask of an image is read from a folder, and a digest of all its masks."""
    if not source.is_dir():
        raise InputError(f"masks {source} do not exist; give a folder, or a COCO instances JSON")
    suffix = _suffix(source)
    files = require_distinct([e.name for e in index.entries], suffix)
    missing = [file for file in files if not (source / file).is_file()]
    if missing:
        raise InputError(
            f"masks {source}: {len(missing)} of {len(index)} images have none, {missing[0]} for "
            f"image {files[missing[0]]} among them; a mask is named as its image but for the suffix"
        )

    def label(entry: Entry) -> Labels:
        path = source / file_name(entry.name, suffix)
        labels = _READERS[suffix](path)
        if labels.shape != (entry.height, entry.width):
            raise InputError(
                f"mask {path} is {labels.shape[0]} x {labels.shape[1]} pixels (height x width), "
                f"image {entry.name} {entry.height} x {entry.width}; they must be of one size"
            )
        return storable(labels, f"mask {path}")

    return label, _digest([source / file for file in files])


def _suffix(source: Path) -> str:
    """Which kind of masks a folder holds."""
    found = [suffix for suffix in _READERS if any(source.rglob(f"*{suffix}"))]
    if len(found) != 1:
        what = "both .png and .npy files" if found else "neither .png nor .npy files"
        raise InputError(f"masks {source}: the folder holds {what}; give one of one kind")
    return found[0]


def _digest(files: list[Path]) -> str:
    """SHA-256 over the SHA-256 of each file, in hexadecimal."""
    content = hashlib.sha256()
    for file in track(files, len(files), "import, checksums", "files"):
        try:
            content.update(sha256(file).encode())
        except OSError as error:
            raise InputError(f"mask {file} cannot be read: {error.strerror}") from None
    return content.hexdigest()


def _coco(source: Path, index: Index) -> tuple[Callable[[Entry], Labels], str]:
    """How the mask of an image is read from annotations, and their digest."""
    truth = GroundTruth(source)
    unknown = [e.name for e in index.entries if e.name not in truth]
    if unknown:
        raise InputError(
            f"annotations {source}: {len(unknown)} of {len(index)} images are not listed, "
            f"{unknown[0]} among them; give the annotations of these images"
        )

    def label(entry: Entry) -> Labels:
        labels = truth.instances(entry).label_map()
        return storable(labels, f"annotations {source}: image {entry.name}")

    return label, sha256(source)
