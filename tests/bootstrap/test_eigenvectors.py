"""Leading eigenvectors against NumPy's of the whole matrix, on graphs where others fail."""

import numpy as np
import pytest
import torch

from cyborgs.bootstrap import eigenvectors
from cyborgs.bootstrap.eigenvectors import leading_eigenvectors


def cliques(n, count):
    groups = np.arange(n) % count
    return groups[:, None] == groups


def agreeing(n, channels, threshold):
    points = np.random.default_rng(0).normal(size=(n, channels))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points @ points.T >= threshold


def grid(side):
    at = np.stack(np.divmod(np.arange(side**2), side), 1)
    return np.abs(at[:, None] - at).sum(2) <= 1


GRAPHS = {
    "none agree": np.eye(300, dtype=bool),
    "all agree": np.ones((300, 300), dtype=bool),
    "alike parts, fewer than K": cliques(300, 3),
    "alike parts, more than K": cliques(330, 30),
    "a path": np.abs(np.arange(300)[:, None] - np.arange(300)) <= 1,
    "a grid, symmetric": grid(18),
    "points on a sphere": agreeing(300, 3, 0.8),
    "points without structure": agreeing(300, 64, 0.2),
    "few nodes": agreeing(20, 8, 0.2),
    "hardly more nodes than vectors": agreeing(257, 8, 0.2),
}


def normalised(joined):
    weights = np.where(joined, 1.0, 1e-5)
    scale = 1 / np.sqrt(weights.sum(1))
    return weights * scale * scale[:, None]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("count", [1, 2, 8, 20])
def test_they_are_the_largest_of_the_whole_matrix(name, count):
    matrix = normalised(GRAPHS[name])
    expected = np.linalg.eigvalsh(matrix)[::-1][:count]
    vectors = leading_eigenvectors(torch.from_numpy(matrix), count).numpy()
    assert vectors.shape == (len(matrix), count)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-10)
    np.testing.assert_allclose(matrix @ vectors, vectors * expected, atol=1e-8)


def test_a_graph_that_does_not_converge_is_solved_as_a_whole(monkeypatch):
    matrix = normalised(agreeing(300, 8, 0.2))
    iterated = leading_eigenvectors(torch.from_numpy(matrix), 4)
    monkeypatch.setattr(eigenvectors, "_MOST", 0)
    whole = leading_eigenvectors(torch.from_numpy(matrix), 4)
    np.testing.assert_allclose((iterated * whole).sum(0).abs(), np.ones(4))
