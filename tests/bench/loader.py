"""Speed of the loader beside the published recipe's, on one core.

    taskset -c 0 python tests/bench/loader.py PHOTOGRAPHS

Both make the two views of the same photographs in turn; the table has medians.  Their masks are
made up (squares), as a shard and as int64 `.npy` files of image size.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from published import two_views

from cyborgs.config import Views
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.pretraining.samples import TwoViews
from cyborgs.runtime.hardware import describe
from cyborgs.stages import index as index_stage

STRIDE = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images")
    parser.add_argument("--turns", type=int, default=7, help="passes over all images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        compare(options.photographs, Path(name), options.turns)


def compare(photographs, folder, turns):
    index_stage.run(photographs, folder / "index.jsonl", threads=1)
    index = read_index(folder / "index.jsonl")
    write_masks(index, folder)
    masks = Masks(str(folder / "masks.h5"), index)
    ours = TwoViews(photographs, index, masks, Views(), cell=32, samples=16, seed=0)
    rng = np.random.default_rng(0)
    loaders = {
        "published": lambda p: two_views(photographs / index[p].name, folder / f"{p}.npy", rng),
        "ours": lambda p: ours[turn, p],
    }
    seconds = {name: [] for name in loaders}
    size = {}
    for turn in range(-1, turns):
        for name, load in loaders.items():
            begin = time.perf_counter()
            for p in range(len(index)):
                sample = load(p)
            if turn >= 0:  # the first pass warms up
                seconds[name].append((time.perf_counter() - begin) / len(index))
            size[name] = sum(np.asarray(t).nbytes for t in tensors(sample))
    print(describe(torch.device("cpu")))
    print(f"{len(index)} photographs, two views of 224 pixels each, one core")
    print("| loader | samples/s | times published | bytes a sample |")
    print("|---|---|---|---|")
    base = median(seconds["published"])
    for name in loaders:
        middle = median(seconds[name])
        print(f"| {name} | {1 / middle:.0f} | {base / middle:.2f} | {size[name]:,} |")


def tensors(sample):
    return sample.values() if isinstance(sample, dict) else sample


def write_masks(index, folder):
    rng = np.random.default_rng(0)
    with write_shard(folder / "masks.h5", Header(0, STRIDE, 0, 1, index.digest, {})) as writer:
        for p, entry in enumerate(index.entries):
            shape = grid_size(entry.height, STRIDE), grid_size(entry.width, STRIDE)
            coarse = rng.integers(0, 60, (shape[0] // 8 + 1, shape[1] // 8 + 1))
            labels = coarse.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
            writer.add(p, entry, labels, group=0, clusters=60)
            full = full_size(labels, entry.height, entry.width, STRIDE)
            np.save(folder / f"{p}.npy", full.astype(np.int64))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
