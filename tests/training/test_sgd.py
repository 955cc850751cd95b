"""Training with SGD instead of LARS, against PyTorch's own and against the equation."""

import pytest
import torch

from cyborgs.config import parse
from cyborgs.models.pair import Pair
from cyborgs.pretraining.state import TrainingState
from cyborgs.pretraining.trainer import Trainer

MODEL = {"architecture": "resnet18", "hidden": 8, "projection": 4}
MOMENTUM, DECAY = 0.8, 0.03


def trainer(momentum_buffers=None, **sgd):
    torch.manual_seed(0)
    pair = Pair(*MODEL.values())
    state = TrainingState(
        model=MODEL,
        round=0,
        step=0,
        online=pair.online.state_dict(),
        target=pair.target.state_dict(),
        momentum_buffers=momentum_buffers or {},
        scaler={},
        provenance={},
    )
    settings = parse(
        {
            "pretrain": {
                "batch_size": 2,
                "masks": 3,
                "precision": "float32",
                "base_learning_rate": 6.4,  # 0.1 at a batch of 2
                "schedule": {"kind": "step", "warmup_epochs": 0},
                "sgd": {"momentum": MOMENTUM, "weight_decay": DECAY, **sgd},
            }
        }
    ).pretrain
    return Trainer(state, settings, steps_per_epoch=5, device=torch.device("cpu"), seed=0)


def batch(seed):
    generator = torch.Generator().manual_seed(seed)

    def integers(most, *shape, dtype=torch.int32):
        return torch.randint(0, most, shape, generator=generator, dtype=dtype)

    return {
        "positions": torch.arange(2),
        "images": integers(256, 2, 2, 64, 64, 3, dtype=torch.uint8),
        "cells": torch.arange(4, dtype=torch.int32).view(1, 1, 2, 2).repeat(2, 2, 1, 1),
        "ids": integers(4, 2, 2, 2, 3),
    }


def parameters(trained):
    return {n: p.detach().clone() for n, p in trained.pair.online.named_parameters()}


def test_steps_are_those_of_pytorch_and_of_the_equation():
    """v = momentum v + g + decay p, p = p - rate v, on every parameter; rate 0.1."""
    ours = trainer()
    exact = {n: p.double() for n, p in parameters(ours).items()}
    velocity = {n: torch.zeros_like(p) for n, p in exact.items()}
    twins = {n: torch.nn.Parameter(p) for n, p in parameters(ours).items()}
    reference = torch.optim.SGD(twins.values(), lr=0.1, momentum=MOMENTUM, weight_decay=DECAY)
    for seed in range(2):
        ours.train_step(batch(seed))
        after = parameters(ours)
        for name, parameter in ours.pair.online.named_parameters():
            twins[name].grad = parameter.grad.clone()
            gradient = parameter.grad.double() + DECAY * exact[name]
            velocity[name] = MOMENTUM * velocity[name] + gradient
            exact[name] = exact[name] - 0.1 * velocity[name]
            torch.testing.assert_close(after[name].double(), exact[name], rtol=1e-4, atol=1e-5)
        reference.step()
        for name, twin in twins.items():
            torch.testing.assert_close(after[name], twin.detach(), rtol=1e-6, atol=1e-7)


def test_velocities_are_kept_and_taken_up():
    first = trainer()
    first.train_step(batch(0))
    momentum_buffers = first.state(1, {}).momentum_buffers
    assert set(momentum_buffers) == set(parameters(first))
    second = trainer(momentum_buffers=momentum_buffers)
    before = parameters(second)
    second.train_step(batch(1))
    for name, parameter in second.pair.online.named_parameters():
        velocity = MOMENTUM * momentum_buffers[name] + parameter.grad + DECAY * before[name]
        expected = before[name] - 0.1 * velocity
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def test_without_momentum_there_are_no_velocities():
    plain = trainer(momentum=0.0)
    plain.train_step(batch(0))
    assert plain.state(1, {}).momentum_buffers == {}


@pytest.mark.parametrize("section", [{}, {"momentum": 0.9}])
def test_its_defaults_are_the_published_ones(section):
    sgd = parse({"pretrain": {"sgd": section}}).pretrain.sgd
    assert (sgd.momentum, sgd.weight_decay) == (0.9, 1.5e-6)
