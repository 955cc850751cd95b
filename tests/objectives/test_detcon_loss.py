"""The loss against reference vectors, an explicit loop, and itself over two ranks."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cyborgs.objectives.detcon import candidates, view_loss

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
CASES = ["disjoint", "few_ids", "many_ids", "no_local_negatives", "shared_ids", "single_id"]
NAMES = ["pred1", "pred2", "target1", "target2"]
IDS = ["pred_ids1", "pred_ids2", "target_ids1", "target_ids2"]


def explicit_loss(pred, target, pred_ids, target_ids, temperature, local_negatives, rank=0):
    """Both directions, row by row and column by column, from the equation.

    ``pred`` and ``pred_ids`` hold views 1 and 2 of one rank, ``(B, M, D)`` and ``(B, M)``;
    ``target`` and ``target_ids`` those of all ranks, ``(R, B, M, D)`` and ``(R, B, M)``.
    """
    ranks, batch, masks, _ = target[0].shape

    def unit(x):
        return x / np.linalg.norm(x)

    total = 0.0
    for view in range(2):
        other = 1 - view
        for b in range(batch):
            for m in range(masks):
                row = unit(pred[view][b, m])
                label = pred_ids[view][b, m]
                positives, logits = [], []
                for r in range(ranks):
                    for u in range(batch):
                        own = r == rank and u == b
                        for v in range(masks):
                            logit = row @ unit(target[other][r, u, v]) / temperature
                            same = target_ids[other][r, u, v] == label
                            if own and same:
                                positives.append(logit)
                            if own and not same and not local_negatives:
                                continue
                            logits.append(logit)
                        for v in range(masks):
                            same = target_ids[view][r, u, v] == label
                            if own and (same or not local_negatives):
                                continue
                            logits.append(row @ unit(target[view][r, u, v]) / temperature)
                if not positives:
                    continue
                log_total = np.log(np.sum(np.exp(logits)))
                loss = -np.mean([p - log_total for p in positives])
                alike = np.sum(pred_ids[view][b] == label)
                total += loss / alike / (batch * masks)
    return total


def detcon_b_loss(
    pred1, pred2, target1, target2, pred_ids1, pred_ids2, target_ids1, target_ids2, **settings
):
    """Both views, in the order in which the reference vectors have them."""
    all1, all2 = candidates(target1), candidates(target2)
    return view_loss(
        pred1,
        across=all2,
        within=all1,
        ids=pred_ids1,
        ids_across=target_ids2,
        ids_within=target_ids1,
        **settings,
    ) + view_loss(
        pred2,
        across=all1,
        within=all2,
        ids=pred_ids2,
        ids_across=target_ids1,
        ids_within=target_ids2,
        **settings,
    )


def random_case(seed, ids, batch=3, masks=5, dim=4, ranks=1):
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(ranks, batch, masks, dim)) for _ in range(4)]
    labels = [rng.integers(0, ids, size=(ranks, batch, masks)) for _ in range(4)]
    return vectors, labels


def as_tensors(vectors, labels, rank=0):
    return [torch.from_numpy(v[rank]).float() for v in vectors] + [
        torch.from_numpy(i[rank]) for i in labels
    ]


@pytest.mark.parametrize("local_negatives", [True, False])
@pytest.mark.parametrize("ids", [1, 2, 3, 50])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_agrees_with_explicit_loops(ids, local_negatives, temperature):
    vectors, labels = random_case(ids, ids)
    loss = detcon_b_loss(
        *as_tensors(vectors, labels), temperature=temperature, local_negatives=local_negatives
    )
    expected = explicit_loss(
        [v[0] for v in vectors[:2]],
        vectors[2:],
        [i[0] for i in labels[:2]],
        labels[2:],
        temperature,
        local_negatives,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_an_id_absent_from_the_other_view_has_no_loss_and_no_gradient():
    vectors, labels = random_case(0, 3)
    labels[0][0, 0, 0] = 99  # occurs in view 1 of image 0 only
    tensors = as_tensors(vectors, labels)
    tensors[0].requires_grad_()
    detcon_b_loss(*tensors).backward()
    assert tensors[0].grad[0, 0].abs().max() == 0
    assert tensors[0].grad[0, 1].abs().max() > 0


def test_no_positive_anywhere_is_exactly_zero():
    vectors, labels = random_case(0, 3)
    labels = [ids + 10 * which for which, ids in enumerate(labels)]
    tensors = as_tensors(vectors, labels)
    tensors[0].requires_grad_()
    loss = detcon_b_loss(*tensors)
    loss.backward()
    assert loss.item() == 0
    assert tensors[0].grad.abs().max() == 0


def test_targets_get_no_gradient():
    tensors = as_tensors(*random_case(0, 3))
    for t in tensors[:4]:
        t.requires_grad_()
    detcon_b_loss(*tensors).backward()
    assert tensors[0].grad is not None
    assert tensors[2].grad is None
    assert tensors[3].grad is None


def load_vectors(case, ranks):
    path = VECTORS / f"detconb_{case}_ranks{ranks}.npz"
    if not path.exists():
        pytest.skip(f"reference vectors are not there: {path.name} in ../shared/vectors")
    return dict(np.load(path))


def check_rank(arrays, rank):
    """Loss and gradients of one rank's call against the reference."""
    vectors = [torch.from_numpy(arrays[n][rank]) for n in NAMES]
    ids = [torch.from_numpy(arrays[n][rank]) for n in IDS]
    for v in vectors[:2]:
        v.requires_grad_()
    loss = detcon_b_loss(
        *vectors,
        *ids,
        temperature=float(arrays["temperature"]),
        local_negatives=bool(arrays["local_negatives"]),
    )
    loss.backward()
    np.testing.assert_allclose(loss.item(), arrays["loss"][rank], rtol=1e-5)
    for v, name in zip(vectors[:2], ["grad_pred1", "grad_pred2"], strict=True):
        np.testing.assert_allclose(v.grad.numpy(), arrays[name][rank], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_reference_vectors_on_one_rank(case):
    check_rank(load_vectors(case, 1), 0)


def on_rank(rank, store, cases):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        for arrays in cases:
            check_rank(arrays, rank)
    finally:
        dist.destroy_process_group()


def test_reference_vectors_on_two_ranks(tmp_path):
    cases = [load_vectors(case, 2) for case in CASES]
    mp.spawn(on_rank, args=(tmp_path / "store", cases), nprocs=2)


def explicit_on_rank(rank, store, vectors, labels):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        for local_negatives in (True, False):
            loss = detcon_b_loss(
                *as_tensors(vectors, labels, rank), local_negatives=local_negatives
            )
            expected = explicit_loss(
                [v[rank] for v in vectors[:2]],
                vectors[2:],
                [i[rank] for i in labels[:2]],
                labels[2:],
                0.1,
                local_negatives,
                rank,
            )
            assert loss.item() == pytest.approx(expected, rel=1e-5)
    finally:
        dist.destroy_process_group()


def test_two_ranks_agree_with_explicit_loops_over_both(tmp_path):
    mp.spawn(explicit_on_rank, args=(tmp_path / "store", *random_case(5, 3, ranks=2)), nprocs=2)
