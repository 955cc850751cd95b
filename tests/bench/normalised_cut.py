"""Time of the normalised cut's eigenvectors beside LAPACK's, by the number of locations.

    python tests/bench/normalised_cut.py PHOTOGRAPH [--turns 3]

The graph is that of a photograph's features in a ResNet-50 with random weights; half of its
locations agree.  Both take turns, on one thread.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import scipy.linalg
import torch
from PIL import Image

from cyborgs.bootstrap.eigenvectors import leading_eigenvectors
from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.runtime.hardware import describe

PARTS = 8
CPU = torch.device("cpu")


def graph(image, block):
    """D^-1/2 W D^-1/2, as `normalised_cut.cut` makes it."""
    points = FeatureExtractor(Backbone("resnet50"), block, CPU, torch.float32)([image])[0]
    points = points.flatten(0, 1)
    cosines = points @ points.T
    edges = (cosines >= cosines.median()).double().clamp_(min=1e-5)
    scale = edges.sum(1).rsqrt()
    return edges * scale[:, None] * scale


def lapack(edges):
    last = len(edges) - 1
    scipy.linalg.eigh(edges.numpy(), subset_by_index=(last - PARTS + 1, last), check_finite=False)


def seconds(work, edges):
    begin = time.perf_counter()
    work(edges)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image = np.array(Image.open(options.photograph).convert("RGB"))
    print(describe(CPU))
    print("locations  seconds  LAPACK  ratio")
    for block in ("layer4.0", "layer3.1", "layer2.2"):
        edges = graph(image, block)
        turns = [
            (seconds(lambda e: leading_eigenvectors(e, PARTS), edges), seconds(lapack, edges))
            for _ in range(options.turns)
        ]
        ours, theirs = np.transpose(turns)
        ratio = median(theirs / ours)
        print(f"{len(edges):9,}  {median(ours):7.2f}  {median(theirs):6.2f}  {ratio:5.1f}")


if __name__ == "__main__":
    main()
