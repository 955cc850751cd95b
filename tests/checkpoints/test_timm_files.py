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


def by_convnexts_names(model):
    theirs = {}
    for key, value in model.state_dict().items():
        key = key.replace("stem.", "downsample_layers.0.")
        for stage in range(4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            key = key.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc1", "pwconv1")
        key = key.replace("mlp.fc2", "pwconv2")
        theirs[key.replace("head.norm", "norm").replace("head.fc", "head")] = value
    return theirs


def test_convnext_by_the_names_of_its_authors(tmp_path):
    model = network("convnext_atto")
    torch.save({"model": by_convnexts_names(model)}, tmp_path / "convnext.pth")
    found = read_weights(tmp_path / "convnext.pth", "timm/convnext_atto").backbone()
    for key, value in model.state_dict().items():
        if not key.startswith("head.fc"):
            assert torch.equal(found[f"model.{key}"].flatten(), value.flatten()), key


DINOV3 = "vit_tiny_patch16_dinov3_qkvb"
DINOV3_PLUS = "vit_small_plus_patch16_dinov3"

# What DINOv3's program calls what timm calls otherwise; blocks end with a point.
DINOV3_NAMES = {
    "reg_token": "storage_tokens",
    ".gamma_1": ".ls1.gamma",
    ".gamma_2": ".ls2.gamma",
    ".mlp.fc1_g.": ".mlp.w1.",
    ".mlp.fc1_x.": ".mlp.w2.",
    ".mlp.fc2.": ".mlp.w3.",
}


def with_values(name):
    """A network of timm of which no weight is what it begins with: zero, one, or too small."""
    model = network(name, num_classes=0).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def by_dinov3s_names(model, swiglu=False):
    """Weights as DINOv3's program saves them: a bias of keys that a mask takes out, periods …"""
    theirs = {
        "mask_token": torch.ones(1, model.embed_dim),
        "rope_embed.periods": torch.ones(16, dtype=torch.bfloat16),
    }
    for key, value in model.state_dict().items():
        for ours, name in list(DINOV3_NAMES.items())[: None if swiglu else 3]:
            key = key.replace(ours, name)
        theirs[key] = value
    for number in range(len(model.blocks)):
        place = f"blocks.{number}.attn"
        queries = theirs.pop(f"{place}.q_bias", torch.zeros(model.embed_dim))
        values = theirs.pop(f"{place}.v_bias", torch.zeros(model.embed_dim))
        keys = torch.full_like(queries, 3.0)
        theirs[f"{place}.qkv.bias"] = torch.cat([queries, keys, values])
        ones = torch.ones_like(queries)
        theirs[f"{place}.qkv.bias_mask"] = torch.cat([ones, 0 * ones, ones])
    return theirs


def same_features(path, name, model):
    backbone = find_source(str(path), f"timm/{name}").load(0)
    images = torch.randn(1, 3, 64, 96)
    plain = name.startswith("vit")
    with torch.no_grad():
        expected = model.forward_intermediates(images, norm=plain, intermediates_only=True)
        return torch.equal(backbone(images)[backbone.last], expected[-1])


def test_dinov3_by_the_names_of_its_authors(tmp_path, refused):
    model = with_values(DINOV3)
    theirs = by_dinov3s_names(model)
    assert {n.split(".")[0] for n in theirs} == {
        "cls_token", "storage_tokens", "mask_token", "patch_embed", "rope_embed", "blocks", "norm",
    }  # fmt: skip
    torch.save(theirs, tmp_path / "dinov3.pth")
    check(tmp_path / "dinov3.pth", DINOV3, model.state_dict())
    assert same_features(tmp_path / "dinov3.pth", DINOV3, model)
    for name in [name for name in theirs if name.endswith("bias_mask")]:
        del theirs[name]
    torch.save(theirs, tmp_path / "unmasked.pth")
    with refused(f"does not fit timm/{DINOV3}: blocks.0.attn.qkv.bias has biases of keys"):
        read_weights(tmp_path / "unmasked.pth", f"timm/{DINOV3}")
    for broken in (torch.ones(4), torch.ones(())):
        theirs |= {"blocks.0.attn.qkv.bias": broken, "blocks.0.attn.qkv.bias_mask": torch.ones(2)}
        torch.save({**theirs, "blocks.1.attn.qkv.bias": broken}, tmp_path / "broken.pth")
        with refused(f"does not fit timm/{DINOV3}: "):
            read_weights(tmp_path / "broken.pth", f"timm/{DINOV3}")


def test_dinov3s_teacher_while_it_trains(tmp_path):
    model = with_values(DINOV3)
    theirs = by_dinov3s_names(model)
    training = {f"backbone.{k}": v for k, v in theirs.items()}
    training |= {
        "dino_head.mlp.0.weight": torch.ones(3, 3),
        "ibot_head.mlp.0.weight": training["backbone.norm.weight"],
    }
    torch.save({"teacher": training}, tmp_path / "teacher.pth")
    check(tmp_path / "teacher.pth", DINOV3, model.state_dict())


@pytest.mark.slow
def test_dinov3_without_biases_of_queries_and_values(tmp_path, refused):
    """The authors' files have them, all zero; timm has such networks with and without them."""
    model = with_values(DINOV3_PLUS)
    theirs = by_dinov3s_names(model, swiglu=True)
    assert "blocks.0.mlp.w3.weight" in theirs
    torch.save(theirs, tmp_path / "dinov3.pth")
    assert same_features(tmp_path / "dinov3.pth", DINOV3_PLUS, model)
    theirs["blocks.1.attn.qkv.bias"][0] = 1
    torch.save(theirs, tmp_path / "dinov3.pth")
    with refused(f"does not fit timm/{DINOV3_PLUS}: blocks.1.attn.qkv.bias is not zero", "_qkvb"):
        read_weights(tmp_path / "dinov3.pth", f"timm/{DINOV3_PLUS}")


def test_dinov3s_convnext_by_the_names_of_its_authors(tmp_path):
    """As ConvNeXt's, with the last norm a second time, in a list of norms."""
    model = with_values("convnext_atto")
    theirs = by_convnexts_names(model)
    theirs |= {f"norms.3.{part}": theirs[f"norm.{part}"] for part in ("weight", "bias")}
    torch.save(theirs, tmp_path / "w.pth")
    assert same_features(tmp_path / "w.pth", "convnext_atto", model)


def test_names_of_transformers_which_timm_does_not_convert_are_one_line(tmp_path, refused):
    """Those of Hugging Face's DINOv3."""
    theirs = {
        "embeddings.cls_token": torch.zeros(1, 1, 192),
        "embeddings.register_tokens": torch.zeros(1, 4, 192),
        "embeddings.patch_embeddings.weight": torch.zeros(192, 3, 16, 16),
        "layer.0.attention.q_proj.weight": torch.zeros(192, 192),
    }
    save_file(theirs, tmp_path / "model.safetensors")
    with refused(
        f"does not fit timm/{DINOV3}: it has the names of Hugging Face's transformers",
        "take the file that the authors or timm publish",
    ):
        read_weights(tmp_path / "model.safetensors", f"timm/{DINOV3}")


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
    name = "timm/vit_small_patch14_dinov2"
    with refused(
        f"imagenet: the published weights of {name} are not in {tmp_path}/models--timm--",
        f"`cyborgs data weights {name}` fetches them",
    ):
        find_source("imagenet", name)
