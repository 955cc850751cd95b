"""Size of an index, and time and memory of reading it, by its number of images; and of making it.

python tests/bench/index.py [--images 118287 1281167 10000000]
python tests/bench/index.py --photographs FOLDER

The second links the photographs of a folder under 20,000 names, and has `cyborgs index` read them
by two threads, three times.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from cyborgs.images.decoding import Entry
from cyborgs.images.index import read_index, write_index


def measure(images, results):
    """Bytes of the file, seconds of reading it, and the most memory that took, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.jsonl"
        # Names as long as ImageNet's.
        name = "train/n{:08d}/n{:08d}_{}.JPEG"
        entries = (
            Entry(name.format(i // 1300, i // 1300, i), 375, 500, 110_000, i) for i in range(images)
        )
        write_index(path, Lazy(entries, images))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        read_index(path)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        results.put((path.stat().st_size, seconds, 1024 * peak))


class Lazy:
    """Entries that are made when they are written: a list of them would hide what reading takes."""

    def __init__(self, entries, length):
        self._entries, self._length = entries, length

    def __len__(self):
        return self._length

    def __iter__(self):
        return self._entries


def make(photographs, count=20_000, turns=3):
    """Print the seconds that an index takes to make, and the memory."""
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        originals = sorted(photographs.resolve().rglob("*.jpg"))
        size = 0
        for number, original in enumerate(islice(cycle(originals), count)):
            # A link to a file would count once for all its names.
            link = folder / f"images/{number:06d}.jpg"
            try:
                os.link(original, link)
            except OSError:
                link.write_bytes(original.read_bytes())
            size += original.stat().st_size
        command = [sys.executable, "-m", "cyborgs", "index", "--threads", "2"]
        command += ["--images", folder / "images", "--out", folder / "index.jsonl"]
        for _ in range(turns):
            begin = time.perf_counter()
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begin)
    memory = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"{count:,} images of {size / count / 1e3:.0f} kB: {median(seconds):.1f} s (median of "
        f"{turns}), {memory / 1e6:.0f} MB of memory; 118,287 at this rate: "
        f"{median(seconds) / count * 118_287:.0f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[118_287, 1_281_167, 10_000_000])
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs: make an index instead")
    options = parser.parse_args()
    if options.photographs:
        make(options.photographs)
        return
    print("| images | bytes an image | read, seconds | memory |")
    print("|---|---|---|---|")
    for images in options.images:
        results = multiprocessing.Queue()
        # A process of its own: the most memory is that of its life.
        process = multiprocessing.Process(target=measure, args=(images, results))
        process.start()
        size, seconds, peak = results.get()
        process.join()
        print(
            f"| {images:,} | {size / images:.0f} | {seconds:.2f} | {peak / 1e6:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
