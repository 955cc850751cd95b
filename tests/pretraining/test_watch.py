"""Metrics of a step's health, against loops."""

import numpy as np
import pytest
import torch

from cyborgs.pretraining.watch import NAMES, health


def metrics(targets, ids, cells):
    return dict(zip(NAMES, health(targets, ids, cells).tolist(), strict=True))


def batch(seed, images=5, masks=4, dim=32, grid=3):
    rng = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, 6, (images, 2, grid, grid), generator=rng)
    ids = torch.randint(0, 6, (images, 2, 2, masks), generator=rng)
    targets = tuple(torch.randn(images * masks, dim, generator=rng) for _ in range(2))
    return targets, ids, cells


@pytest.mark.parametrize("seed", range(4))
def test_against_loops(seed):
    targets, ids, cells = batch(seed)
    found = metrics(targets, ids, cells)
    unit = torch.cat(targets).numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    assert found["projection_spread"] == pytest.approx(unit.std(axis=0, ddof=1).mean() * 32**0.5)
    hits = [
        ids[b, v, 0, m] in ids[b, 1 - v, 1] for b in range(5) for v in range(2) for m in range(4)
    ]
    assert found["positives"] == pytest.approx(np.mean(hits))
    distinct = [len(cells[b, v].unique()) for b in range(5) for v in range(2)]
    assert found["masks_in_view"] == pytest.approx(np.mean(distinct))


def test_collapse_shows():
    targets, ids, cells = batch(0, images=50, dim=128)
    assert metrics(targets, ids, cells)["projection_spread"] == pytest.approx(1, abs=0.05)
    same = tuple(torch.ones_like(t) for t in targets)
    assert metrics(same, ids, cells)["projection_spread"] == pytest.approx(0, abs=1e-3)


def test_one_mask_everywhere():
    targets, ids, cells = batch(0)
    found = metrics(targets, ids * 0, cells * 0)
    assert (found["positives"], found["masks_in_view"]) == (1, 1)
