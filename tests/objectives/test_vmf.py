"""The vMF term against SciPy's k-means and explicit loops, and itself over two ranks."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from scipy.cluster.vq import kmeans2
from scipy.special import log_softmax

from cyborgs.objectives.vmf import cluster_locations, vmf_loss


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def locations(views):
    """Of ``(views, batch, channels, grid, grid)``: image by image, then view by view."""
    found = []
    for b in range(views.shape[1]):
        for v in range(2):
            for row in range(views.shape[3]):
                for col in range(views.shape[4]):
                    found.append(unit(views[v, b, :, row, col]))
    return np.array(found)


def explicit_clusters(target, clusters, seed, iterations):
    """By SciPy, from the points that a permutation of all of them has first."""
    points = locations(target)
    first = points[np.random.default_rng(seed).permutation(len(points))[:clusters]]
    centroids, _ = kmeans2(points, first, iter=iterations, minit="matrix")
    distances = np.linalg.norm(points[:, None] - centroids[None], axis=-1)
    return unit(centroids), distances.argmin(1)


def explicit_term(online, centroids, labels, temperature):
    """Mean over all locations of both views, in the order of `locations`."""
    losses = [
        -log_softmax([where @ centroid / temperature for centroid in centroids])[label]
        for where, label in zip(locations(online), labels, strict=True)
    ]
    return np.mean(losses)


def random_features(seed, batch=4, channels=5, grid=3, kinds=4, noise=0.6):
    """Of the online and of the target network, ``(views, batch, channels, grid, grid)`` each.

    Locations are of a few kinds, with noise.
    """
    rng = np.random.default_rng(seed)
    kind = rng.normal(size=(kinds, channels))[rng.integers(0, kinds, (2, batch, grid, grid))]
    target = kind + noise * rng.normal(size=kind.shape)
    online = target + 0.5 * rng.normal(size=kind.shape)
    scales = np.exp(rng.normal(size=(2, 2, batch, grid, grid, 1)))  # of no account
    both = np.moveaxis(scales * np.stack([online, target]), -1, 3)
    return both[0], both[1]


def term_of(online, target, clusters, seed, iterations, temperature=0.1):
    """Clusters, the term, and its gradient; as `random_features` has its arguments."""
    features = torch.from_numpy(online).float().requires_grad_()
    found = cluster_locations(
        list(torch.from_numpy(target).float()), clusters, seed=seed, iterations=iterations
    )
    losses = [
        vmf_loss(features[v], found.centroids, found.labels[v], temperature) for v in range(2)
    ]
    term = torch.stack(losses).mean()
    term.backward()
    return found, term.item(), features.grad.numpy()


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scipys_kmeans_and_explicit_loops(seed, iterations, temperature):
    online, target = random_features(seed)
    centroids, labels = explicit_clusters(target, 4, seed, iterations)
    expected = explicit_term(online, centroids, labels, temperature)
    found, term, _ = term_of(online, target, 4, seed, iterations, temperature)
    np.testing.assert_allclose(found.centroids.numpy(), centroids, atol=1e-6)
    # (views, batch, places) to image by image, then view by view
    assert found.labels.transpose(0, 1).flatten().tolist() == labels.tolist()
    assert term == pytest.approx(expected, rel=1e-5)


def test_gradients_are_those_of_the_explicit_term():
    online, target = random_features(5, batch=2, channels=3, grid=2)
    centroids, labels = explicit_clusters(target, 3, 0, 2)
    _, _, gradient = term_of(online, target, 3, 0, 2)
    step = 1e-6
    for at in np.ndindex(online.shape):
        ahead, behind = online.copy(), online.copy()
        ahead[at] += step
        behind[at] -= step
        ends = [explicit_term(o, centroids, labels, 0.1) for o in (ahead, behind)]
        assert gradient[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-5, rel=1e-4)


def test_a_step_downhill_brings_locations_to_their_own_centroids():
    """The published sign pushed them away."""
    online, target = random_features(1)
    found, _, gradient = term_of(online, target, 4, 0, 20)

    def own_cosine(features):
        points = locations(features)
        labels = found.labels.transpose(0, 1).flatten().numpy()
        return (points * found.centroids.numpy()[labels]).sum(-1).mean()

    assert own_cosine(online - 0.1 * gradient) > own_cosine(online)


def test_both_views_share_their_clusters():
    """The published numbers of two clusterings knew nothing of each other."""
    online, target = random_features(2)
    target[1] = target[0]
    found, _, _ = term_of(online, target, 4, 0, 20)
    assert torch.equal(found.labels[0], found.labels[1])


def test_targets_and_centroids_get_no_gradient():
    online, target = (torch.from_numpy(f).float().requires_grad_() for f in random_features(0))
    found = cluster_locations(list(target), 4, seed=0, iterations=20)
    assert not found.centroids.requires_grad
    vmf_loss(online[0], found.centroids, found.labels[0]).backward()
    assert target.grad is None
    assert online.grad[0].abs().max() > 0
    assert online.grad[1].abs().max() == 0


def test_the_seed_alone_chooses_the_clusters():
    _, target = random_features(3)
    views = list(torch.from_numpy(target).float())

    def drawn(seed):
        torch.manual_seed(seed + 17)  # must not matter
        return cluster_locations(views, 6, seed=seed, iterations=1)

    assert torch.equal(drawn(0).centroids, drawn(0).centroids)
    assert not torch.equal(drawn(0).centroids, drawn(1).centroids)


@pytest.mark.parametrize("clusters", [2, 72])
def test_as_many_clusters_as_locations_at_most(clusters):
    online, target = random_features(4)
    found, term, _ = term_of(online, target, clusters, 0, 20)
    assert found.centroids.shape == (clusters, 5)
    assert found.labels.shape == (2, 4, 9)
    assert np.isfinite(term)
    if clusters == 72:
        assert len(found.labels.unique()) == 72


def test_locations_that_are_all_alike_have_a_finite_term():
    """All but one cluster are empty; a dead network's features are 0."""
    for value in (0.0, 1.0):
        alike = np.full((2, 4, 5, 3, 3), value)
        _, term, gradient = term_of(alike, alike, 4, 0, 20)
        assert np.isfinite(term)
        assert np.isfinite(gradient).all()


def test_features_that_are_not_finite_show_in_the_term():
    """So that the step says that training has diverged."""
    for which in range(2):
        features = [f.copy() for f in random_features(0)]
        features[which][0, 0, 0, 0, 0] = np.nan
        assert np.isnan(term_of(*features, 4, 0, 20)[1])


def test_bfloat16_finds_the_same_clusters():
    online, target = random_features(6, batch=8, noise=0.05)
    expected, term, _ = term_of(online, target, 4, 0, 20)
    views = [torch.from_numpy(v).bfloat16() for v in target]
    found = cluster_locations(views, 4, seed=0, iterations=20)
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.centroids, expected.centroids, atol=1e-2, rtol=0)
    losses = [
        vmf_loss(torch.from_numpy(online[v]).bfloat16(), found.centroids, found.labels[v])
        for v in range(2)
    ]
    assert losses[0].dtype == torch.float32
    assert torch.stack(losses).mean().item() == pytest.approx(term, abs=0.02)


def on_rank(rank, store, folder, online, target):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        half = slice(2 * rank, 2 * rank + 2)
        result = term_of(online[:, half], target[:, half], 7, 3, 20)
        coarse = cluster_locations(
            [torch.from_numpy(v).bfloat16() for v in target[:, half]], 7, seed=3, iterations=20
        )
        torch.save((result, coarse), folder / f"rank-{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_compute_what_one_does(tmp_path):
    """Clusters to the bit, the mean of the term over ranks, and the mean of its gradients."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    online, target = random_features(7)
    clusters, term, gradient = term_of(online, target, 7, 3, 20)
    coarse = cluster_locations(
        [torch.from_numpy(v).bfloat16() for v in target], 7, seed=3, iterations=20
    )
    torch.set_num_threads(threads)
    mp.spawn(on_rank, args=(tmp_path / "store", tmp_path, online, target), nprocs=2)
    parts = [torch.load(tmp_path / f"rank-{r}.pt", weights_only=False) for r in range(2)]
    for which, whole in ((0, clusters), (1, coarse)):
        theirs = [part[0][0] if which == 0 else part[1] for part in parts]
        assert all(torch.equal(c.centroids, whole.centroids) for c in theirs)
        assert torch.equal(torch.cat([c.labels for c in theirs], dim=1), whole.labels)
    assert np.mean([part[0][1] for part in parts]) == pytest.approx(term, rel=1e-6)
    # The gradient of a rank is of the mean over its own half of the locations.
    together = np.concatenate([part[0][2] for part in parts], axis=1) / 2
    np.testing.assert_allclose(together, gradient, atol=1e-7)
