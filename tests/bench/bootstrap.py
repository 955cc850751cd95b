"""Speed of making masks beside the published way, and where the time goes.

    python tests/bench/bootstrap.py PHOTOGRAPHS [--size 481x321]

All make masks of the same groups with the same K: the published way runs the whole network in
float32 with a hook, image by image, clusters all points with FAISS, and saves int64 `.npy` of image
size (stretched by OpenCV, which is faster than what the published program uses); ours computes in
the precision that is this machine's default, and in the other one beside it.  They take turns, the
published way in a process of its own; the tables have medians over groups.
How good the clusters are is the mean squared distance of all points, with float32 features, to the
means of their clusters.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import cv2
import faiss
import numpy as np
import torch
import torch.nn.functional as F
import torchvision

from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.bootstrap.kmeans import cluster, pin_threads
from cyborgs.config import Bootstrap
from cyborgs.images.decoding import decode
from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Header, write_shard
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import IMAGENET
from cyborgs.models.normalise import normalise
from cyborgs.runtime.hardware import describe, native_precisions
from cyborgs.runtime.memory import keep_freed_memory
from cyborgs.stages import index as index_stage

BLOCK, STRIDE = "layer2.2", 8
CPU = torch.device("cpu")


class Clock:
    """Seconds of each part of the work."""

    def __init__(self):
        self.seconds = defaultdict(list)

    def __call__(self, name, work):
        begin = time.perf_counter()
        result = work()
        self.seconds[name].append(time.perf_counter() - begin)
        return result


class Published:
    """The published program, in the process that this class is used in."""

    made = None

    def __init__(self, images, folder, threads):
        pin_threads(threads, exact=True)
        self.images, self.folder = images, folder
        self.index = read_index(folder / "index.jsonl")
        self.network, _ = networks(images, self.index)

    @classmethod
    def start(cls, *given):
        cls.made = cls(*given)

    @classmethod
    def run(cls, members, k, seed):
        """Labels of a group, and the seconds of each part."""
        clock = Clock()
        made = cls.made
        given = made.images, made.index, members, k, seed, made.folder
        return published(clock, made.network, *given), clock.seconds


def published(clock, network, images, index, members, k, seed, folder):
    """Masks of a group as the published program makes them; returns their labels."""
    taken = []
    hook = network.layer2[2].register_forward_hook(lambda m, i, o: taken.append(o))
    pixels = clock("decode", lambda: [read(images, index, p) for p in members])
    with torch.no_grad():
        clock(
            "features",
            lambda: [network(normalise(torch.from_numpy(p)[None], IMAGENET)) for p in pixels],
        )
    hook.remove()

    def clustered():
        points = torch.cat([F.normalize(t, dim=1).flatten(2)[0].T for t in taken]).contiguous()
        kmeans = faiss.Kmeans(
            512, k, niter=20, seed=seed, min_points_per_centroid=1,
            max_points_per_centroid=len(points),
        )  # fmt: skip
        kmeans.train(points.numpy())
        return kmeans.index.search(points.numpy(), 1)[1][:, 0]

    labels = clock("clustering", clustered)

    def save():
        begin = 0
        for p, features in zip(members, taken, strict=True):
            rows, cols = features.shape[2:]
            part = labels[begin : begin + rows * cols].reshape(rows, cols)
            begin += rows * cols
            size = index[p].width, index[p].height
            zoomed = cv2.resize(part.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
            np.save(folder / f"{p}.npy", zoomed.astype(np.int64))

    clock("writing", save)
    return labels


def ours(clock, features, images, index, members, k, seed, folder):
    """Masks of a group as this program makes them; returns their labels."""
    pixels = clock("decode", lambda: [read(images, index, p) for p in members])
    maps = clock("features", lambda: features(pixels))

    def clustered():
        points = torch.cat([m.flatten(0, 1) for m in maps])
        return cluster(points, k, seed=seed, settings=Bootstrap())

    labels = clock("clustering", clustered)

    def save():
        header = Header(0, STRIDE, 0, 1, index.digest, {})
        begin = 0
        with write_shard(folder / "shard.h5", header) as writer:
            for p, found in zip(members, maps, strict=True):
                rows, cols = found.shape[:2]
                part = labels[begin : begin + rows * cols].reshape(rows, cols)
                begin += rows * cols
                writer.add(p, index[p], part, group=0, clusters=k)

    clock("writing", save)
    return labels


def bounds(clock, backbone, images, index, members, k):
    """The bare convolutions up to the block, and the matrix products of k-means."""
    kind = backbone.conv1.weight.dtype
    convolutions = []
    sizes = [(index[p].height, index[p].width) for p in members]
    points = sum(grid_size(h, STRIDE) * grid_size(w, STRIDE) for h, w in sizes)
    hooks = [
        m.register_forward_hook(lambda m, i, o: convolutions.append((m, i[0])))
        for m in backbone.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    with torch.inference_mode():
        first = torch.from_numpy(read(images, index, members[0]))[None]
        backbone.aligned(normalise(first, IMAGENET).to(kind), [BLOCK])
        for hook in hooks:
            hook.remove()
        clock("features", lambda: [m(x) for _ in members for m, x in convolutions])
    settings = Bootstrap()
    sample = torch.randn(min(points, settings.sample * k), 512).to(kind)
    whole = torch.randn(points, 512).to(kind)

    def products():
        for x, times in ((sample, settings.iterations), (whole, settings.refinements)):
            for _ in range(times):
                (x @ x[:k].T).T @ x
        whole @ whole[:k].T

    clock("clustering", products)


def read(images, index, p):
    e = index[p]
    return decode(images, e)


def spread(points, labels):
    """Mean squared distance of the points to the means of their clusters."""
    labels = torch.from_numpy(labels)
    clusters = int(labels.max()) + 1
    sums = torch.zeros(clusters, points.shape[1]).index_add_(0, labels, points)
    means = sums / torch.bincount(labels, minlength=clusters).clamp(min=1)[:, None]
    return float((points - means[labels]).square().sum(1).mean())


def networks(images, index):
    """The same weights as torchvision's network and as our backbone; statistics of photographs."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    views = [cv2.resize(read(images, index, p), (224, 224)) for p in range(16)]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        network(normalise(torch.from_numpy(np.stack(views)), IMAGENET))
    backbone = Backbone("resnet50")
    backbone.load_state_dict(network.state_dict(), strict=False)
    return network.eval(), backbone


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images")
    parser.add_argument("--size", help="WIDTHxHEIGHT to which they are resized first")
    parser.add_argument("--groups", type=int, default=6, help="groups of 16 images")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    pin_threads(options.threads, exact=True)
    print(f"{describe(CPU)}, {options.threads} threads")
    with tempfile.TemporaryDirectory() as name:
        compare(options, Path(name))


def compare(options, folder):
    images = options.photographs
    if options.size:
        width, height = map(int, options.size.split("x"))
        (folder / "images").mkdir()
        for path in sorted(images.iterdir()):
            resized = cv2.resize(cv2.imread(str(path)), (width, height))
            cv2.imwrite(str(folder / "images" / path.name), resized)
        images = folder / "images"
    index_stage.run(images, folder / "index.jsonl", threads=options.threads)
    index = read_index(folder / "index.jsonl")
    _, backbone = networks(images, index)
    keep_freed_memory()
    default = "bfloat16" if "bfloat16" in native_precisions(CPU) else "float32"
    other_one = {"bfloat16": "float32", "float32": "bfloat16"}[default]
    extract = {
        p: FeatureExtractor(backbone, BLOCK, CPU, getattr(torch, p)) for p in (default, other_one)
    }
    bare = backbone.to(getattr(torch, default)).to(memory_format=torch.channels_last).eval()
    rng = np.random.default_rng(0)
    names = {p: f"ours {p}" + (" (default)" if p == default else "") for p in extract}
    clocks = {name: Clock() for name in ("published", *names.values(), f"bound {default}")}
    ratios = {name: [] for name in names.values()}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, spawn, initializer=Published.start, initargs=(images, folder, options.threads)
    ) as other:
        for group in range(-1, options.groups):
            members = rng.choice(len(index), 16, replace=False).tolist()
            k = int(rng.integers(2, 257))
            if group < 0:  # the first one warms up
                warm = {name: Clock() for name in clocks}
            used = warm if group < 0 else clocks
            given = images, index, members, k
            theirs, seconds = other.submit(Published.run, members, k, group + 1).result()
            for part, times in seconds.items():
                used["published"].seconds[part] += times
            bounds(used[f"bound {default}"], bare, *given)
            pixels = [read(images, index, p) for p in members]
            points = torch.cat([m.flatten(0, 1) for m in extract["float32"](pixels)])
            for precision, name in names.items():
                # Where it is emulated, it takes minutes a group.
                if precision == "bfloat16" != default and not 0 <= group < 2:
                    continue
                found = ours(used[name], extract[precision], *given, group + 1, folder)
                if group >= 0:
                    ratios[name].append(spread(points, found) / spread(points, theirs))
    report(clocks, ratios)


def report(clocks, ratios):
    parts = ("decode", "features", "clustering", "writing")
    print("| seconds a group of 16 | " + " | ".join(parts) + " | all | images/s |")
    print("|---|---|---|---|---|---|---|")
    total = {}
    for name, clock in clocks.items():
        cells = [f"{median(s):.3f}" if (s := clock.seconds.get(part)) else "" for part in parts]
        if not name.startswith("bound"):
            total[name] = [sum(group) for group in zip(*clock.seconds.values(), strict=True)]
            cells += [f"{median(total[name]):.3f}", f"{16 / median(total[name]):.1f}"]
        else:
            cells += ["", ""]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, own in ratios.items():
        # Of the same groups: the first ones.
        faster = median(a / b for a, b in zip(total["published"], total[name], strict=False))
        print(
            f"\n{name}: {faster:.1f} times the images per second; mean squared distance "
            f"{median(own):.4f}\ntimes the published one (median of {len(own)} groups; at most "
            f"{max(own):.4f})"
        )


if __name__ == "__main__":
    main()
