"""Stage `index`: a folder of images to an ordered list of them."""

from pathlib import Path

from cyborgs.data.decoding import Entry
from cyborgs.data.index import Bad, names_of, scan, write_index
from cyborgs.errors import InputError
from cyborgs.files import atomic_write
from cyborgs.progress import say, track

# Bad images that a message names.
_NAMED = 10


def run(
    images: Path,
    out: Path,
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
    names = names_of(images, list_file)
    entries: list[Entry] = []
    bad: list[Bad] = []
    for found in track(scan(images, names, threads), len(names), "index", "images"):
        if isinstance(found, Bad):
            bad.append(found)
        else:
            entries.append(found)
    lines = [f"image {images / b.name}: {b.reason}" for b in bad[:_NAMED]]
    if len(bad) > _NAMED:
        lines.append(f"… and {len(bad) - _NAMED} more")
    if bad and on_bad_image == "error":
        last = "remove or repair the files named above, or set data.on_bad_image: skip"
        raise InputError("\n".join([*lines, last]))
    if not entries:
        raise InputError("\n".join([*lines, f"no image of {images} can be decoded"]))
    with atomic_write(out) as temporary:
        write_index(temporary, entries, bad)
    for line in lines:
        say(f"index: left out: {line}")
    say(f"index: {len(entries)} images in {out}" + (f", {len(bad)} left out" if bad else ""))
