"""Checkpoints of other programs: what is read, by whose names, and what is refused."""

import pickle
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cyborgs.checkpoints.detectron2 import detectron2_name
from cyborgs.checkpoints.layouts import read_checkpoint
from cyborgs.cli import main
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pair import Pair
from cyborgs.pretraining.state import TrainingState, load_state, save_state

ARCHITECTURE = "resnet18"
MODEL = {"architecture": ARCHITECTURE, "hidden": 8, "projection": 4}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def network(seed=0, architecture=ARCHITECTURE):
    """A torchvision network with running statistics of its own."""
    torch.manual_seed(seed)
    made = torchvision.models.get_model(architecture, weights=None)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return made.eval()


@torch.no_grad()
def features(made):
    return nn.Sequential(*list(made.children())[:-2])(IMAGES)


@torch.no_grad()
def imported(path, which="online"):
    """Features of a network of a checkpoint."""
    found = read_checkpoint(path)
    backbone = Backbone(found.architecture).eval()
    backbone.load_state_dict(found.backbone(which))
    return backbone(IMAGES)["layer4"]


class NetWrapper(nn.Module):
    """The published program's, as far as its names go."""

    def __init__(self, net, channels):
        super().__init__()
        self.net = net
        self.projector = mlp(channels, 8, 4)


def mlp(inputs, hidden, outputs):
    made = nn.Module()
    made.net = nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
    return made


class Published(nn.Module):
    def __init__(self, online, target):
        super().__init__()
        self.net = online
        self.online_encoder = NetWrapper(online, 896)
        self.target_encoder = NetWrapper(target, 896)
        self.online_predictor = mlp(4, 8, 4)


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def sequence(made):
    """Names of a network whose parts are in a plain sequence."""
    return nn.Sequential(*list(made.children())[:-2]).state_dict()


def moco(online, target):
    names = prefixed("module.encoder_q.", online.state_dict())
    return {"state_dict": names | prefixed("module.encoder_k.", target.state_dict()), "epoch": 3}


def detcon_pytorch(online, target):
    names = prefixed("module.online_network.encoder.", sequence(online))
    names |= prefixed("module.target_network.encoder.", sequence(target))
    names["module.online_network.projetion.l1.weight"] = torch.zeros(8, 512)
    return {"model": names, "optimizer": {"state": {}, "param_groups": []}}


def lightning(online):
    heads = {"network.projector.0.weight": torch.zeros(8, 512), "predictor.0.bias": torch.zeros(8)}
    return prefixed("network.encoder.", sequence(online)) | heads


LAYOUTS = {
    "a bare state dict": (lambda a, _: a.state_dict(), "torchvision or timm"),
    "under state_dict": (lambda a, _: {"state_dict": a.state_dict()}, "torchvision or timm"),
    "of distributed training": (lambda a, _: prefixed("module.", a.state_dict()), "torchvision"),
    "MoCo": (moco, "MoCo"),
    "DetCon-PyTorch": (detcon_pytorch, "DetCon-PyTorch"),
    "Lightning": (
        lambda a, _: {"state_dict": lightning(a), "global_step": 1},
        "DetCon-PyTorch (Lightning)",
    ),
    "the published program": (lambda a, b: {"state_dict": Published(a, b).state_dict()}, "publish"),
    "VirTex": (lambda a, _: {"model": prefixed("visual.cnn.", a.state_dict())}, "visual.cnn.*"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("legacy", [False, True])
def test_layouts(layout, legacy, tmp_path):
    online, target = network(0), network(1)
    make, told = LAYOUTS[layout]
    path = tmp_path / "theirs.pth"
    torch.save(make(online, target), path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert told in found.layout
    assert found.architecture == ARCHITECTURE
    assert torch.equal(imported(path), features(online))
    if found.target:
        assert torch.equal(imported(path, "target"), features(target))
    assert bool(found.target) == (layout in ("MoCo", "DetCon-PyTorch", "the published program"))


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up."])
@pytest.mark.parametrize("protocol", [2, 4])
def test_detectron2(prefix, protocol, tmp_path):
    made = network()
    model = {
        prefix + detectron2_name(k): v.numpy()
        for k, v in made.state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps({"model": model, "__author__": "them"}, protocol))
    assert read_checkpoint(path).layout == "Detectron2"
    assert torch.equal(imported(path), features(made))


def test_safetensors_of_timm(tmp_path):
    torch.manual_seed(2)
    made = timm.create_model("resnet18").eval()
    save_file(made.state_dict(), tmp_path / "theirs.safetensors")
    with torch.no_grad():
        expected = made.forward_features(IMAGES)
    assert torch.equal(imported(tmp_path / "theirs.safetensors"), expected)


@pytest.mark.parametrize(
    "architecture", ["resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2"]
)
def test_the_architecture_is_found(architecture, tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save(torchvision.models.get_model(architecture, weights=None).state_dict(), path)
    assert read_checkpoint(path).architecture == architecture


def published(tmp_path):
    made = Published(network(0), network(1))
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": prefixed("module.", made.state_dict())}, path)
    return made, path


def test_a_published_checkpoint_becomes_a_state_with_its_heads(tmp_path):
    made, path = published(tmp_path)
    assert main(["import", str(path), "--out", str(tmp_path / "state.pt")]) == 0
    state = load_state(tmp_path / "state.pt")
    assert state.model == MODEL
    assert (state.round, state.step) == (0, 0)
    for ours, theirs in (
        (state.online["projector.0.weight"], made.online_encoder.projector.net[0].weight),
        (state.online["predictor.3.bias"], made.online_predictor.net[3].bias),
        (state.target["projector.3.weight"], made.target_encoder.projector.net[3].weight),
        (state.target["backbone.conv1.weight"], made.target_encoder.net.conv1.weight),
    ):
        assert torch.equal(ours, theirs)


def test_there_and_back(tmp_path):
    """Every tensor of a published file comes out as it went in, but for the classifier."""
    made, path = published(tmp_path)
    out, back = tmp_path / "state.pt", tmp_path / "ours.pth"
    assert main(["import", str(path), "--out", str(out)]) == 0
    assert main(["export", "--state", str(out), "--out", str(back), "--format", "published"]) == 0
    weights = torch.load(back)["state_dict"]
    expected = made.state_dict()
    assert list(weights.keys() ^ expected.keys()) == []
    for name, value in weights.items():
        if ".fc." in name:
            assert not value.any()
        else:
            assert torch.equal(value, expected[name]), name
    made.load_state_dict(weights)


@pytest.mark.parametrize("form", ["torchvision", "timm", "safetensors", "detectron2", "published"])
def test_all_that_is_exported_is_imported(form, tmp_path):
    torch.manual_seed(0)
    pair = Pair(**MODEL)
    state = tmp_path / "state.pt"
    online, target = pair.online.state_dict(), pair.target.state_dict()
    save_state(state, TrainingState(MODEL, 2, 9, online, target, {}, {}, {"inputs": {}}))
    suffix = {"safetensors": ".safetensors", "detectron2": ".pkl"}.get(form, ".bin")
    out, again = tmp_path / f"x{suffix}", tmp_path / "again.pt"
    assert main(["export", "--state", str(state), "--out", str(out), "--format", form]) == 0
    assert main(["import", str(out), "--out", str(again)]) == 0
    backbone = load_state(again).backbone()
    for name, value in load_state(state).backbone().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(backbone[name], value), name


def test_a_published_file_of_the_target_alone_is_refused(tmp_path, capsys):
    _, path = published(tmp_path)
    state = tmp_path / "state.pt"
    main(["import", str(path), "--out", str(state)])
    arguments = ["export", "--state", str(state), "--out", str(tmp_path / "x.pth")]
    assert main([*arguments, "--format", "published", "--network", "target"]) == 2
    assert "holds both" in capsys.readouterr().err
    assert not (tmp_path / "x.pth").exists()


def test_weights_of_a_run(tmp_path, capsys):
    """`model.weights` takes whatever `import` takes, and refuses another architecture."""
    path = tmp_path / "theirs.pth"
    torch.save(moco(network(0), network(1)), path)
    out = tmp_path / "round-00.pt"
    text = '{{"model": {{"architecture": "{}", "hidden": 8, "projection": 4, "weights": "{}"}}}}'
    command = ["seed", "state", "--out", str(out), "--config"]
    assert main([*command, text.format("resnet34", path)]) == 2
    assert "holds a resnet18 (MoCo), not a resnet34" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, text.format("resnet18", path)]) == 0
    state = load_state(out)
    assert torch.equal(state.online["backbone.conv1.weight"], network(0).conv1.weight)
    assert torch.equal(state.target["backbone.conv1.weight"], network(1).conv1.weight)
    assert torch.equal(state.target["projector.0.weight"], state.online["projector.0.weight"])


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def without(name):
    weights = network().state_dict()
    del weights[name]
    return weights


def reshaped(name):
    weights = network().state_dict()
    return weights | {name: weights[name][:5]}


# Made when their test runs: some are large.
REFUSED = {
    "code": (lambda: {"state_dict": Evil()}, r"only be read by running code .*\(.*exec\)"),
    "a whole network": (lambda: network(), r"running code .*torch\.nn\.modules"),
    "nothing": (lambda: {"epoch": 3}, "holds no tensors with names"),
    "one tensor": (lambda: torch.zeros(3), "holds no tensors with names"),
    "missing": (
        lambda: without("layer2.0.bn1.bias"),
        r"looks like a resnet18, but layer2\.0\.bn1\.bias is",
    ),
    "another shape": (lambda: reshaped("layer3.1.bn2.weight"), r"weight is \(5,\), not \(256,\)"),
    "unexpected": (
        lambda: network().state_dict() | {"layer9.w": torch.zeros(1)},
        "layer9.w is unexpected",
    ),
    "another depth": (
        lambda: torchvision.models.resnet152(weights=None).state_dict(),
        "a residual network of 3, 8, 36, 3 blocks",
    ),
    "groups": (
        lambda: torchvision.models.resnext50_32x4d(weights=None).state_dict(),
        "128 channels wide in groups of 4, which is none of resnet18, resnet34",
    ),
    "a deep beginning": (
        lambda: timm.create_model("resnet18d").state_dict(),
        "three convolutions at its",
    ),
    "a transformer": (
        lambda: timm.create_model("vit_tiny_patch16_224").state_dict(),
        "vision transformer",
    ),
    "a VGG": (lambda: torchvision.models.vgg11(weights=None).state_dict(), "VGG"),
    "Caffe2": (lambda: {"res2_0_branch2a_w": torch.zeros(1), "b": torch.zeros(1)}, "BGR"),
    "anything": (
        lambda: {"a.weight": torch.zeros(1), "b": torch.zeros(1)},
        "its 2 tensors are called a.w",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case, tmp_path, capsys):
    make, told = REFUSED[case]
    path, out = tmp_path / "theirs.pth", tmp_path / "state.pt"
    torch.save(make(), path)
    assert main(["import", str(path), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert re.search(told, message), message
    assert message.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.pth"]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_wants_to_run_code_is_refused(protocol, tmp_path, capsys):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps({"model": {"stem.conv1.weight": Evil()}}, protocol))
    assert main(["import", str(path), "--out", str(tmp_path / "state.pt")]) == 2
    message = capsys.readouterr().err
    # Of protocol 0 the beginning is no sign of a pickle.
    assert ("running code" if protocol else "is not a checkpoint") in message


@pytest.mark.parametrize(
    "kind", ["pth", pytest.param("pkl", marks=pytest.mark.slow), "safetensors"]
)
def test_damaged_files(kind, tmp_path, capsys):
    path = tmp_path / f"theirs.{kind}"
    weights = network().state_dict()
    if kind == "pth":
        torch.save(weights, path)
    elif kind == "pkl":
        path.write_bytes(pickle.dumps({"model": {k: v.numpy() for k, v in weights.items()}}))
    else:
        save_file(weights, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 1, 20, 1000, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert main(["import", str(path), "--out", str(tmp_path / "state.pt")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    for _ in range(20):
        broken = bytearray(whole)
        broken[int(rng.integers(0, 3000))] ^= 0xFF
        path.write_bytes(broken)
        assert main(["import", str(path), "--out", str(tmp_path / "state.pt")]) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err


def test_arrays_that_are_no_numbers(tmp_path, capsys):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps({"a": np.array(["x", "y"]), "b": np.array([None]), "c": 1.0}))
    assert main(["import", str(path), "--out", str(tmp_path / "state.pt")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "holds no tensors with names (a, b, c)" in message


def test_a_missing_file(tmp_path, capsys):
    arguments = ["import", str(tmp_path / "x.pth"), "--out", str(tmp_path / "state.pt")]
    assert main(arguments) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value, tmp_path, capsys):
    weights = torchvision.models.resnet18().state_dict()
    weights["layer2.0.bn1.weight"][3] = value
    torch.save(weights, tmp_path / "x.pth")
    assert main(["import", str(tmp_path / "x.pth"), "--out", str(tmp_path / "out")]) == 2
    assert "layer2.0.bn1.weight has values that are not finite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
