"""Exported backbones in the programs that they are for: the same features, bit for bit."""

import pickle

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import load_file

from cyborgs.checkpoints.detectron2 import detectron2_name
from cyborgs.cli import main
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pair import Pair
from cyborgs.pretraining.state import TrainingState, save_state

ARCHITECTURE = "resnet18"


@pytest.fixture(scope="module")
def pair():
    """Two networks that differ, with running statistics that are not those of the start."""
    torch.manual_seed(0)
    made = Pair(ARCHITECTURE, 8, 4)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
        for weight in made.target.parameters():
            weight.mul_(1.5)
    return made.eval()


@pytest.fixture(scope="module")
def state(pair, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "round-02.pt"
    model = {"architecture": ARCHITECTURE, "hidden": 8, "projection": 4}
    online, target = pair.online.state_dict(), pair.target.state_dict()
    save_state(path, TrainingState(model, 2, 9, online, target, {}, {}, {"inputs": {}}))
    return path


@pytest.fixture(params=["online", "target"])
def network(request):
    return request.param


def export(state, out, form, network):
    arguments = ["export", "--state", str(state), "--out", str(out)]
    assert main([*arguments, "--format", form, "--network", network]) == 0
    return out


@torch.no_grad()
def features(pair, network):
    return getattr(pair, network).backbone(IMAGES)["layer4"]


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_torchvision(pair, state, network, tmp_path):
    content = torch.load(export(state, tmp_path / "x.pth", "torchvision", network))
    model = torchvision.models.get_model(content["architecture"]).eval()
    missing, unexpected = model.load_state_dict(content["state_dict"], strict=False)
    assert missing == ["fc.weight", "fc.bias"]
    assert unexpected == []
    model.fc = torch.nn.Identity()
    expected = features(pair, network).mean((2, 3))
    torch.testing.assert_close(model(IMAGES), expected)
    body = torch.nn.Sequential(*list(model.children())[:-2])
    assert torch.equal(body(IMAGES), features(pair, network))


@torch.no_grad()
def test_timm(pair, state, network, tmp_path):
    path = export(state, tmp_path / "x.pth", "torchvision", network)
    model = timm.create_model(ARCHITECTURE, num_classes=0, checkpoint_path=str(path)).eval()
    assert torch.equal(model.forward_features(IMAGES), features(pair, network))


@torch.no_grad()
def test_safetensors(pair, state, network, tmp_path):
    weights = load_file(export(state, tmp_path / "x.safetensors", "safetensors", network))
    backbone = Backbone(ARCHITECTURE).eval()
    backbone.load_state_dict(weights)
    assert torch.equal(backbone(IMAGES)["layer4"], features(pair, network))


class TestDetectron2:
    @pytest.mark.parametrize(
        ("name", "theirs"),
        [
            ("conv1.weight", "stem.conv1.weight"),
            ("bn1.running_mean", "stem.conv1.norm.running_mean"),
            ("layer1.0.conv1.weight", "res2.0.conv1.weight"),
            ("layer1.0.bn3.bias", "res2.0.conv3.norm.bias"),
            ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
            ("layer4.0.downsample.1.running_var", "res5.0.shortcut.norm.running_var"),
            ("layer4.2.bn2.weight", "res5.2.conv2.norm.weight"),
        ],
    )
    def test_names(self, name, theirs):
        assert detectron2_name(name) == theirs

    def test_every_weight_is_there_once(self, pair, state, network, tmp_path):
        content = pickle.loads(
            export(state, tmp_path / "x.pkl", "detectron2", network).read_bytes()
        )
        assert content["matching_heuristics"] is True
        weights = getattr(pair, network).backbone.state_dict()
        kept = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
        assert len(content["model"]) == len(kept)
        for name, value in kept.items():
            assert torch.equal(torch.from_numpy(content["model"][detectron2_name(name)]), value)

    def test_the_settings_beside_it(self, state, tmp_path):
        export(state, tmp_path / "x.pkl", "detectron2", "online")
        settings = yaml.safe_load((tmp_path / "x.yaml").read_text())
        assert settings["MODEL"]["WEIGHTS"] == "x.pkl"
        assert settings["MODEL"]["RESNETS"] == {
            "DEPTH": 18,
            "STRIDE_IN_1X1": False,
            "RES2_OUT_CHANNELS": 64,
        }
        assert settings["MODEL"]["PIXEL_STD"] == [58.395, 57.12, 57.375]
        assert settings["INPUT"]["FORMAT"] == "RGB"

    def test_a_file_that_is_something_else_stays(self, state, tmp_path, capsys):
        settings = tmp_path / "config.yaml"
        settings.write_text("of a run")
        out = tmp_path / "config.pkl"
        arguments = ["export", "--state", str(state), "--out", str(out), "--format", "detectron2"]
        assert main(arguments) == 2
        assert f"--out: {settings}" in capsys.readouterr().err
        assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
        assert settings.read_text() == "of a run"
        # Of an earlier export, they are written anew.
        out.write_bytes(b"")
        assert main(arguments) == 0
        assert "WEIGHTS" in settings.read_text()

    def test_a_network_that_it_does_not_build_is_refused(self, tmp_path, capsys):
        torch.manual_seed(0)
        made = Pair("wide_resnet50_2", 8, 4)
        model = {"architecture": "wide_resnet50_2", "hidden": 8, "projection": 4}
        path = tmp_path / "state.pt"
        online, target = made.online.state_dict(), made.target.state_dict()
        save_state(path, TrainingState(model, 0, 0, online, target, {}, {}, {"inputs": {}}))
        out = tmp_path / "x.pkl"
        arguments = ["export", "--state", str(path), "--out", str(out), "--format", "detectron2"]
        assert main(arguments) == 2
        assert "wide_resnet50_2 is none of the networks" in capsys.readouterr().err
        assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("form", "name", "wanted"),
    [
        ("safetensors", "x.pth", ".safetensors"),
        ("detectron2", "x.pth", ".pkl"),
        ("torchvision", "x.safetensors", ".pth"),
        ("published", "x.pkl", ".pth"),
    ],
)
def test_a_name_of_another_format(form, name, wanted, state, tmp_path, capsys):
    out = tmp_path / name
    assert main(["export", "--state", str(state), "--format", form, "--out", str(out)]) == 2
    assert f"end the name with {wanted}" in capsys.readouterr().err
    assert not out.exists()
