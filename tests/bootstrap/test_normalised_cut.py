"""The normalised cut against its definition, by trying all cuts."""

from itertools import product

import numpy as np
import pytest
import torch

from cyborgs.bootstrap.kmeans import NotFiniteError
from cyborgs.bootstrap.normalised_cut import cut


def features_of(groups, noise, seed=0):
    """Features of unit length, alike within each group."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(16, 16)))[0][: groups.max() + 1]
    found = centres[groups] + noise * rng.normal(size=(*groups.shape, 16))
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return torch.from_numpy(found)


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_groups_that_agree_are_found(parts):
    groups = np.random.default_rng(1).integers(parts, size=(9, 11))
    labels = cut(features_of(groups, 0.05), parts, 0.3)
    assert labels.shape == (9, 11)
    assert labels.dtype == np.int64
    assert same_partition(labels, groups)


def ncut(edges, labels):
    """Shi and Malik (2000), equation 2: cut / assoc, summed over both parts."""
    total = 0.0
    for part in (0, 1):
        inside = labels == part
        total += edges[inside][:, ~inside].sum() / edges[inside].sum()
    return total


def test_no_other_cut_into_two_costs_less():
    """Of a graph where some nodes agree with both groups; all cuts are tried."""
    groups = np.array([[0, 0, 0, 0, 1], [0, 1, 1, 1, 1]])
    features = features_of(groups, 0.22, seed=2)
    points = features.flatten(0, 1).numpy()
    edges = np.where(points @ points.T >= 0.5, 1.0, 1e-5)
    mixed = ((edges > 0.5).sum(1) % 5 != 0).any()
    assert mixed, "a graph of two cliques would prove nothing"
    costs = {
        bits: ncut(edges, np.array((0, *bits))) for bits in product((0, 1), repeat=9) if any(bits)
    }
    found = cut(features, 2, 0.5).ravel()
    found = found ^ found[0]
    assert ncut(edges, found) == pytest.approx(min(costs.values()))


def test_the_same_features_give_the_same_labels():
    features = features_of(np.random.default_rng(0).integers(4, size=(12, 12)), 0.4)
    first, again = (cut(features, 6, 0.2) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_as_many_parts_as_locations_and_one_part():
    features = features_of(np.arange(6).reshape(2, 3), 0.0)
    assert len(np.unique(cut(features, 6, 0.5))) == 6
    assert not cut(features, 1, 0.5).any()
    assert len(np.unique(cut(features, 5, 0.5))) <= 5


def test_locations_that_do_not_agree_are_parts_all_the_same():
    """Every cut costs the same; LAPACK's search for some eigenvectors finds one of four here."""
    features = torch.eye(520).reshape(20, 26, 520)
    assert len(np.unique(cut(features, 4, 0.5))) == 4


def test_what_is_not_finite_is_refused():
    features = features_of(np.zeros((2, 3), int), 0.0)
    features[1, 1, 0] = torch.nan
    with pytest.raises(NotFiniteError):
        cut(features, 2, 0.5)
