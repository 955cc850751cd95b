"""Time of importing masks in the form of Segment Anything's.

    python tests/bench/imports.py PHOTOGRAPHS [--images 32]

Regions are the largest 100 of a fine segmentation of each photograph, a JSON file an image.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from pycocotools import mask as rle
from skimage.segmentation import felzenszwalb

from cyborgs.images.decoding import decode
from cyborgs.images.index import read_index, write_index
from cyborgs.runtime.hardware import describe
from cyborgs.stages import index as index_stage
from cyborgs.stages.masks import imports


def regions(pixels):
    segments = felzenszwalb(pixels, scale=100, sigma=0.8, min_size=400)
    ids, areas = np.unique(segments, return_counts=True)
    found = []
    for i in ids[np.argsort(-areas)][:100]:
        code = rle.encode(np.asfortranarray(segments == i, np.uint8))
        found.append({"segmentation": {"size": code["size"], "counts": code["counts"].decode()}})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images")
    parser.add_argument("--images", type=int, default=32, help="imported (default 32)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index_stage.run(options.photographs, folder / "all.jsonl", threads=1)
        entries = read_index(folder / "all.jsonl").entries[: options.images]
        write_index(folder / "index.jsonl", entries)
        counts = []
        for entry in entries:
            found = regions(decode(options.photographs, entry))
            path = (folder / "regions" / entry.name).with_suffix(".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))
            counts.append(len(found))
        begin = time.process_time()
        imports.run(folder / "regions", folder / "index.jsonl", folder / "out", stride=8, shards=1)
        seconds = (time.process_time() - begin) / len(entries)
    print(describe(torch.device("cpu")))
    print(f"{mean(counts):.0f} regions an image: {seconds:.3f} core seconds an image")


if __name__ == "__main__":
    main()
