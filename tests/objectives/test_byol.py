"""BYOL on pooled masks, against loops written from the equation, and in training."""

import numpy as np
import pytest
import torch

from cyborgs.config import parse
from cyborgs.models.pair import Pair
from cyborgs.objectives.byol import Byol
from cyborgs.pretraining.state import TrainingState
from cyborgs.pretraining.trainer import Trainer

BYOL = Byol(kind="byol")


def explicit_loss(predictions, targets, own, other):
    """Mean over images of the mean over masks that both views have; NumPy, one pair at a time."""

    def distance(a, b):
        return float(np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))

    images = []
    for p, t, mine, theirs in zip(predictions, targets, own, other, strict=True):
        masks = []
        for mask in set(mine) & set(theirs):
            pairs = [
                distance(p[i], t[j])
                for i in range(len(mine))
                for j in range(len(theirs))
                if mine[i] == mask == theirs[j]
            ]
            masks.append(np.mean(pairs))
        images.append(np.mean(masks) if masks else 0.0)
    return np.mean(images)


@pytest.mark.parametrize("masks", [1, 2, 5, 40], ids=lambda n: f"{n} masks an image")
@pytest.mark.parametrize("view", [0, 1])
def test_agrees_with_explicit_loops(masks, view):
    rng = np.random.default_rng(masks)
    predictions, first, second = rng.normal(size=(3, 4, 8, 16)) * 3
    ids = rng.integers(0, masks, (4, 2, 2, 8))
    found = BYOL.view_loss(
        view,
        torch.tensor(predictions),
        [BYOL.offer(torch.tensor(first)), BYOL.offer(torch.tensor(second))],
        torch.tensor(ids),
    )
    targets = (second, first)[view]
    expected = explicit_loss(predictions, targets, ids[:, view, 0], ids[:, 1 - view, 1])
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_with_one_mask_an_image_it_is_byols_loss():
    torch.manual_seed(0)
    vectors, targets = torch.randn(2, 6, 1, 16)
    rows = vectors.expand(6, 5, 16)
    ids = torch.zeros(6, 2, 2, 5, dtype=torch.int64)
    offered = [torch.zeros(6, 5, 16), targets.expand(6, 5, 16)]
    expected = 2 - 2 * torch.cosine_similarity(vectors[:, 0], targets[:, 0])
    torch.testing.assert_close(BYOL.view_loss(0, rows, offered, ids), expected.mean())


def test_views_that_share_no_mask_give_no_loss_and_no_gradient():
    predictions = torch.randn(2, 3, 8, requires_grad=True)
    ids = torch.arange(2 * 2 * 2 * 3).view(2, 2, 2, 3)
    loss = BYOL.view_loss(0, predictions, [torch.randn(2, 3, 8)] * 2, ids)
    loss.backward()
    assert loss == 0
    assert not predictions.grad.any()


def test_training_lowers_it():
    """From 2 for unrelated directions towards 0, for each view; by the trainer as it is."""
    torch.manual_seed(0)
    model = {"architecture": "resnet18", "hidden": 16, "projection": 8}
    pair = Pair(**model)
    state = TrainingState(
        model, 0, 0, pair.online.state_dict(), pair.target.state_dict(), {}, {}, {}
    )
    given = {"batch_size": 4, "masks": 3, "precision": "float32", "base_learning_rate": 3.2}
    given |= {"objective": {"kind": "byol"}, "schedule": {"kind": "step", "warmup_epochs": 0}}
    settings = parse({"pretrain": given | {"sgd": {}}}).pretrain
    trainer = Trainer(state, settings, steps_per_epoch=8, device=torch.device("cpu"), seed=0)
    batch = {
        "positions": torch.arange(4),
        "images": torch.randint(0, 256, (4, 2, 64, 64, 3), dtype=torch.uint8),
        "cells": torch.arange(4, dtype=torch.int32).view(1, 1, 2, 2).repeat(4, 2, 1, 1),
        "ids": torch.arange(3, dtype=torch.int32).repeat(4, 2, 2, 1),
    }
    losses = [trainer.train_step(batch).read()[0] for _ in range(5)]
    assert 2 < losses[0] < 6
    assert losses[-1] < 0.8 * losses[0]


def test_what_made_a_state_says_so():
    section = parse({"pretrain": {"objective": {"kind": "byol"}}}).pretrain
    assert section.recorded()["objective"] == {"kind": "byol"}
