"""Stage `index`: a folder of images to an ordered list of them."""

from collections import Counter
from pathlib import Path

from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say, track
from cyborgs.images.index import accept, scan, write_index
from cyborgs.images.listing import names_of, others_named


def run(
    images: Path,
    out: Path,
    *,
    threads: int,
    on_bad_image: str = "error",
    list_file: Path | None = None,
) -> None:
    """Index the images below a folder, or some of them.

    Args:
        images: the folder.
        out: the index to write.
        threads: files read at a time.
        on_bad_image: "error", or "skip" to leave out what cannot be decoded; it is listed at the
            end of the index.
        list_file: names the files to index; else all image files are.

    Raises:
        InputError: no folder, no images, or bad images (up to ten by name, after all have been
            read).
    """
    others: Counter[str] = Counter()
    names = names_of(images, list_file, others)
    if others:
        say(f"index: ignored files: {others_named(others)}")
    found = track(scan(images, names, threads), len(names), "index", "images")
    entries, bad = accept(images, found, on_bad_image)
    with atomic_write(out) as temporary:
        write_index(temporary, entries, bad)
    say(f"index: {len(entries)} images in {out}" + (f", {len(bad)} left out" if bad else ""))
