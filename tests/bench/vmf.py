"""What the vMF term takes of a training step, in processor time.

    python tests/bench/vmf.py

A step with the term, and the term alone (clusters of both views, cross entropy, and the way back to
the features), in turn and in one thread: a whole step varies by more than the term takes.
"""

import argparse
import time
from statistics import median

import torch
from step import VMF, our_step

from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import LAYERS
from cyborgs.models.pooling import join_stages
from cyborgs.objectives.vmf import cluster_locations, vmf_loss
from cyborgs.runtime.hardware import describe


def term(batch, side, precision):
    """The term of features of a ResNet-50 with random weights."""
    network = Backbone("resnet50")
    with torch.no_grad():
        views = [
            join_stages(network(torch.randn(batch, 3, side, side)), LAYERS[1:]) for _ in range(2)
        ]
    views = [view.to(getattr(torch, precision)) for view in views]

    def run():
        found = cluster_locations(views, VMF["clusters"][0], seed=0, iterations=20)
        for view, labels in zip(views, found.labels, strict=True):
            vmf_loss(view.detach().requires_grad_(), found.centroids, labels).backward()

    return run


def processor_seconds(run):
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(describe(torch.device("cpu")))
    print(f"ResNet-50, {options.side} pixels, batch {options.batch}, K = {VMF['clusters'][0]}")
    print("| precision | step with the term | the term | share |")
    print("|---|---|---|---|")
    for precision in ("bfloat16", "float32"):
        step = our_step(options.batch, options.side, precision, ["vmf"])
        alone = term(options.batch, options.side, precision)
        # The first turn warms up.
        turns = [
            (processor_seconds(step), processor_seconds(alone)) for _ in range(options.turns + 1)
        ]
        whole, part = (median(seconds) for seconds in zip(*turns[1:], strict=True))
        print(f"| {precision} | {whole:.2f} s | {part:.2f} s | {part / whole:.1%} |", flush=True)
        del step


if __name__ == "__main__":
    main()
