"""Backbones of timm: its features bit for bit, on the grid that mask files have."""

import itertools

import numpy as np
import pytest
import timm
import torch

from cyborgs.common.errors import InputError
from cyborgs.config import parse_run
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.models.backbones import family_of, place_of
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pair import Pair

NAMES = [
    "convnext_atto",
    "vit_tiny_patch16_224",
    "efficientnet_b0",
    "regnety_002",
    "vit_small_patch14_dinov2",
    "vit_tiny_patch16_dinov3_qkvb",
    "swin_tiny_patch4_window7_224",
]


def theirs(name, backbone):
    """timm's own network, with the weights of a backbone."""
    options = {"dynamic_img_size": True} if name.startswith("vit") else {}
    if name.startswith("swin"):
        options = {"strict_img_size": False}
    network = timm.create_model(name, num_classes=0, **options).eval()
    weights = family_of(backbone.architecture).public_names(backbone.state_dict())
    network.load_state_dict(weights, strict=True)
    return network


@pytest.fixture(scope="module", params=NAMES)
def both(request):
    torch.manual_seed(0)
    backbone = Backbone(f"timm/{request.param}").eval()
    return backbone, theirs(request.param, backbone)


@torch.no_grad()
def test_features_are_timms_bit_for_bit(both):
    backbone, network = both
    stride = backbone.stages[backbone.last].stride
    images = torch.randn(2, 3, 4 * stride, 6 * stride)
    plain = len({stage.stride for stage in backbone.stages.values()}) == 1
    expected = network.forward_intermediates(images, norm=plain, intermediates_only=True)
    outputs = backbone(images)
    for found, wanted in zip(outputs.values(), expected[-len(outputs) :], strict=True):
        assert torch.equal(found, wanted)
    for stage, output in zip(backbone.stages.values(), outputs.values(), strict=True):
        rows, cols = 4 * stride // stage.stride, 6 * stride // stage.stride
        assert output.shape == (2, stage.channels, rows, cols)
    # What vision transformers pool themselves, where there is one: tokens behind the last norm.
    if plain:
        tokens = network.forward_features(images)[:, network.num_prefix_tokens :]
        assert torch.equal(outputs[backbone.last].flatten(2).transpose(1, 2), tokens)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_any_image_gives_the_grid_of_mask_files(both, size):
    backbone, _ = both
    family = family_of(backbone.architecture)
    blocks = family.blocks(backbone.architecture)
    places = [blocks[0], blocks[len(blocks) // 2], *family.stages(backbone.architecture)]
    found = backbone.aligned(torch.randn(1, 3, *size), [place.name for place in places])
    for place in places:
        grid = tuple(grid_size(side, place.stride) for side in size)
        assert found[place.name].shape == (1, place.channels, *grid), place


@torch.no_grad()
def test_rotary_positions_follow_the_size_of_each_image():
    """DINOv3 computes its positions for the size at hand, and keeps none of another size."""
    torch.manual_seed(0)
    name = "vit_tiny_patch16_dinov3_qkvb"
    backbone = Backbone(f"timm/{name}").eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network = theirs(name, backbone)
    seen = {}
    for rows, cols in ((4, 6), (6, 4), (1, 1), (4, 6)):
        patches = torch.arange(3 * 256 * rows * cols).reshape(1, 3, 16 * rows, 16 * cols)
        found = backbone((patches % 101) / 50 - 1)[backbone.last].flatten(2)
        tokens = network.forward_features((patches % 101) / 50 - 1)[:, network.num_prefix_tokens :]
        assert torch.equal(found, tokens.transpose(1, 2))
        assert torch.equal(found, seen.setdefault((rows, cols), found))
    # Without positions, patches at other places would have the same features, there.
    rolled = torch.roll((patches % 101) / 50 - 1, 16, dims=3)
    moved = torch.roll(backbone(rolled)[backbone.last], -1, dims=3).flatten(2)
    assert (moved - found).abs().max() > 0.1 * found.abs().max()


@torch.no_grad()
def test_a_block_is_what_timms_own_module_gives():
    backbone = Backbone("timm/convnext_atto").eval()
    images = torch.randn(1, 3, 64, 64)
    seen = []
    block = backbone.get_submodule("model.stages.2.blocks.3")
    hook = block.register_forward_hook(lambda module, given, output: seen.append(output))
    backbone.aligned(images, ["stages.2"])
    hook.remove()
    assert torch.equal(
        backbone.aligned(images, ["stages.2.blocks.3"])["stages.2.blocks.3"], seen[0]
    )


PLACES = [
    ("vit_tiny_patch16_224", "blocks.0"),
    ("vit_small_patch14_dinov2", "blocks.0"),
    ("vit_tiny_patch16_dinov3_qkvb", "blocks.0"),
    ("convnext_atto", "stages.0"),
    ("efficientnet_b0", "blocks.2.0"),
    ("regnety_002", "s2.b1"),
    ("tf_efficientnet_b0", "blocks.2.0"),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_location_sees_what_lies_around_its_pixel_and_not_half_a_cell_beside_it(name, place):
    """The centre of gravity of what an output depends on, by its gradients."""
    torch.manual_seed(1)
    backbone = Backbone(f"timm/{name}").eval()
    stride = place_of(backbone.architecture, place).stride
    row, col = 4, 5
    image = torch.randn(1, 3, 9 * stride + 3, 12 * stride + 5, requires_grad=True)
    location = backbone.aligned(image, [place])[place][0, :, row, col]
    seen = torch.zeros(image.shape[2:])
    for _ in range(16):
        (gradient,) = torch.autograd.grad(
            location, image, torch.randn_like(location), retain_graph=True
        )
        seen += gradient[0].square().sum(0)
    # Attention and squeeze-and-excitation see a little of everything.
    seen[seen < 0.05 * seen.max()] = 0
    for at, axis in ((row, 1), (col, 0)):
        weights = seen.sum(axis)
        centre = (weights * torch.arange(len(weights))).sum() / weights.sum()
        assert abs(centre - stride * at) < stride / 4


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "place"),
    [("vit_tiny_patch16_224", "blocks.0"), ("vit_small_patch14_dinov2", "blocks.0")],
)
def test_labels_of_a_transformer_change_where_its_picture_does(name, place):
    """Through mask files: at every offset, also where sides are no multiple of the patch."""
    torch.manual_seed(1)
    backbone = Backbone(f"timm/{name}").eval()
    stride = place_of(backbone.architecture, place).stride
    height, width = 5 * stride + 3, 12 * stride + 5
    row = grid_size(height, stride) // 2
    errors = []
    # Dark to light and light to dark: a patch that sees both may look like either.
    for edge, sign in itertools.product(range(5 * stride, 6 * stride), (-1.0, 1.0)):
        image = torch.full((1, 3, height, width), sign)
        image[..., edge:] = -sign
        features = backbone.aligned(image, [place])[place][0, :, row]
        left, right = features[:, 3:4], features[:, -3:-2]
        nearer = ((features - right).norm(dim=0) < (features - left).norm(dim=0)).numpy()
        # Edges of the image have another surrounding.
        nearer[:3], nearer[-3:] = False, True
        labels = np.broadcast_to(nearer, (grid_size(height, stride), len(nearer)))
        shown = full_size(labels.astype(np.int64), height, width, stride)[height // 2]
        errors.append(int(np.argmax(shown)) - edge)
    # Each edge moves to that of a patch; on average, nowhere.  Half a patch would show.
    assert abs(np.mean(errors)) < stride / 4
    assert max(map(abs, errors)) <= stride


def test_weights_that_pooled_stages_do_not_need_are_not_trained():
    pair = Pair("timm/convnext_atto", 8, 4)
    frozen = {k for k, p in pair.online.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"model.head.norm.weight", "model.head.norm.bias"}
    early = Pair("resnet18", 8, 4, ["layer2", "layer3"]).online.backbone
    frozen = {k.split(".")[0] for k, p in early.named_parameters() if not p.requires_grad}
    assert frozen == {"layer4"}


@pytest.mark.parametrize("name", [*NAMES[:3], "vit_tiny_patch16_dinov3_qkvb"])
def test_all_that_is_trained_gets_a_gradient(name):
    pair = Pair(f"timm/{name}", 8, 4)
    cell = 16 if name.startswith("vit") else 32
    images = torch.randn(2, 3, 64, 64)
    cells = torch.randint(0, 2, (2, 64 // cell, 64 // cell))
    pair.online(images, cells, cells.flatten(1)[:, :2])[0].sum().backward()
    for parameter_name, parameter in pair.online.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            {"model": {"architecture": "timm/convnext_tinny"}},
            "timm/convnext_tinny is not one of timm's; did you mean timm/convnext_tiny",
        ),
        (
            {"model": {"architecture": "timm/vit_small_patch16_224.nothing"}},
            "timm/vit_small_patch16_224.nothing: timm has no weights nothing of it; take timm/vit_",
        ),
        (
            {"model": {"architecture": "timm/mixer_s16_224"}},
            "timm/mixer_s16_224 does not take images of any size",
        ),
        (
            {"model": {"architecture": "timm/vit_small_patch14_dinov2"}, "views": {"crop": 100}},
            "views.crop: 100 is not a multiple of 14, the stride of the backbone's last pooled "
            "stage; take 98 or 112",
        ),
        (
            {"model": {"architecture": "timm/convnext_atto"}},
            "bootstrap.block: timm/convnext_atto has no block layer2.2; its stages are stages.0, ",
        ),
        (
            {
                "model": {"architecture": "timm/convnext_atto"},
                "bootstrap": {"block": "stages.2.blocks.9"},
            },
            "bootstrap.block: timm/convnext_atto has no block stages.2.blocks.9",
        ),
        (
            {"model": {"architecture": "timm/convnext_atto", "pooled": ["stages.3", "stages.1"]}},
            "model.pooled: name stages once, from the first to the last",
        ),
        (
            {"model": {"architecture": "timm/convnext_atto", "pooled": ["layer4"]}},
            "model.pooled: timm/convnext_atto has no stage layer4; its stages are stages.0",
        ),
        (
            {
                "model": {"architecture": "timm/vit_tiny_patch16_224"},
                "downstream": {"evaluations": ["voc_detection", "coco_instances"]},
            },
            "downstream.voc_detection: its Faster R-CNN (R50-C4) is built of a ResNet's layers",
        ),
        (
            {
                "model": {"architecture": "timm/vit_small_patch14_dinov2"},
                "downstream": {"evaluations": ["voc_svm"], "voc_svm": {"crop": 192}},
            },
            "downstream.voc_svm.crop: 192 pixels are not a multiple of 14",
        ),
        (
            {
                "downstream": {
                    "evaluations": ["segmentation"],
                    "segmentation": {"layers": ["layer3", "layer2"]},
                }
            },
            "downstream.segmentation.layers: name stages once, from the first to the last",
        ),
    ],
)
def test_what_cannot_be_is_refused_when_the_configuration_is_read(section, told):
    annotated = {"data": {"images": "photos", "annotations": "instances.json"}}
    with pytest.raises(InputError) as caught:
        parse_run(annotated | section)
    assert told in str(caught.value)
