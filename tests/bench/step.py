"""Speed and memory of a training step beside the published recipe's, and beside its bound.

    python tests/bench/step.py

The bound is what the convolutions alone of the same four passes take (two forward and backward,
two forward), in channels_last and with memory kept as training keeps it.  Each variant runs in a
process of its own, several times in turn; the table has medians.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

VARIANTS = (
    "published",
    "ours float32",
    "ours bfloat16",
    "ours float32 compiled",
    "ours bfloat16 compiled",
    "ours float32 vmf",
    "ours bfloat16 vmf",
    "bound float32",
    "bound bfloat16",
)


def measure(variant, batch, side, steps, threads):
    """Seconds of each step after the first, and the peak of resident memory."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = published_step(batch, side) if variant == "published" else None
    if variant.startswith("ours"):
        run = our_step(batch, side, variant.split()[1], variant.split()[2:])
    if variant.startswith("bound"):
        run = convolutions(batch, side, variant.split()[1])
    run()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak": peak}


def published_step(batch, side):
    import torch
    from published import Step

    step = Step()
    images = torch.randn(2, batch, 3, side, side)
    # Squares of two cells, of up to 60 labels.
    labels = torch.randint(0, 60, (2, batch, side // 64 + 1, side // 64 + 1))
    labels = labels.repeat_interleave(64, 2).repeat_interleave(64, 3)[..., :side, :side]
    return lambda: step(images, labels.contiguous())


# The mean of what K is drawn from, in every step: each costs the same.
VMF = {"weight": 1.0, "clusters": [129, 129]}


def our_step(batch, side, precision, extra):
    import torch

    from cyborgs.config import parse
    from cyborgs.models.pair import Pair
    from cyborgs.pretraining.state import TrainingState
    from cyborgs.pretraining.trainer import Trainer
    from cyborgs.runtime.memory import keep_freed_memory

    model = {"architecture": "resnet50", "hidden": 4096, "projection": 256}
    pair = Pair(**model)
    state = TrainingState(
        model, 0, 0, pair.online.state_dict(), pair.target.state_dict(), {}, {}, {}
    )
    vmf = VMF if "vmf" in extra else {}
    section = {"batch_size": batch, "precision": precision, "vmf": vmf}
    settings = parse({"pretrain": section}).pretrain
    keep_freed_memory()
    trainer = Trainer(
        state,
        settings,
        steps_per_epoch=100,
        device=torch.device("cpu"),
        compiled="compiled" in extra,
        seed=0,
    )
    del pair, state
    grid = side // 32
    cells = torch.randint(0, 20, (batch, 2, grid, grid), dtype=torch.int32)
    ids = torch.stack(
        [c.flatten()[torch.randint(0, c.numel(), (2, 16))] for c in cells.flatten(0, 1)]
    )
    sample = {
        "positions": torch.arange(batch),
        "images": torch.randint(0, 256, (batch, 2, side, side, 3), dtype=torch.uint8),
        "cells": cells,
        "ids": ids.view(batch, 2, 2, 16),
    }
    return lambda: trainer.train_step(sample).read()


def convolutions(batch, side, precision):
    """Every convolution of a ResNet-50: in two passes with gradients, in two without."""
    import torch
    from torch import nn

    from cyborgs.models.backbones.backbone import Backbone
    from cyborgs.runtime.memory import keep_freed_memory

    keep_freed_memory()
    kind = getattr(torch, precision)
    network = Backbone("resnet50").to(memory_format=torch.channels_last)
    shapes = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: shapes.append((m, i[0].shape, o.shape)))
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    with torch.no_grad():
        network(torch.zeros(batch, 3, side, side))
    for hook in hooks:
        hook.remove()
    network.to(kind)

    def like(shape):
        return torch.randn(shape, dtype=kind).to(memory_format=torch.channels_last)

    # One input and one gradient a shape, shared by convolutions of that shape.
    tensors = {shape: like(shape) for m, i, o in shapes for shape in (i, o)}

    def run():
        for _ in range(2):
            for number, (m, i, o) in enumerate(shapes):
                x = tensors[i].requires_grad_(number > 0)
                inputs = [x, m.weight] if number else [m.weight]
                torch.autograd.grad(m(x), inputs, tensors[o].detach())
        with torch.no_grad():
            for _ in range(2):
                for m, i, _ in shapes:
                    m(tensors[i])

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=3, help="measured steps of a process")
    parser.add_argument("--turns", type=int, default=3, help="processes of each variant")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="variants (default: all)")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        arguments = options.batch, options.side, options.steps, options.threads
        print(json.dumps(measure(options.variant, *arguments)))
        return
    import torch

    from cyborgs.runtime.hardware import describe

    found = {variant: [] for variant in options.only or VARIANTS}
    for _ in range(options.turns):
        for variant in found:
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
            shown = subprocess.run(command, check=True, capture_output=True, text=True)
            found[variant].append(json.loads(shown.stdout))
    seconds = {v: median(s for r in runs for s in r["seconds"]) for v, runs in found.items()}
    peak = {v: median(r["peak"] for r in runs) for v, runs in found.items()}
    print(f"{describe(torch.device('cpu'))}, {options.threads} threads")
    print(f"ResNet-50, {options.side} pixels, batch {options.batch}")
    print("| step | images/s | times published | share of bound | peak memory |")
    print("|---|---|---|---|---|")
    for v in found:
        bound = " ".join(v.replace("ours", "bound").split()[:2])
        times = f"{seconds['published'] / seconds[v]:.2f}" if "published" in found else ""
        share = f"{seconds[bound] / seconds[v]:.0%}" if bound in found and bound != v else ""
        print(
            f"| {v} | {options.batch / seconds[v]:.2f} | {times} | {share} "
            f"| {peak[v] / 1e9:.2f} GB |"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
