"""Backbones against torchvision, pooling and heads against explicit loops."""

import copy

import pytest
import torch
import torchvision

from cyborgs.models.backbones import family_of
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import BLOCKS, IMAGENET, LAYERS
from cyborgs.models.normalise import normalise
from cyborgs.models.pair import Pair
from cyborgs.models.pooling import join_stages, mask_weights, pool_masks

SMALL = ("resnet18", 32, 8)


@pytest.mark.parametrize("architecture", BLOCKS)
def test_backbone_has_torchvisions_names_blocks_and_channels(architecture):
    with torch.device("meta"):
        backbone = Backbone(architecture)
        network = torchvision.models.get_model(architecture, weights=None)
    expected = {k: v.shape for k, v in network.state_dict().items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in backbone.state_dict().items()} == expected
    assert tuple(len(getattr(backbone, name)) for name in LAYERS) == BLOCKS[architecture]
    with torch.device("meta"):
        features = backbone(torch.empty(1, 3, 64, 96))
    for i, name in enumerate(LAYERS):
        stride = 4 << i
        assert features[name].shape == (
            1,
            backbone.stages[name].channels,
            64 // stride,
            96 // stride,
        )


def test_features_and_blocks_agree_with_torchvision():
    torch.manual_seed(0)
    backbone = Backbone("resnet18").eval()
    network = torchvision.models.resnet18(weights=None).eval()
    network.load_state_dict(backbone.state_dict(), strict=False)
    found = {}
    network.layer2[1].register_forward_hook(lambda m, i, out: found.update(block=out))
    network.layer4.register_forward_hook(lambda m, i, out: found.update(last=out))
    images = torch.randn(2, 3, 50, 70)
    with torch.no_grad():
        network(images)
        assert torch.equal(backbone.aligned(images, ["layer2.1"])["layer2.1"], found["block"])
        assert torch.equal(backbone(images)["layer4"], found["last"])
        assert backbone.aligned(images, ["layer2.1"])["layer2.1"].shape[-2:] == (7, 9)  # rounded up


@pytest.mark.parametrize("architecture", BLOCKS)
def test_places_have_the_channels_and_the_grid_that_they_say(architecture):
    with torch.device("meta"):
        backbone = Backbone(architecture)
        images = torch.empty(1, 3, 64, 96)
        for place in (
            *family_of(architecture).stages(architecture),
            *family_of(architecture).blocks(architecture),
        ):
            shape = backbone.aligned(images, [place.name])[place.name].shape
            assert shape == (1, place.channels, 64 // place.stride, 96 // place.stride)


def test_inference_gives_the_same_features_with_no_batchnorm_left():
    torch.manual_seed(0)
    backbone = Backbone("resnet18")
    images = torch.randn(2, 3, 64, 64)
    backbone(images)  # running statistics that are not the initial ones
    cheaper = backbone.for_inference()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in cheaper.modules())
    with torch.no_grad():
        for name, output in backbone.eval()(images).items():
            torch.testing.assert_close(cheaper(images)[name], output, rtol=1e-4, atol=1e-4)


def test_normalise_is_imagenets_mean_and_deviation():
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(
        images.permute(0, 3, 1, 2).float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(normalise(images, IMAGENET), expected, rtol=1e-5, atol=1e-5)


def test_layers_are_joined_in_order_on_the_last_grid():
    features = {
        "layer1": torch.zeros(1, 1, 16, 16),
        "layer2": torch.arange(64.0).view(1, 1, 8, 8),
        "layer3": torch.full((1, 2, 4, 4), 3.0),
        "layer4": torch.full((1, 3, 2, 2), 4.0),
    }
    joined = join_stages(features, ("layer2", "layer3", "layer4"))
    assert joined.shape == (1, 6, 2, 2)
    assert joined[0, 0, 0, 1] == features["layer2"][0, 0, :4, 4:].mean()
    assert joined[0, 1:, 1, 0].tolist() == [3, 3, 4, 4, 4]


def test_pooling_is_the_mean_over_a_masks_cells():
    torch.manual_seed(0)
    cells = torch.randint(0, 4, (3, 7, 7)) * 100
    ids = torch.stack([c.unique()[torch.randint(0, 3, (5,))] for c in cells])
    features = torch.randn(3, 6, 7, 7)
    pooled = pool_masks(features, mask_weights(cells, ids))
    assert pooled.shape == (3, 5, 6)
    for b in range(3):
        for m in range(5):
            inside = cells[b] == ids[b, m]
            torch.testing.assert_close(pooled[b, m], features[b][:, inside].mean(1))


def test_heads_have_the_published_shape():
    with torch.device("meta"):
        pair = Pair("resnet50", 4096, 256)
    shapes = {k: tuple(v.shape) for k, v in pair.online.state_dict().items()}
    assert shapes["projector.0.weight"] == (4096, 3584)
    assert shapes["projector.3.weight"] == (256, 4096)
    assert shapes["predictor.0.weight"] == (4096, 256)
    assert shapes["predictor.3.bias"] == (256,)


def test_target_begins_as_a_copy_and_moves_by_the_decay():
    torch.manual_seed(0)
    pair = Pair(*SMALL)
    before = copy.deepcopy(pair.target.state_dict())
    online = dict(pair.online.named_parameters())
    for name, p in pair.target.named_parameters():
        assert torch.equal(p, online[name])
        assert not p.requires_grad
    with torch.no_grad():
        for p in pair.online.parameters():
            p.add_(1.0)
    pair.update_target(0.75)
    for name, p in pair.target.named_parameters():
        torch.testing.assert_close(p, 0.75 * before[name] + 0.25 * online[name])


def test_online_predicts_and_target_projects():
    torch.manual_seed(0)
    pair = Pair(*SMALL)
    images = torch.randn(2, 3, 64, 64)
    cells = torch.randint(0, 2, (2, 2, 2))
    ids = cells.flatten(1)[:, :3]
    predicted, learned = pair.online(images, cells, ids)
    projected, features = pair.target(images, cells, ids)
    expected = join_stages(pair.target.backbone(images), ("layer2", "layer3", "layer4"))
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(learned, expected)
    assert predicted.shape == projected.shape == (6, 8)
    assert predicted.requires_grad
    assert not projected.requires_grad
