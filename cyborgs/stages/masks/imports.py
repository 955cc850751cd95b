"""``cyborgs masks import``: masks made elsewhere become shards that can seed a run."""

from pathlib import Path

import numpy as np

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say, track
from cyborgs.images.index import read_index
from cyborgs.masks.exported import whole_folder
from cyborgs.masks.foreign import open_foreign
from cyborgs.masks.shards import Header, write_shard
from cyborgs.run.provenance import provenance


def run(
    source: Path,
    index_path: Path,
    out: Path,
    *,
    stride: int,
    shards: int,
    images: Path | None = None,
    min_score: float | None = None,
) -> dict[str, int]:
    """Write the masks of all images of an index as shards of round 0.

    A run begins with them by ``seed_masks: {kind: file, masks: FOLDER}``.

    Masks may be of the same pictures at another size: each location of the grid takes what its
    centre lies on.  Of a smaller copy (`data.short_side`) they may go by the original's name.

    Args:
        source: a folder of PNGs or of `.npy` files, label maps named as the images are but for the
            suffix; a folder of JSON files named so, each a list of regions with run lengths, as
            Segment Anything's generator leaves them; a COCO instances JSON; or a list of results,
            as detectors leave it.  Of overlapping regions the smaller has the pixel, and what no
            region covers is one mask.  Labels are 0 … 65535; an image with larger ones is
            numbered anew.
        index_path: the index of the images.
        out: folder of the shards; must be empty or missing, and appears when all are written.
        stride: pixels between two stored labels; the label at a location's centre is taken.
        shards: how many files; the labels do not depend on it.
        images: the COCO JSON that lists the images of a list of results.
        min_score: leave out regions whose ``score`` (or else ``predicted_iou``) is lower.

    Returns:
        ``images``: how many have masks; ``bare``: how many of those had no region, and have one
        mask.

    Raises:
        InputError: a mask that is missing, cannot be read, or cannot be of its image at any size,
            or a folder that is not empty; nothing is written.
    """
    index = read_index(index_path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} exists and is not empty; give another folder")
    if shards > len(index):
        raise InputError(f"--shards: {shards} shards of {len(index)} images; give fewer")
    with whole_folder(out) as folder:
        given = open_foreign(source, index, images, min_score)
        settings = {"stride": stride} | ({} if min_score is None else {"min_score": min_score})
        record = provenance("import-masks", settings, {"index": index.digest, **given.inputs})
        for shard in range(shards):
            header = Header(0, stride, shard, shards, index.digest, record)
            positions = range(len(index) * shard // shards, len(index) * (shard + 1) // shards)
            path = folder / f"shard-{shard:04d}-of-{shards:04d}.h5"
            with write_shard(path, header) as writer:
                for p in track(positions, len(positions), f"import, shard {shard}", "images"):
                    labels = given.labels(index[p], stride)
                    writer.add(p, index[p], labels, group=-1, clusters=len(np.unique(labels)))
    note = f"; {given.bare} of them have no region, and one mask" if given.bare else ""
    say(f"import: masks of {len(index)} images in {out}{note}")
    return {"images": len(index), "bare": given.bare}
