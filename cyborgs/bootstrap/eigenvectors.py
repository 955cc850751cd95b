"""Leading eigenvectors of the graph of an image's locations."""

import numpy as np
import torch
from torch import Tensor

# Up to this many nodes, all eigenvectors are found at once.
_SMALL = 256
# Of the iteration: added to the Laplacian, which is singular; vectors more than asked for, which
# make it converge; products before vectors are combined; the length of (L - value) vector at which
# it ends; and combinations at most (real and random graphs took up to 11).
_SHIFT = 1e-4
_SPARE = 8
_DEPTH = 3
_RESIDUAL = 1e-9
_MOST = 100


def leading_eigenvectors(edges: Tensor, count: int) -> Tensor:
    """Eigenvectors of the largest eigenvalues of a graph's normalised matrix D^-1/2 W D^-1/2.

    They are those of the smallest eigenvalues of its normalised Laplacian, which is the identity
    minus that matrix.

    Args:
        edges: the matrix, float64 ``(n, n)``; W has no negative weights.
        count: K, at most n.

    Returns:
        ``(n, count)``, orthonormal, the largest first.  Those of equal eigenvalues are any basis of
        their space, the same in every call.
    """
    found = _by_inverse_iteration(edges, count) if len(edges) > _SMALL else None
    return torch.linalg.eigh(edges)[1].flip(1)[:, :count] if found is None else found


def _by_inverse_iteration(edges: Tensor, count: int) -> Tensor | None:
    """The same by one factorisation of the Laplacian; None where it does not converge.

    Blocks of vectors are multiplied by the inverse, and the best combinations of them (Rayleigh and
    Ritz) are the next block.  A block finds equal eigenvalues, which a single vector misses, and
    graphs whose parts are alike have them.  Most of the time is a Cholesky factorisation; LAPACK's
    search takes seven to eight times as long (``python tests/bench/normalised_cut.py``).
    """
    laplacian = -edges
    laplacian.diagonal().add_(1 + _SHIFT)
    factor = torch.linalg.cholesky(laplacian)
    # The same start for every image: labels depend on its features alone.
    start = np.random.default_rng(0).normal(size=(len(edges), count + _SPARE))
    vectors = torch.from_numpy(start).to(edges.device)
    for _ in range(_MOST):
        blocks = [torch.linalg.qr(vectors).Q]
        for _ in range(_DEPTH):
            blocks.append(torch.linalg.qr(torch.cholesky_solve(blocks[-1], factor)).Q)
        basis = torch.linalg.qr(torch.cat(blocks, dim=1)).Q
        images = laplacian @ basis
        values, turn = torch.linalg.eigh(basis.T @ images)
        values, turn = values[: vectors.shape[1]], turn[:, : vectors.shape[1]]
        vectors = basis @ turn
        residuals = (images @ turn - vectors * values)[:, :count].norm(dim=0)
        if residuals.max() <= _RESIDUAL:
            return vectors[:, :count]
    return None
