"""Weights of timm's networks from files as their authors and timm publish them."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from cyborgs.checkpoints.layouts import read_checkpoint, read_weights
from cyborgs.evaluation.sources import find_source

VIT = "vit_tiny_patch16_224"
DINOV2 = "vit_small_patch14_dinov2"


def network(name, **options):
    torch.manual_seed(5)
    return timm.create_model(name, **options)


def check(path, name, expected):
    found = read_weights(path, f"timm/{name}")
    assert found.architecture == f"timm/{name}"
    backbone = found.backbone()
    assert {k.removeprefix("model.") for k in backbone} == set(expected)
    for key, value in expected.items():
        assert torch.equal(backbone[f"model.{key}"], value), key


def backbone_of(model):
    return {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}


def test_timms_own_files_with_their_classifier(tmp_path):
    model = network(VIT)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "model.bin")
    for name in ("model.safetensors", "model.bin"):
        check(tmp_path / name, VIT, backbone_of(model))


def test_dino_the_teacher_is_taken(tmp_path):
    teacher, student = network(VIT, num_classes=0), timm.create_model(VIT, num_classes=0)

    def part(model, prefix, head):
        named = {f"{prefix}backbone.{k}": v for k, v in model.state_dict().items()}
        return named | {f"{prefix}head.mlp.0.weight": head}

    content = {
        "student": part(student, "module.", torch.zeros(3, 3)),
        "teacher": part(teacher, "", torch.ones(3, 3)),
        "epoch": 100,
    }
    torch.save(content, tmp_path / "checkpoint.pth")
    check(tmp_path / "checkpoint.pth", VIT, teacher.state_dict())


def test_mae_without_its_decoder(tmp_path):
    model = network(VIT, num_classes=0)
    weights = model.state_dict() | {
        "mask_token": torch.zeros(1, 1, 512),
        "decoder_embed.weight": torch.zeros(512, 192),
        "decoder_blocks.0.norm1.weight": torch.zeros(512),
    }
    torch.save({"model": weights}, tmp_path / "mae.pth")
    check(tmp_path / "mae.pth", VIT, model.state_dict())


def test_dinov2_with_its_mask_token_and_its_positions(tmp_path):
    """Its file has a position for the class token, at 37 x 37 patches, as timm's has."""
    model = network(DINOV2, num_classes=0)
    weights = model.state_dict() | {"mask_token": torch.zeros(1, 384)}
    torch.save(weights, tmp_path / "dinov2.pth")
    check(tmp_path / "dinov2.pth", DINOV2, model.state_dict())


def test_positions_of_another_size_are_interpolated_by_timm(tmp_path):
    model = network(VIT, num_classes=0, img_size=96)
    torch.save(model.state_dict(), tmp_path / "small.pth")
    found = read_weights(tmp_path / "small.pth", f"timm/{VIT}").backbone()
    wanted = network(VIT, num_classes=0)
    convert = timm.models.vision_transformer.checkpoint_filter_fn
    assert torch.equal(found["model.pos_embed"], convert(model.state_dict(), wanted)["pos_embed"])


def test_convnext_by_the_names_of_its_authors(tmp_path):
    model = network("convnext_atto")
    own = model.state_dict()
    theirs = {}
    for key, value in own.items():
        key = key.replace("stem.", "downsample_layers.0.")
        for stage in range(4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            key = key.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc1", "pwconv1")
        key = (
            key.replace("mlp.fc2", "pwconv2")
            .replace("head.norm", "norm")
            .replace("head.fc", "head")
        )
        theirs[key] = value
    torch.save({"model": theirs}, tmp_path / "convnext.pth")
    found = read_weights(tmp_path / "convnext.pth", "timm/convnext_atto").backbone()
    for key, value in own.items():
        if not key.startswith("head.fc"):
            assert torch.equal(found[f"model.{key}"].flatten(), value.flatten()), key


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        ("timm/vit_small_patch16_224", "does not fit timm/vit_small_patch16_224: cls_token is"),
        ("timm/convnext_atto", "does not fit timm/convnext_atto: stem.0.weight is missing"),
        ("resnet50", "holds no ResNet; it looks like a vision transformer"),
    ],
)
def test_weights_of_another_network_are_one_line(architecture, told, tmp_path, refused):
    torch.save(network(VIT).state_dict(), tmp_path / "w.pth")
    with refused(f"model.weights: {tmp_path / 'w.pth'} {told}"):
        read_weights(tmp_path / "w.pth", architecture)


def test_what_is_no_checkpoint_is_one_line(tmp_path, refused):
    (tmp_path / "w.pth").write_text("<html>")
    with refused("is a web page or XML"):
        read_checkpoint(tmp_path / "w.pth", "model.weights", f"timm/{VIT}")


def test_a_file_that_is_evaluated_needs_its_architecture(tmp_path, refused):
    model = network(VIT)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with refused("Weights of timm's networks need the architecture, such as timm/convnext_tiny"):
        find_source(str(tmp_path / "w.pth"))
    backbone = find_source(str(tmp_path / "w.pth"), f"timm/{VIT}").load(0)
    assert torch.equal(backbone.state_dict()["model.cls_token"], model.cls_token)


def test_published_weights_come_from_the_cache_and_are_never_fetched(
    tmp_path, monkeypatch, refused
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "timm/vit_small_patch14_dinov2.lvd142m"
    with refused(f"imagenet: {name} is not in the cache of Hugging Face's hub; fetch it: "):
        find_source("imagenet", name)
