"""Speed of making seed masks, and how many segments an image gets.

    python tests/bench/seeds.py PHOTOGRAPHS [--threads 2] [--turns 3] [--timed 64]

Timed are jobs as a run has them (decoding, segmenting by scikit-image, writing), without their
start: one job of one thread, one of several, and several of one thread each.  They take turns;
figures are medians.  Segments are counted in all photographs, at their full size and in the masks
that are stored.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from cyborgs.config import parse
from cyborgs.images.decoding import decode
from cyborgs.images.index import read_index, write_index
from cyborgs.masks.alignment import at_centres
from cyborgs.runtime.hardware import describe
from cyborgs.stages import index as index_stage
from cyborgs.stages import seed_masks

KINDS = {
    "felzenszwalb (default)": {"kind": "felzenszwalb"},
    "felzenszwalb, short_side 224": {"kind": "felzenszwalb", "short_side": 224},
    "slic": {"kind": "slic"},
}


def job(kind, images, folder, shard, shards, threads):
    """A job of a run; returns when it began and ended, and the processor time that it took."""
    config = parse({"seed_masks": KINDS[kind], "shards": shards, "bootstrap": {"group": 1}})
    begin, busy = time.time(), time.process_time()
    out = folder / f"{shard}.h5"
    seed_masks.run(
        config,
        images=images,
        index_path=folder / "timed.jsonl",
        out=out,
        shard=shard,
        threads=threads,
    )
    return begin, time.time(), time.process_time() - busy


def warm():
    """A process that has imported what a job needs."""
    os.environ["OMP_NUM_THREADS"] = "1"


def seconds(kind, images, folder, pool, jobs, threads):
    """How long the jobs take that make the masks of all images, and their processor time."""
    given = [(kind, images, folder, shard, jobs, threads) for shard in range(jobs)]
    times = [future.result() for future in [pool.submit(job, *each) for each in given]]
    begun, ended, busy = zip(*times, strict=True)
    return np.array([max(ended) - min(begun), sum(busy)])


def count(kind, pixels):
    """Segments of an image: at its full size, and where labels are stored."""
    method = parse({"seed_masks": KINDS[kind]}).seed_masks
    labels = method.model_copy(update={"stride": 1}).labels(pixels)
    return len(np.unique(labels)), len(np.unique(at_centres(labels, method.stride)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images")
    parser.add_argument("--threads", type=int, default=2, help="and jobs (default 2)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--timed", type=int, default=64, help="photographs timed (default 64)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(options, Path(name))


def compare(options, folder):
    images, threads = options.photographs, options.threads
    index_stage.run(images, folder / "index.jsonl", threads=threads)
    index = read_index(folder / "index.jsonl")
    timed = np.linspace(0, len(index), options.timed, endpoint=False).astype(int)
    write_index(folder / "timed.jsonl", [index[int(p)] for p in timed])
    ways = {(1, 1): [], (1, threads): [], (threads, 1): []}
    taken = {kind: {way: [] for way in ways} for kind in KINDS}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(threads, spawn, initializer=warm) as pool:
        for turn in range(-1, options.turns):
            for kind, of_kind in taken.items():
                for way, times in of_kind.items():
                    passed = seconds(kind, images, folder, pool, *way)
                    if turn >= 0:  # the first one warms up
                        times.append(passed / options.timed)
    sizes = Counter((e.height, e.width) for e in index.entries)
    (height, width), most = sizes.most_common(1)[0]
    side = mean(min(e.height, e.width) for e in index.entries)
    print(describe(torch.device("cpu")))
    print(
        f"{len(index)} photographs, {most} of them {width} x {height} pixels, short side "
        f"{min(map(min, sizes))} … {max(map(min, sizes))}, mean {side:.0f}; {len(timed)} timed"
    )
    several = f"{threads} threads | {threads} jobs"
    heads = f"one thread | {several} | core seconds an image"
    print(f"| images/s | {heads} | segments an image | as stored | least … most |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, of_kind in taken.items():

        def segments(position, kind=kind):
            return count(kind, decode(images, index[position]))

        with ThreadPoolExecutor(threads) as workers:
            full, stored = zip(*workers.map(segments, range(len(index))), strict=True)
        wall, busy = np.median(list(of_kind.values()), axis=1).T
        speeds = " | ".join(f"{1 / seconds:.1f}" for seconds in wall)
        print(
            f"| {kind} | {speeds} | {busy[0]:.2f} | {mean(full):.1f} | {mean(stored):.1f} "
            f"| {min(full)} … {max(full)} |"
        )


if __name__ == "__main__":
    main()
