"""Stage `index`: a folder of images to an ordered list of them."""

from pathlib import Path

from cyborgs.data.index import list_images, scan, write_index
from cyborgs.files import atomic_write
from cyborgs.progress import say, track


def run(images: Path, out: Path, threads: int) -> None:
    """Index the images below a folder.

    Args:
        images: the folder.
        out: the index to write.
        threads: files read at a time.

    Raises:
        InputError: no folder, no images, or broken images (by name).
    """
    total = sum(1 for _ in list_images(images))
    entries = list(track(scan(images, threads), total, "index", "images"))
    with atomic_write(out) as temporary:
        write_index(temporary, entries)
    say(f"index: {len(entries)} images in {out}")
