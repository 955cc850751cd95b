"""The loss of plain tensors, against the equation in loops, and against reference vectors."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import cyborgs

VECTORS = Path(__file__).resolve().parents[2].parent / "shared/vectors"


def by_loops(predictions, targets, ids, target_ids, temperature, local_negatives):
    """Equation 3 of DetCon for both views, a pair of masks at a time, in Python's floats."""

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))

    total, (images, masks) = 0.0, np.shape(ids[0])
    for view in (0, 1):
        for b in range(images):
            for m in range(masks):
                own = ids[view][b][m]
                attracting, all_ = [], []
                for side in (0, 1):
                    for u in range(images):
                        for v in range(masks):
                            alike = u == b and target_ids[side][u][v] == own
                            if u == b and not alike and not local_negatives:
                                continue
                            if alike and side == view:
                                continue
                            logit = (
                                cosine(predictions[view][b][m], targets[side][u][v]) / temperature
                            )
                            all_.append(math.exp(logit))
                            if alike:
                                attracting.append(math.exp(logit))
                if attracting:
                    row = -sum(math.log(a / sum(all_)) for a in attracting) / len(attracting)
                    total += row / ids[view][b].count(own) / (images * masks)
    return total


def drawn(seed, batch=3, masks=4, dim=5, most=3):
    rng = np.random.default_rng(seed)
    floats = [torch.tensor(rng.normal(size=(2, batch, masks, dim))).float() for _ in range(2)]
    ids = [torch.tensor(rng.integers(most, size=(2, batch, masks))) for _ in range(2)]
    return *floats, *ids


@pytest.mark.parametrize("local_negatives", [True, False])
@pytest.mark.parametrize("most", [1, 3, 9])
def test_it_is_the_equation(most, local_negatives):
    given = drawn(most, most=most)
    found = cyborgs.detcon_loss(*given, temperature=0.2, local_negatives=local_negatives)
    expected = by_loops(*(g.tolist() for g in given), 0.2, local_negatives)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Both views as a pair are the same.
    pairs = [tuple(g) for g in given]
    again = cyborgs.detcon_loss(*pairs, temperature=0.2, local_negatives=local_negatives)
    assert torch.equal(found, again)


@pytest.mark.skipif(not VECTORS.exists(), reason="no reference vectors (../shared)")
@pytest.mark.parametrize("case", ["many_ids", "no_local_negatives"])
def test_it_is_the_reference(case):
    file = np.load(VECTORS / f"detconb_{case}_ranks1.npz")

    def both(name):
        found = [torch.from_numpy(file[f"{name}{view}"]) for view in (1, 2)]
        return [f[0] if f.ndim == 2 + ("ids" not in name) + 1 else f for f in found]

    found = cyborgs.detcon_loss(
        both("pred"), both("target"), both("pred_ids"), both("target_ids"),
        temperature=float(file["temperature"]), local_negatives=bool(file["local_negatives"]),
    )  # fmt: skip
    assert float(found) == pytest.approx(float(np.ravel(file["loss"])[0]), rel=1e-5)


def test_gradients_flow_through_predictions_alone():
    predictions, targets, ids, target_ids = drawn(0)
    predictions.requires_grad_()
    targets.requires_grad_()
    cyborgs.detcon_loss(predictions, targets, ids, target_ids).backward()
    assert predictions.grad.abs().sum() > 0
    assert targets.grad is None


@pytest.mark.parametrize(
    ("place", "change", "parts"),
    [
        (0, lambda t: t[0], ["predictions: must hold both views; got 3"]),
        (0, lambda t: t[..., 0], ["predictions: must be (batch, masks, dim)", "got (3, 4)"]),
        (1, lambda t: t[:, :, 1:], ["targets: must be (3, 4, 5) in each view", "(3, 3, 5)"]),
        (2, lambda t: t[:, 1:], ["ids: must be (3, 4) in each view", "got (2, 4)"]),
        (3, lambda t: t.float(), ["target_ids: must be integers; got torch.float32"]),
    ],
)
def test_shapes_that_do_not_fit(refused, place, change, parts):
    given = list(drawn(0))
    given[place] = change(given[place])
    with refused(*parts):
        cyborgs.detcon_loss(*given)


def test_a_temperature_that_divides_by_nothing(refused):
    with refused("temperature: must be above 0; got 0"):
        cyborgs.detcon_loss(*drawn(0), temperature=0)
