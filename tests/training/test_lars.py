"""LARS against reference vectors and against its equation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cyborgs.training.lars import LARS

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "lars.npz"
NAMES = ["conv", "bn", "linear", "bias"]


def test_six_reference_steps():
    if not VECTORS.exists():
        pytest.skip("reference vectors are not there: lars.npz in ../shared/vectors")
    arrays = np.load(VECTORS)
    params = {n: torch.nn.Parameter(torch.from_numpy(arrays[f"init_{n}"])) for n in NAMES}
    optimiser = LARS(
        params.values(),
        lr=float(arrays["lr"]),
        momentum=float(arrays["momentum"]),
        weight_decay=float(arrays["weight_decay"]),
        trust_coefficient=float(arrays["trust_coefficient"]),
    )
    for step in range(6):
        for n, p in params.items():
            p.grad = torch.from_numpy(arrays[f"grad_{step}_{n}"])
        optimiser.step()
        for n, p in params.items():
            np.testing.assert_allclose(
                p.detach().numpy(), arrays[f"param_{step}_{n}"], atol=1e-6, rtol=0
            )


@pytest.mark.parametrize("shape", [(4, 3), (5,), (2, 3, 3, 3)])
def test_steps_by_the_equation(shape):
    """v = 0.9 v + g', p = p - lr v, with g' adapted for weights and plain for vectors."""
    generator = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter(torch.randn(shape, generator=generator))
    optimiser = LARS([p], lr=0.3, momentum=0.9, weight_decay=0.01, trust_coefficient=0.02)
    expected, velocity = p.detach().clone().double(), torch.zeros(shape, dtype=torch.float64)
    for _ in range(3):
        g = torch.randn(shape, generator=generator)
        p.grad = g.clone()
        optimiser.step()
        g = g.double()
        if len(shape) > 1:
            g = g + 0.01 * expected
            g = g * (0.02 * expected.norm() / (g.norm() + 1e-8))
        velocity = 0.9 * velocity + g
        expected = expected - 0.3 * velocity
        torch.testing.assert_close(p.detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_adaptation_where_a_norm_is_zero(value):
    p = torch.nn.Parameter(torch.full((2, 2), value))
    p.grad = torch.full((2, 2), 1.0 - value)
    LARS([p], lr=1.0, momentum=0.0, weight_decay=0.0).step()
    torch.testing.assert_close(p.detach(), torch.full((2, 2), value - (1.0 - value)))


def test_gradients_are_left_as_they_are():
    p = torch.nn.Parameter(torch.ones(2, 2))
    p.grad = torch.ones(2, 2)
    LARS([p], lr=0.1).step()
    torch.testing.assert_close(p.grad, torch.ones(2, 2))


def test_parameters_without_gradient_stay():
    used, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    used.grad = torch.ones(2, 2)
    LARS([used, unused], lr=0.1).step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert not torch.equal(used, torch.ones(2, 2))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        LARS([torch.nn.Parameter(torch.ones(1))], lr=-1.0)
