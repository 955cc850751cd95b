"""Size of an index, and time and memory of reading it, by its number of images.

python tests/bench/index.py [--images 118287 1281167 10000000]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from cyborgs.data.decoding import Entry
from cyborgs.data.index import read_index, write_index


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[118_287, 1_281_167, 10_000_000])
    print("| images | bytes an image | read, seconds | memory |")
    print("|---|---|---|---|")
    for images in parser.parse_args().images:
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
