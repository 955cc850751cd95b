"""What a GPU computes is what the CPU computes, up to the rounding of its precision."""

import numpy as np
import pytest
import torch

from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.bootstrap.kmeans import cluster
from cyborgs.config import Bootstrap, parse
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pair import Pair
from cyborgs.models.pooling import mask_weights, pool_masks
from cyborgs.objectives.detcon import candidates, view_loss
from cyborgs.objectives.vmf import cluster_locations, vmf_loss
from cyborgs.pretraining.state import TrainingState
from cyborgs.pretraining.trainer import Trainer
from cyborgs.runtime.hardware import native_precisions, set_float32

CPU = torch.device("cpu")

# Largest relative error of features, and of the loss of a step: float32 differs by the order of its
# sums; TF32 has 10 bits of mantissa, as float16 has, bfloat16 7.
PRECISIONS = {"float32": 1e-4, "tf32": 5e-3, "float16": 5e-3, "bfloat16": 4e-2}


@pytest.fixture(params=PRECISIONS)
def precision(request, device):
    if request.param != "float32" and request.param not in native_precisions(device):
        pytest.skip(f"no {request.param} here")
    set_float32(request.param)
    yield request.param
    set_float32("float32")


def error(found, expected):
    return float((found.double().cpu() - expected.double()).norm() / expected.double().norm())


def test_loss_and_gradients(device):
    draw = torch.Generator().manual_seed(0)
    pred = torch.randn(6, 16, 256, generator=draw)
    targets = [torch.randn(6, 16, 256, generator=draw) for _ in range(2)]
    ids = [torch.randint(0, 9, (6, 16), generator=draw) for _ in range(3)]

    def on(where):
        own = pred.detach().to(where).requires_grad_()
        across, within = (candidates(t.to(where)) for t in targets)
        own_ids, ids_across, ids_within = (i.to(where) for i in ids)
        loss = view_loss(
            own,
            across=across,
            within=within,
            ids=own_ids,
            ids_across=ids_across,
            ids_within=ids_within,
        )
        loss.backward()
        return loss.detach().cpu(), own.grad.cpu()

    for found, expected in zip(on(device), on(CPU), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_vmf_term(device):
    draw = torch.Generator().manual_seed(0)
    kinds = torch.randn(8, 64, generator=draw)
    drawn = torch.randint(0, 8, (2, 6, 7, 7), generator=draw)
    target = kinds[drawn].permute(0, 1, 4, 2, 3)
    target = target + 0.3 * torch.randn(target.shape, generator=draw)
    online = target + 0.3 * torch.randn(target.shape, generator=draw)

    def on(where):
        found = cluster_locations(list(target.to(where)), 20, seed=0, iterations=20)
        own = online[0].detach().to(where).requires_grad_()
        loss = vmf_loss(own, found.centroids, found.labels[0])
        loss.backward()
        return loss.detach().cpu(), own.grad.cpu(), found.centroids.cpu(), found.labels.cpu()

    first, again, expected = on(device), on(device), on(CPU)
    for one, other, right in zip(first, again, expected, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, right, rtol=1e-4, atol=1e-5)


def test_pooling(device):
    draw = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 5, (4, 7, 7), generator=draw)
    ids = cells.flatten(1)[:, torch.randint(0, 49, (16,), generator=draw)]
    features = torch.randn(4, 64, 7, 7, generator=draw)
    expected = pool_masks(features, mask_weights(cells, ids))
    found = pool_masks(features.to(device), mask_weights(cells.to(device), ids.to(device)))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)


MODEL = {"architecture": "resnet18", "hidden": 256, "projection": 64}


def a_step(device, precision, compiled=False):
    """Loss, and by how much each weight moved, of one step with the same images and weights."""
    torch.manual_seed(0)
    pair = Pair(**MODEL)
    before = {k: v.clone() for k, v in pair.online.state_dict().items()}
    state = TrainingState(MODEL, 0, 9, before, pair.target.state_dict(), {}, {}, {})
    section = {"batch_size": 16, "precision": precision, "masks": 8, "base_learning_rate": 8.0}
    settings = parse({"pretrain": section}).pretrain
    trainer = Trainer(state, settings, steps_per_epoch=4, device=device, compiled=compiled, seed=0)
    draw = torch.Generator().manual_seed(1)
    cells = torch.randint(0, 6, (16, 2, 4, 4), generator=draw, dtype=torch.int32)
    chosen = torch.randint(0, 16, (16, 2, 2, 8), generator=draw)
    ids = cells.flatten(2)[:, :, None].expand(-1, -1, 2, -1).gather(-1, chosen)
    # Smooth, as photographs are: of noise, every image is the same to the network.
    small = torch.rand(32, 3, 5, 5, generator=draw)
    images = torch.nn.functional.interpolate(small, size=(128, 128), mode="bicubic").clamp(0, 1)
    batch = {
        "positions": torch.arange(16),
        "images": (images * 255).byte().permute(0, 2, 3, 1).reshape(16, 2, 128, 128, 3),
        "cells": cells,
        "ids": ids,
    }
    loss, _ = trainer.train_step(batch).read()
    after = trainer.pair.online.state_dict()
    moved = {k: after[k].cpu() - v for k, v in before.items() if v.ndim > 1}
    return loss, moved


def test_a_step(device, precision):
    loss, moved = a_step(device, precision)
    expected, reference = a_step(CPU, "float32")
    assert loss == pytest.approx(expected, rel=PRECISIONS[precision])
    # Through fifty layers errors grow; the direction of what is learned stays.
    least = {"float32": 0.999, "tf32": 0.97, "float16": 0.97, "bfloat16": 0.8}[precision]
    cosines = [
        float(torch.cosine_similarity(moved[k].flatten(), reference[k].flatten(), dim=0))
        for k in reference
    ]
    assert np.median(cosines) > least, sorted(cosines)


def test_a_compiled_step(device):
    loss, moved = a_step(device, "float32", compiled=True)
    expected, reference = a_step(device, "float32")
    assert loss == pytest.approx(expected, rel=1e-4)
    assert np.median([error(moved[k], reference[k]) for k in reference]) < 0.05


def some_images():
    rng = np.random.default_rng(0)
    sizes = [(96, 128), (128, 96), (96, 128), (70, 90), (96, 128)]
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def test_features(device, precision):
    if precision in ("float16", "tf32"):
        pytest.skip("not of masks")
    torch.manual_seed(0)
    backbone, images = Backbone("resnet50"), some_images()
    kind = getattr(torch, precision)
    found = FeatureExtractor(backbone, "layer2.2", device, kind)(images)
    expected = FeatureExtractor(backbone, "layer2.2", CPU, torch.float32)(images)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert error(one, other) < PRECISIONS[precision]


def test_features_are_the_same_each_time(device):
    torch.manual_seed(0)
    features = FeatureExtractor(Backbone("resnet18"), "layer2.1", device, torch.bfloat16)
    first, again = features(some_images()), features(some_images())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_clusters_are_as_good_and_the_same_each_time(device, kind):
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 64, generator=draw)
    points = centres[torch.randint(0, 40, (20000,), generator=draw)]
    points = torch.nn.functional.normalize(points + torch.randn(20000, 64, generator=draw), dim=1)

    def spread(labels):
        labels = torch.from_numpy(labels)
        means = torch.zeros(50, 64).index_add_(0, labels, points)
        means /= torch.bincount(labels, minlength=50).clamp(min=1)[:, None]
        return float((points - means[labels]).square().sum(1).mean())

    found = [cluster(points.to(device, kind), 50, seed=3, settings=Bootstrap()) for _ in range(2)]
    assert np.array_equal(*found)
    expected = cluster(points, 50, seed=3, settings=Bootstrap())
    assert spread(found[0]) < 1.01 * spread(expected)


def test_faiss_clusters_points_of_a_gpu(device):
    faiss = pytest.importorskip("faiss", reason="FAISS is not installed")
    if device.type == "cuda" and faiss.get_num_gpus() == 0:
        pytest.skip("this FAISS has no GPU")
    points = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)).to(device)
    labels = cluster(points, 8, seed=1, settings=Bootstrap(exact=True))
    assert set(labels) == set(range(8))
