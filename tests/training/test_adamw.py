"""AdamW: its groups, and a step as its equations have it."""

import math
from itertools import pairwise

import pytest
import torch

from cyborgs.config import parse
from cyborgs.models.pair import Pair
from cyborgs.pretraining.trainer import _optimiser
from cyborgs.training.stepper import Stepper

CPU = torch.device("cpu")


def made(architecture, **settings):
    config = parse({"pretrain": {"adamw": settings}})
    torch.manual_seed(0)
    online = Pair(architecture, 8, 4).online
    optimiser = _optimiser(online, config.pretrain)
    return online, optimiser


def stepper(online, optimiser, momentum=None):
    return Stepper(
        online, optimiser, precision="float32", device=CPU, momentum=momentum or {}, scaler={}
    )


def test_a_step_is_that_of_the_equations():
    """Loshchilov and Hutter (2019), algorithm 2, from loops over parameters."""
    online, optimiser = made("resnet18", betas=[0.8, 0.9], weight_decay=0.1)
    own = stepper(online, optimiser)
    names = dict(online.named_parameters())
    values = {k: p.detach().double().clone() for k, p in names.items()}
    first = {k: torch.zeros_like(v) for k, v in values.items()}
    second = {k: torch.zeros_like(v) for k, v in values.items()}
    for step in range(1, 4):
        rate = 0.01 * step
        for name, parameter in names.items():
            generator = torch.Generator().manual_seed(1000 * step + len(name))
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            gradient = parameter.grad.double()
            decay = 0.1 if parameter.ndim > 1 else 0.0
            values[name] -= rate * decay * values[name]
            first[name] = 0.8 * first[name] + 0.2 * gradient
            second[name] = 0.9 * second[name] + 0.1 * gradient**2
            hat = first[name] / (1 - 0.8**step)
            root = (second[name] / (1 - 0.9**step)).sqrt() + 1e-8
            values[name] -= rate * hat / root
        own.step(rate)
    for name, parameter in names.items():
        torch.testing.assert_close(parameter.double(), values[name], rtol=1e-4, atol=1e-5)


def test_layers_learn_slower_the_nearer_they_are_to_the_images():
    online, optimiser = made("timm/vit_tiny_patch16_224", layer_decay=0.5)
    group_of = {id(p): g for g in optimiser.param_groups for p in g["params"]}
    scale = {k: group_of[id(p)]["rate_scale"] for k, p in online.named_parameters()}
    decay = {k: group_of[id(p)]["weight_decay"] for k, p in online.named_parameters()}
    assert scale["projector.0.weight"] == scale["predictor.3.bias"] == 1
    blocks = [scale[f"backbone.model.blocks.{i}.mlp.fc1.weight"] for i in range(12)]
    assert all(math.isclose(b / a, 2) for a, b in pairwise(blocks))
    assert blocks[-1] < 1
    assert scale["backbone.model.patch_embed.proj.weight"] < blocks[0]
    for name in ("cls_token", "pos_embed", "norm.weight", "blocks.0.attn.qkv.bias"):
        assert decay[f"backbone.model.{name}"] == 0
    assert decay["backbone.model.blocks.0.attn.qkv.weight"] == 0.05
    own = stepper(online, optimiser)
    own.step(0.25)
    assert {g["lr"] / g["rate_scale"] for g in optimiser.param_groups} == {0.25}


def test_resnets_have_a_layer_a_block():
    online, optimiser = made("resnet18", layer_decay=0.5)
    group_of = {id(p): g["rate_scale"] for g in optimiser.param_groups for p in g["params"]}
    scale = {k: group_of[id(p)] for k, p in online.named_parameters()}
    assert scale["backbone.conv1.weight"] == 0.5**9
    assert scale["backbone.layer1.0.bn2.bias"] == 0.5**8
    assert scale["backbone.layer4.1.conv2.weight"] == 0.5


def test_what_it_keeps_is_read_again_to_the_same_steps():
    def steps(online, own, numbers):
        for step in numbers:
            for name, parameter in online.named_parameters():
                generator = torch.Generator().manual_seed(step + len(name))
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            own.step(0.01)

    online, optimiser = made("resnet18")
    own = stepper(online, optimiser)
    assert own.momentum() == {}
    steps(online, own, range(2))
    kept, weights = own.momentum(), {k: v.clone() for k, v in online.state_dict().items()}
    assert {k.split("/")[0] for k in kept} == {"exp_avg", "exp_avg_sq", "step"}
    steps(online, own, range(2, 4))

    again, optimiser = made("resnet18")
    again.load_state_dict(weights)
    steps(again, stepper(again, optimiser, kept), range(2, 4))
    for name, value in online.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"adamw": {}, "sgd": {}}, "'sgd' and 'adamw' are set together"),
        ({"adamw": {"betas": [0.9]}}, "betas"),
        ({"adamw": {"layer_decay": 0}}, "layer_decay"),
    ],
)
def test_what_cannot_be_is_refused(settings, told, refused):
    with refused("config: pretrain", told):
        parse({"pretrain": settings})
