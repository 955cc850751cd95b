"""What a backbone costs: a training step and masks, families side by side.

    python tests/bench/backbones.py [ARCHITECTURE ...]
    python tests/bench/backbones.py --memory [ARCHITECTURE ...]

A step is that of pretraining in the precision that `auto` gives here, with LARS; masks are features
of photographs of 480 x 640 pixels at the default block, and k-means over groups of 16 with K from 2
to 256.  Backbones run in turn, each time in a process of its own; the table has medians, and
what they are to the first one's of the same turn.

With `--memory`: what features of one image take on the CPU, beside what `memory_needed` foresees.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ARCHITECTURES = (
    "resnet50",
    "timm/convnext_tiny",
    "timm/vit_small_patch16_224",
    "timm/vit_small_patch14_dinov2",
    "timm/efficientnet_b0",
    "timm/regnety_032",
)

# Height and width of images whose memory is measured.
SIZES = ((480, 640), (1024, 1024))


def measure_step(architecture, batch, side, steps):
    import numpy as np
    import torch

    from cyborgs.config import parse
    from cyborgs.models.pair import Pair
    from cyborgs.pretraining.state import TrainingState
    from cyborgs.pretraining.trainer import Trainer
    from cyborgs.runtime.hardware import TRAINING, choose_device, choose_precision

    device = choose_device("auto")
    config = parse({"model": {"architecture": architecture}, "pretrain": {"batch_size": batch}})
    precision = choose_precision("auto", "pretrain.precision", device, among=TRAINING)
    model = config.model.recorded()
    pair = Pair(**model)
    online, target = pair.online.state_dict(), pair.target.state_dict()
    state = TrainingState(model, 0, 0, online, target, {}, {}, {})
    settings = config.pretrain.model_copy(update={"precision": precision})
    trainer = Trainer(state, settings, steps_per_epoch=100, device=device, seed=0)
    rng, grid = np.random.default_rng(0), side // config.model.cell
    made = {
        "positions": torch.arange(batch),
        "images": torch.from_numpy(rng.integers(0, 256, (batch, 2, side, side, 3), np.uint8)),
        "cells": torch.from_numpy(rng.integers(0, 8, (batch, 2, grid, grid), np.int32)),
        "ids": torch.from_numpy(rng.integers(0, 8, (batch, 2, 2, 16), np.int32)),
    }
    made["cells"].flatten(2)[..., :8] = torch.arange(8, dtype=torch.int32)
    seconds = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        trainer.train_step(made)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {"rate": batch / median(seconds[1:]), "peak": peak, "precision": precision}


def measure_masks(architecture, images):
    import numpy as np
    import torch

    from cyborgs.bootstrap.features import FeatureExtractor
    from cyborgs.bootstrap.kmeans import cluster, draw_clusters
    from cyborgs.config import parse
    from cyborgs.models.backbones import family_of
    from cyborgs.models.backbones.backbone import Backbone
    from cyborgs.runtime.hardware import MASKS, choose_device, choose_precision

    device = choose_device("auto")
    precision = choose_precision("auto", "bootstrap.precision", device, among=MASKS)
    settings = parse({}).bootstrap
    block = family_of(architecture).clustered(architecture)
    kind = getattr(torch, precision)
    extract = FeatureExtractor(Backbone(architecture), block, device, kind)
    rng = np.random.default_rng(0)
    photos = list(rng.integers(0, 256, (16, 480, 640, 3), np.uint8))
    extract(photos[:1])
    begin, number = time.perf_counter(), 0
    while number * 16 < images:
        points = torch.cat([m.flatten(0, 1) for m in extract(photos)])
        cluster(points, draw_clusters(settings, 0, 1, number), seed=number, settings=settings)
        number += 1
    return {"rate": 16 * number / (time.perf_counter() - begin), "block": block}


def measure_memory(architecture, precision, height, width):
    """Peak memory of a process while it extracts features, above what it had before."""
    import numpy as np
    import torch

    from cyborgs.bootstrap.features import FeatureExtractor, memory_needed
    from cyborgs.models.backbones import family_of
    from cyborgs.models.backbones.backbone import Backbone
    from cyborgs.runtime.memory import give_back, keep_freed_memory

    def now(field):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(re.search(rf"{field}:\s*(\d+) kB", status)[1])

    # As the stage that makes masks.
    keep_freed_memory()
    device, kind = torch.device("cpu"), getattr(torch, precision)
    block = family_of(architecture).clustered(architecture)
    extract = FeatureExtractor(Backbone(architecture), block, device, kind)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    # Kernels are made for a small image, and the peak is forgotten.
    extract([pixels[:64, :64]])
    give_back()
    Path("/proc/self/clear_refs").write_text("5")
    before = now("VmRSS")
    # Features of the images before the last are foreseen apart, with their clusters.
    kept = sum(features.nbytes for features in extract([pixels] * 4)[:-1])
    size = {"height": height, "width": width}
    return {
        "block": block,
        "used": now("VmHWM") - before - kept,
        "needed": memory_needed(architecture, block, **size, precision=kind, device=device),
    }


def in_process(measure, *given):
    code = (
        "import sys, json; sys.path.insert(0, 'tests/bench'); import backbones as b; "
        "print(json.dumps(getattr(b, sys.argv[1])(*json.loads(sys.argv[2]))))"
    )
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code, measure.__name__, json.dumps(given)],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def show_memory(architectures):
    kinds = [(size, precision) for size in SIZES for precision in ("float32", "bfloat16")]
    heads = [f"{size[0]} x {size[1]}, {precision}" for size, precision in kinds]
    print(f"| backbone | block | used at {heads[-1]} | {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|")
    for architecture in architectures:
        found = [in_process(measure_memory, architecture, p, *size) for size, p in kinds]
        cells = [f"`{architecture}`", f"`{found[0]['block']}`", f"{found[-1]['used'] / 1e6:.0f} MB"]
        cells += [f"{one['needed'] / one['used']:.2f}" for one in found]
        print(f"| {' | '.join(cells)} |", flush=True)
    print("\nlast four: foreseen to used, of four images in turn")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="of one image's features, instead")
    options = parser.parse_args()
    if options.memory:
        show_memory(options.architectures)
        return
    found = {a: {"step": [], "masks": []} for a in options.architectures}
    for _ in range(options.turns):
        for architecture in options.architectures:
            step = in_process(
                measure_step, architecture, options.batch, options.side, options.steps
            )
            masks = in_process(measure_masks, architecture, options.images)
            found[architecture]["step"].append(step)
            found[architecture]["masks"].append(masks)

    first = found[options.architectures[0]]
    print(
        "| backbone | images/s of a step | to the first | memory | block | masks/s | to the first |"
    )
    print("|---|---|---|---|---|---|---|")
    for architecture, own in found.items():
        cells = [f"`{architecture}`"]
        for kind in ("step", "masks"):
            rates = [run["rate"] for run in own[kind]]
            pairs = zip(rates, (run["rate"] for run in first[kind]), strict=True)
            ratio = median(a / b for a, b in pairs)
            extra = f"{max(r['peak'] for r in own[kind]) / 1e9:.1f} GB" if kind == "step" else None
            if kind == "masks":
                cells.append(f"`{own[kind][0]['block']}`")
            cells += [f"{median(rates):.2f}", f"{ratio:.2f}", *([extra] if extra else [])]
        print(f"| {' | '.join(cells)} |")
    print(f"\nprecision of the step: {first['step'][0]['precision']}; medians of {options.turns}")


if __name__ == "__main__":
    main()
