"""A GPU's speed: training steps, loaders that feed them, and masks.

    python tests/bench/gpu.py PHOTOGRAPHS --out gpu.jsonl

Steps are those of a ResNet-50 at 224 pixels beside the published recipe's, written from its
description and computed as PyTorch does by itself (TF32 convolutions).  Loaders and masks take the
photographs at 640 x 480, several times over.  Results are written as they come, the most telling
first, and what would begin after ``--seconds`` is left out; the tables follow at the end.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from published import Step

from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.bootstrap.kmeans import cluster, pin_threads
from cyborgs.common.progress import say
from cyborgs.config import Bootstrap, Compute, Views, parse
from cyborgs.images.decoding import decode
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pair import Pair
from cyborgs.pretraining.samples import TwoViews
from cyborgs.pretraining.state import TrainingState, save_state
from cyborgs.pretraining.trainer import Trainer
from cyborgs.runtime.hardware import describe, native_precisions, set_float32
from cyborgs.runtime.signals import Stop
from cyborgs.stages import bootstrap
from cyborgs.stages import index as index_stage
from cyborgs.training.batches import Steps, load_batches
from cyborgs.training.loop import Waiting

# Precision, batch, compiled, with the vMF term; the most telling first.
VARIANTS = [
    ("bfloat16", 128, False, False),
    ("bfloat16", 128, False, True),
    ("published", 128, False, False),
    ("bfloat16", 128, True, False),
    ("tf32", 128, False, False),
    ("float32", 128, False, False),
    ("bfloat16", 256, True, False),
    ("bfloat16", 256, False, False),
    ("float16", 128, False, False),
    ("published", 16, False, False),
    ("bfloat16", 32, False, False),
    ("bfloat16", 64, False, False),
    ("bfloat16", 512, False, False),
    ("bfloat16", 512, False, True),
    ("tf32", 128, True, False),
]
WORKERS = (16, 8, 4, 2, 1)
STRIDE = 8


class Bench:
    """Settings, the time that is left, and what was found so far."""

    def __init__(self, options):
        self.device = torch.device(options.device)
        self.small = options.small
        self.out = options.out
        self.end = time.monotonic() + options.seconds
        self.rows = []
        model = {"architecture": "resnet50", "hidden": 4096, "projection": 256}
        self.model = {**model, "architecture": "resnet18", "hidden": 64} if self.small else model
        self.side = 64 if self.small else 224

    def note(self, **row):
        self.rows.append(row)
        line = json.dumps(row)
        say(line)
        with open(self.out, "a") as stream:
            stream.write(line + "\n")

    def late(self):
        return time.monotonic() > self.end

    def synchronise(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, run, turns=3, steps=4, warm=3):
        """Seconds of a step: median of turns, each of which waits for the device at its end."""
        if self.small:
            turns, steps, warm = 1, 1, 0
        for _ in range(warm):
            run()
        taken = []
        for _ in range(turns):
            self.synchronise()
            begin = time.perf_counter()
            for _ in range(steps):
                run()
            self.synchronise()
            taken.append((time.perf_counter() - begin) / steps)
        return median(taken)


def trainer_of(bench, precision, batch, compiled=False, vmf=False):
    torch.manual_seed(0)
    pair = Pair(**bench.model)
    state = TrainingState(
        bench.model, 0, 0, pair.online.state_dict(), pair.target.state_dict(), {}, {}, {}
    )
    # The mean of what K is drawn from, in every step: each costs the same.
    k = 4 if bench.small else 129
    term = {"weight": 1.0, "clusters": [k, k]} if vmf else {}
    section = {"batch_size": batch, "precision": precision, "vmf": term}
    settings = parse({"pretrain": section}).pretrain
    return Trainer(
        state, settings, steps_per_epoch=100, device=bench.device, compiled=compiled, seed=0
    )


def our_step(bench, precision, batch, compiled, vmf):
    trainer = trainer_of(bench, precision, batch, compiled, vmf)
    grid = bench.side // 32
    cells = torch.randint(0, 20, (batch, 2, grid, grid), dtype=torch.int32)
    ids = torch.stack(
        [c.flatten()[torch.randint(0, c.numel(), (2, 16))] for c in cells.flatten(0, 1)]
    )
    size = (batch, 2, bench.side, bench.side, 3)
    sample = {
        "positions": torch.arange(batch),
        "images": torch.randint(0, 256, size, dtype=torch.uint8),
        "cells": cells,
        "ids": ids.view(batch, 2, 2, 16),
    }
    if bench.device.type == "cuda":
        sample = {name: tensor.pin_memory() for name, tensor in sample.items()}
    before = []

    def run():
        # As training does: what the step before came to is read while this one is computed.
        before.append(trainer.train_step(sample))
        if len(before) > 1:
            before.pop(0).read()

    return run


def published_step(bench, batch):
    # As PyTorch computes by itself.
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    model = bench.model
    step = Step(model["architecture"], model["hidden"], model["projection"], bench.device)
    side = bench.side
    images = torch.randn(2, batch, 3, side, side)
    labels = torch.randint(0, 60, (2, batch, side // 64 + 1, side // 64 + 1))
    labels = labels.repeat_interleave(64, 2).repeat_interleave(64, 3)[..., :side, :side]
    labels = labels.contiguous()
    return lambda: step(images.to(bench.device), labels.to(bench.device))


def steps(bench):
    for precision, batch, compiled, vmf in VARIANTS:
        if bench.small:
            batch = max(2, batch // 32)
        if bench.small and compiled:
            continue
        known = ("float32", "published", *native_precisions(bench.device))
        if bench.late() or precision not in known:
            continue
        row = {
            "part": "step",
            "precision": precision,
            "batch": batch,
            "compiled": compiled,
            "vmf": vmf,
        }
        run = None
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
        begin = time.perf_counter()
        try:
            if precision == "published":
                run = published_step(bench, batch)
            else:
                run = our_step(bench, precision, batch, compiled, vmf)
            run()
            bench.synchronise()
            first = time.perf_counter() - begin
            seconds = bench.timed(run)
        except torch.OutOfMemoryError:
            bench.note(**row, images_per_second=None)
            continue
        except Exception as error:
            if "memory is full" not in str(error):
                raise
            bench.note(**row, images_per_second=None)
            continue
        peak = None
        if bench.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(bench.device)
        bench.note(**row, images_per_second=batch / seconds, first_step=first, memory=peak)


def photographs(bench, folder, given, count):
    """An index of photographs of one size, of which some are there many times."""
    size = (128, 96) if bench.small else (640, 480)
    images = folder / "images"
    images.mkdir()
    paths = sorted(p for p in given.iterdir() if p.suffix == ".jpg")[:count]
    encoded = [
        cv2.imencode(".jpg", cv2.resize(cv2.imread(str(p)), size), [cv2.IMWRITE_JPEG_QUALITY, 92])
        for p in paths
    ]
    for number in range(count):
        content = encoded[number % len(paths)][1].tobytes()
        (images / f"{number:06d}.jpg").write_bytes(content)
    index_stage.run(images, folder / "index.jsonl", threads=16)
    return images, read_index(folder / "index.jsonl")


def loaders(bench, folder, images, index):
    """Training with so many loader processes: images a second, and the share of waiting."""
    rng = np.random.default_rng(0)
    with write_shard(folder / "masks.h5", Header(0, STRIDE, 0, 1, index.digest, {})) as writer:
        for p, entry in enumerate(index.entries):
            rows, cols = grid_size(entry.height, STRIDE), grid_size(entry.width, STRIDE)
            coarse = rng.integers(0, 60, (rows // 8 + 1, cols // 8 + 1))
            writer.add(
                p, entry, coarse.repeat(8, 0).repeat(8, 1)[:rows, :cols], group=0, clusters=60
            )
    masks = Masks(str(folder / "masks.h5"), index)
    batch = 4 if bench.small else 128
    views = Views(crop=bench.side)
    dataset = TwoViews(images, index, masks, views, cell=32, samples=16, seed=0)
    precision = "bfloat16" if "bfloat16" in native_precisions(bench.device) else "float32"
    trainer = trainer_of(bench, precision, batch)
    for workers in WORKERS[-1:] if bench.small else WORKERS:
        if bench.late():
            continue
        warm, counted = (1, 2) if bench.small else (8, 24 if workers > 4 else 8)
        keys = Steps(
            len(index),
            masks.positions,
            batch_size=batch,
            first=0,
            last=warm + counted,
            seed=0,
            rank=0,
            ranks=1,
        )
        batches = load_batches(dataset, keys, workers=workers, pin=bench.device.type == "cuda")
        waiting = Waiting(batches, Stop())
        outcome = None
        for number, loaded in enumerate(waiting):
            if number == warm:
                bench.synchronise()
                begin, before = time.perf_counter(), waiting.seconds
            following = trainer.train_step(loaded)
            if outcome is not None:
                outcome.read()
            outcome = following
        outcome.read()
        seconds = time.perf_counter() - begin
        bench.note(
            part="loader",
            precision=precision,
            batch=batch,
            workers=workers,
            images_per_second=batch * counted / seconds,
            waiting=(waiting.seconds - before) / seconds,
        )


def masks(bench, folder, images, index):
    """Seconds of each part of a group's masks by itself, then a whole job."""
    if bench.late():
        return
    torch.manual_seed(0)
    pair = Pair(**bench.model)
    architecture = bench.model["architecture"]
    block = "layer2.1" if bench.small else "layer2.2"
    backbone = Backbone(architecture)
    backbone.load_state_dict(pair.online.backbone.state_dict())
    half = "bfloat16" in native_precisions(bench.device)
    kind = torch.bfloat16 if half else torch.float32
    set_float32("float32")
    features = FeatureExtractor(backbone, block, bench.device, kind)
    pixels = [decode(images, index[p]) for p in range(16)]
    maps = features(pixels)
    points = torch.cat([m.flatten(0, 1) for m in maps])
    header = Header(0, STRIDE, 0, 1, index.digest, {})
    rows, cols = maps[0].shape[:2]
    k = 12 if bench.small else 129  # the mean of 2 … 256
    labels = cluster(points, k, seed=0, settings=Bootstrap())

    def write():
        with write_shard(folder / "written.h5", header) as writer:
            for p in range(16):
                part = labels[p * rows * cols : (p + 1) * rows * cols].reshape(rows, cols)
                writer.add(p, index[p], part, group=0, clusters=k)

    parts = {
        "decode, one thread": lambda: [decode(images, index[p]) for p in range(16)],
        "features": lambda: features(pixels),
        "clustering": lambda: cluster(points, k, seed=0, settings=Bootstrap()),
        "writing": write,
    }
    for name, run in parts.items():
        seconds = bench.timed(run, turns=5, warm=2)
        bench.note(part="masks", stage=name, images_per_second=16 / seconds)
    save_state(
        folder / "state.pt",
        TrainingState(
            bench.model, 1, 0, pair.online.state_dict(), pair.target.state_dict(), {}, {}, {}
        ),
    )
    section = {"block": block, "clusters": [2, 12 if bench.small else 256]}
    config = parse({"shards": 1, "bootstrap": section})
    threads = 2 if bench.small else 16
    compute = Compute(device=bench.device.type, threads=threads)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    taken = []
    few = 16 if bench.small else 256
    for limit in (few, few, len(index)):  # the first job warms up
        begin = time.perf_counter()
        bootstrap.run(
            config,
            number=1,
            images=images,
            index_path=folder / "index.jsonl",
            state_path=folder / "state.pt",
            out=folder / "m.h5",
            shard=0,
            compute=compute,
            limit=limit,
        )
        taken.append(time.perf_counter() - begin)
    memory = None
    if bench.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(bench.device)
    bench.note(
        part="masks",
        stage="a job, after its start",
        images_per_second=(len(index) - few) / (taken[2] - taken[1]),
        start=taken[1] - few / (len(index) - few) * (taken[2] - taken[1]),
        memory=memory,
    )


def tables(bench):
    lines = [f"{describe(bench.device)}, PyTorch {torch.__version__}", ""]
    found = {part: [r for r in bench.rows if r["part"] == part] for part in ("step", "loader")}
    base = {
        r["batch"]: r["images_per_second"] for r in found["step"] if r["precision"] == "published"
    }
    lines += ["| step | batch | images/s | times published | memory |", "|---|---|---|---|---|"]
    for r in found["step"]:
        name = r["precision"] + (", compiled" if r["compiled"] else "")
        name += ", vMF term" if r["vmf"] else ""
        speed = r["images_per_second"]
        if speed is None:
            lines.append(f"| {name} | {r['batch']} | does not fit | | |")
            continue
        times = base.get(r["batch"])
        ratio = f"{speed / times:.1f}" if times else ""
        memory = f"{r['memory'] / 1e9:.1f} GB" if r["memory"] else ""
        lines.append(f"| {name} | {r['batch']} | {speed:.0f} | {ratio} | {memory} |")
    lines += ["", "| loader processes | images/s | waiting for data |", "|---|---|---|"]
    for r in found["loader"]:
        lines.append(f"| {r['workers']} | {r['images_per_second']:.0f} | {r['waiting']:.0%} |")
    lines += ["", "| masks | images/s |", "|---|---|"]
    for r in (r for r in bench.rows if r["part"] == "masks"):
        lines.append(f"| {r['stage']} | {r['images_per_second']:.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of JPEGs")
    parser.add_argument("--out", type=Path, required=True, help="file for the results (JSON lines)")
    parser.add_argument("--seconds", type=float, default=240, help="after which no part begins")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="the smallest sizes: tries the script")
    options = parser.parse_args()
    bench = Bench(options)
    pin_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, index = photographs(bench, folder, options.photographs, 32 if bench.small else 2048)
        # Masks and loaders are quick; compiled steps are not.
        masks(bench, folder, images, index)
        loaders(bench, folder, images, index)
        steps(bench)
    print(tables(bench))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
