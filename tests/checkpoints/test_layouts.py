"""Which weights come out of a checkpoint, over the ways to name and to hold them."""

import argparse
import collections
import pathlib
import pickle
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cyborgs.checkpoints.layouts import read_checkpoint
from cyborgs.common.errors import InputError
from tests.checkpoints.made import (
    BESIDE,
    CONTAINER_PAIRS,
    CONTAINERS,
    NAMINGS,
    PAIRS,
    PLACES,
    WRAPPERS,
    contained,
    in_sequence,
    numbers,
    prefixed,
    weights,
    wrapped,
)  # fmt: skip

LEARNER, AVERAGE = weights(1), weights(101)
# Plain values and settings that programs put beside weights.
ASIDE = {
    "epoch": 3,
    "best_acc1": np.float64(7.5),
    "loss": np.arange(3.0),
    "empty": np.zeros(0),
    "scalar": np.array(1.0, np.float32),
    "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x")),
    "hyper_parameters": collections.defaultdict(list, lr=[np.float32(0.1)]),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
    "seen": {1, 2},
    "counts": collections.Counter("abc"),
    "raw": b"\x00\xff",
    "more": bytearray(b"\x00\xff"),
    "size": torch.Size([1, 2]),
    "history": [1.0, None, ("a", True)],
}


def saved(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read(path, online, target=None):
    """What is in a file, once the right weights have come out of it."""
    found = read_checkpoint(path)
    assert found.architecture == "resnet18"
    assert numbers(found.backbone()) == numbers(online)
    if target is None:
        assert found.target == {}
    else:
        assert numbers(found.backbone("target")) == numbers(target)
    return found


one_of = st.sampled_from
beside = st.lists(one_of(BESIDE), max_size=4).map(
    lambda names: {name: torch.zeros(3, 2) for name in names}
)
aside = st.lists(one_of(sorted(ASIDE)), max_size=4).map(
    lambda names: {name: ASIDE[name] for name in names}
)
many = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(
    place=one_of(PLACES),
    naming=one_of(sorted(NAMINGS)),
    containers=one_of(CONTAINERS),
    wrapper=one_of(("", *WRAPPERS)),
    beside=beside,
    aside=aside,
    dtype=one_of([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    legacy=st.booleans(),
    listed=st.booleans(),
)
def test_one_network(
    tmp_path, place, naming, containers, wrapper, beside, aside, dtype, legacy, listed
):
    named = wrapped(wrapper, place, NAMINGS[naming](weights(1, dtype=dtype))) | beside
    # In a list as accelerate has it.
    content = contained(containers, [named] if listed and containers else named)
    read(saved(tmp_path / "x.pth", content | aside if containers else content, legacy), LEARNER)


@many
@given(
    pair=one_of(PAIRS),
    naming=one_of(sorted(NAMINGS)),
    containers=one_of(CONTAINERS),
    wrapper=one_of(("", *WRAPPERS)),
    beside=beside,
    aside=aside,
    legacy=st.booleans(),
    first=st.booleans(),
    same=st.booleans(),
)
def test_a_pair_in_one_state_dict(
    tmp_path, pair, naming, containers, wrapper, beside, aside, legacy, first, same
):
    """As at a run's beginning, the two may be the same."""
    average = LEARNER if same else AVERAGE
    networks = [
        wrapped(wrapper, place, NAMINGS[naming](named))
        for place, named in zip(pair, (LEARNER, average), strict=True)
    ]
    networks = networks if first else networks[::-1]
    content = contained(containers, networks[0] | networks[1] | beside)
    read(
        saved(tmp_path / "x.pth", content | aside if containers else content, legacy),
        LEARNER,
        average,
    )


@many
@given(
    pair=one_of(CONTAINER_PAIRS),
    place=one_of(["", "backbone.", "encoder.0.", "model.", "visual.cnn."]),
    naming=one_of(sorted(NAMINGS)),
    wrappers=st.tuples(one_of(("", *WRAPPERS)), one_of(("", *WRAPPERS))),
    beside=beside,
    aside=aside,
    first=st.booleans(),
)
def test_a_pair_in_two_containers(tmp_path, pair, place, naming, wrappers, beside, aside, first):
    held = [
        (name, wrapped(wrapper, place, NAMINGS[naming](named)) | beside)
        for name, named, wrapper in zip(pair, (LEARNER, AVERAGE), wrappers, strict=True)
    ]
    content = dict(held if first else held[::-1]) | aside
    content[pair[1]]["n_averaged"] = torch.tensor(3)
    read(saved(tmp_path / "x.pth", content), LEARNER, AVERAGE)


@many
@given(
    places=st.lists(
        one_of(
            ["image_encoder.", "depth_encoder.", "a.backbone.", "b.backbone.", "source_encoder."]
        ),
        min_size=2,
        max_size=3,
        unique=True,
    ),
    naming=one_of(sorted(NAMINGS)),
    containers=one_of(CONTAINERS),
)
def test_networks_that_are_no_pair_are_refused(tmp_path, places, naming, containers):
    named = {}
    for number, place in enumerate(places):
        named |= prefixed(place, NAMINGS[naming](weights(1 + number)))
    message = refusal(saved(tmp_path / "x.pth", contained(containers, named)))
    assert f"holds {len(places)} ResNets" in message
    assert all(f"{place}*" in message for place in places)
    assert "save the state dict of one alone" in message


@many
@given(
    place=one_of(PLACES),
    naming=one_of(sorted(NAMINGS)),
    name=one_of(sorted(LEARNER)),
    cut=st.booleans(),
    pair=st.booleans(),
)
def test_a_network_that_is_not_whole_is_refused(tmp_path, place, naming, name, cut, pair):
    """Also where its moving average is whole, which must not be taken in its place."""
    broken = dict(LEARNER)
    value = broken.pop(name)
    if name.endswith("num_batches_tracked"):
        cut = True  # a counter may be missing
    if cut:
        broken[name] = torch.zeros(*value.shape, 2)
    named = NAMINGS[naming](broken)
    content = {"model": prefixed(place, named)}
    if pair:
        content["model_ema"] = prefixed(place, NAMINGS[naming](AVERAGE))
    message = refusal(saved(tmp_path / "x.pth", content))
    # Of an average below the name of another one, nothing says whose it is.
    assert name in message or "blocks" in message or (pair and "holds 2 ResNets" in message)


def test_names_in_the_wrong_place_are_not_taken(tmp_path):
    """A head by the names of a plain sequence does not replace a weight of the same name there."""
    named = LEARNER | {"0.weight": torch.zeros(9), "1.weight": torch.zeros(9)}
    read(saved(tmp_path / "x.pth", named), LEARNER)


SOME = torch.zeros(3, 3)

# Public programs: what is in their checkpoints, who wrote them, and whether they have an average.
HEAD = {"head.mlp.0.weight": torch.zeros(4, 4)}
PUBLIC = {
    "SwAV": (
        prefixed("module.", LEARNER | {
            "projection_head.0.weight": torch.zeros(8, 512), "prototypes.weight": torch.zeros(9, 8),
        }),
        "SwAV", False,
    ),
    "DINO": (
        {
            "student": prefixed("module.", prefixed("backbone.", LEARNER) | HEAD),
            "teacher": prefixed("backbone.", AVERAGE) | HEAD,
            "optimizer": {}, "epoch": 3, "args": argparse.Namespace(arch="resnet18"),
            "dino_loss": {"center": torch.zeros(1, 4)},
        },
        "DINO", True,
    ),
    "VISSL": (
        contained(("classy_state_dict", "base_model", "model"), {
            "trunk": prefixed("_feature_blocks.", LEARNER),
            "heads": {"0.clf.0.weight": torch.zeros(4, 4)},
        }) | {"phase_idx": 3, "type": "consolidated"},
        "VISSL", False,
    ),
    "MoCo of VISSL": (
        {"classy_state_dict": {
            "base_model": {"model": {"trunk": prefixed("_feature_blocks.", LEARNER)}},
            "loss": prefixed("moco_encoder.trunk._feature_blocks.", AVERAGE),
        }},
        "VISSL", True,
    ),
    "MoCo": (
        {"state_dict": prefixed(
            "module.", prefixed("encoder_q.", LEARNER | {"fc.bias": torch.ones(3)})
            | prefixed("encoder_k.", AVERAGE | {"fc.bias": torch.ones(3)})
            | {"queue": SOME, "queue_ptr": torch.zeros(1)})},
        "MoCo", True,
    ),
    "MoCo v3": (
        {"state_dict": prefixed(
            "module.", prefixed("base_encoder.", LEARNER | {"fc.0.weight": torch.ones(3)})
            | prefixed("momentum_encoder.", AVERAGE | {"fc.0.weight": torch.ones(3)})
            | {"predictor.0.weight": SOME})},
        "MoCo v3", True,
    ),
    "SlotCon": (
        {"model": prefixed(
            "module.", prefixed("encoder_q.", LEARNER) | prefixed("encoder_k.", AVERAGE)
            | {"grouping_q.slot_embed.weight": SOME})},
        "a program that calls it encoder_q.*, and its average encoder_k.*", True,
    ),
    "DenseCL": (
        {
            "meta": {"env": "x"},
            "state_dict": prefixed("encoder_q.0.", LEARNER) | prefixed("encoder_k.0.", AVERAGE)
            | prefixed("backbone.", LEARNER) | {"encoder_q.1.mlp.0.weight": SOME},
        },
        "a program that calls it encoder_q.0.*, and its average encoder_k.0.*", True,
    ),
    "PixPro": (
        {"model": prefixed(
            "module.", prefixed("encoder.", LEARNER) | prefixed("encoder_k.", AVERAGE)
            | {"projector.linear1.weight": SOME})},
        "PixPro", True,
    ),
    "BYOL-pytorch": (
        prefixed("net.", LEARNER) | prefixed("online_encoder.net.", LEARNER)
        | prefixed("target_encoder.net.", AVERAGE) | {"online_predictor.0.weight": SOME},
        "BYOL-pytorch", True,
    ),
    "DetCon-PyTorch (Lightning)": (
        {"state_dict": prefixed("network.encoder.", in_sequence(LEARNER))
            | {"network.projector.0.weight": SOME, "predictor.0.weight": torch.zeros(3)}},
        "DetCon-PyTorch (Lightning)", False,
    ),
    "solo-learn": (
        {"state_dict": prefixed("backbone.", LEARNER) | prefixed("momentum_backbone.", AVERAGE)
            | {"classifier.weight": SOME, "momentum_projector.0.weight": torch.zeros(3)}},
        "a program that calls it backbone.*, and its average momentum_backbone.*", True,
    ),
    "lightly": (
        {"state_dict": prefixed("backbone.", in_sequence(LEARNER))
            | prefixed("backbone_momentum.", in_sequence(AVERAGE))
            | {"projection_head.layers.0.weight": SOME}},
        "a program that calls it backbone.*, and its average backbone_momentum.*", True,
    ),
    "timm": (
        {"state_dict": LEARNER, "state_dict_ema": AVERAGE, "arch": "resnet18"},
        "torchvision or timm", True,
    ),
    "torchvision's reference": (
        {
            "model": LEARNER, "args": argparse.Namespace(lr=1),
            "model_ema": prefixed("module.", AVERAGE) | {"n_averaged": torch.tensor(3)},
        },
        "torchvision or timm", True,
    ),
    "Barlow Twins": (
        {"model": prefixed("module.backbone.", LEARNER) | {"module.projector.0.weight": SOME}},
        "a program that calls it backbone.*", False,
    ),
    "SimSiam": (
        {"state_dict": prefixed("module.encoder.", LEARNER) | {"module.predictor.0.weight": SOME}},
        "a program that calls it encoder.*", False,
    ),
    "a detector of torchvision": (
        prefixed("backbone.body.", LEARNER) | {"rpn.head.conv.weight": SOME},
        "a program that calls it backbone.body.*", False,
    ),
    "VirTex": (
        {"model": prefixed("visual.cnn.", LEARNER) | {"textual.embedding.words.weight": SOME}},
        "VirTex", False,
    ),
    "transformers": (
        prefixed("resnet.", NAMINGS["transformers"](LEARNER)) | {"classifier.1.weight": SOME},
        "Hugging Face's transformers", False,
    ),
    "Detectron2": (
        {"model": prefixed("backbone.bottom_up.", NAMINGS["Detectron2"](LEARNER))
            | {"backbone.fpn_lateral2.weight": SOME}},
        "Detectron2", False,
    ),
    "DeepSpeed": ({"module": LEARNER, "ds_version": "0.1"}, "torchvision or timm", False),
    "accelerate": ({"model": [LEARNER]}, "torchvision or timm", False),
    "a head beside it": (
        LEARNER | {"projector.0.weight": SOME},
        "a program that has projector* beside torchvision's names", False,
    ),
    "heads of another program": (
        {"state_dict": prefixed("online_encoder.net.", LEARNER)
            | prefixed("target_encoder.net.", AVERAGE)
            | {"online_encoder.projector.0.weight": torch.zeros(8, 4)}},
        "a program that calls it online_encoder.net.*, and its average target_encoder.net.*", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", PUBLIC)
def test_public_programs(program, tmp_path):
    content, layout, average = PUBLIC[program]
    found = read(saved(tmp_path / "x.pth", content), LEARNER, AVERAGE if average else None)
    assert found.layout == layout
    assert all(name.startswith("backbone.") for name in (*found.online, *found.target))


def test_all_namings_of_a_network_with_bottlenecks(tmp_path):
    """Here of a network whose blocks have three convolutions."""
    real = torchvision.models.resnet50(weights=None).state_dict()
    real = {k: v for k, v in real.items() if not k.startswith("fc.")}
    for naming in NAMINGS.values():
        found = read_checkpoint(saved(tmp_path / "x.pth", {"model": naming(real)}))
        assert found.architecture == "resnet50"
        assert all(torch.equal(v, real[k]) for k, v in found.backbone().items())


REFUSED = {
    "CLIP": (
        prefixed("visual.", LEARNER | {"conv2.weight": SOME, "bn2.weight": SOME}),
        "three convolutions at its beginning",
    ),
    "a deep beginning below a name": (
        prefixed("backbone.", timm.create_model("resnet18d").state_dict()),
        "three convolutions at its beginning",
    ),
    "a weight by its parametrization": (
        LEARNER | {"conv1.parametrizations.weight.original0": torch.zeros(1)},
        "conv1.parametrizations.weight.original0 is unexpected",
    ),
    "squeeze and excitation": (
        prefixed("encoder.", LEARNER | {"layer1.0.se.fc1.weight": torch.zeros(1)}),
        "layer1.0.se.fc1.weight is unexpected",
    ),
    "a bias": (LEARNER | {"conv1.bias": torch.zeros(64)}, "conv1.bias is unexpected"),
    "of another program's block": (
        in_sequence(LEARNER) | {"3.weight": torch.zeros(64)}, "3.weight is unexpected"
    ),
    "quantised": (
        LEARNER | {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int8)},
        "conv1.weight is int8, not float32",
    ),
    "complex": (
        LEARNER | {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)},
        "conv1.weight is missing",
    ),
    "a teacher of another size": (
        {"student": LEARNER, "teacher": weights(1, "resnet34")},
        r"a resnet18 \(student/\*\) and a resnet34 \(teacher/\*\)",
    ),
    "a learner of another kind": (
        {"model": weights(1, "resnet152"), "model_ema": AVERAGE}, "residual network of 3, 8, 36, 3",
    ),
    "two states of one network": (
        {"state_dict": LEARNER, "best_state_dict": AVERAGE}, "holds 2 ResNets",
    ),
    "domains": (
        prefixed("source_encoder.", LEARNER) | prefixed("target_encoder.", AVERAGE), "2 ResNets",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_network_is_refused(case, tmp_path):
    content, told = REFUSED[case]
    message = refusal(saved(tmp_path / "x.pth", content))
    assert re.search(told, message), message


@pytest.mark.parametrize("wrappers", [("", "module."), ("module.", ""), ("module.", "_orig_mod.")])
def test_two_networks_that_differ_by_a_wrapper_are_refused(wrappers, tmp_path):
    first, second = wrappers
    both = prefixed(first, LEARNER) | prefixed(second, weights(50))
    assert "holds 2 ResNets (*, " in refusal(saved(tmp_path / "x.pth", both))


def test_the_same_weights_twice_are_one_network(tmp_path):
    copied = {name: value.clone() for name, value in LEARNER.items()}
    both = prefixed("backbone.", LEARNER) | prefixed("encoder.", copied)
    read(saved(tmp_path / "x.pth", both), LEARNER)


def test_safetensors_of_a_pair(tmp_path):
    pair = prefixed("encoder.", LEARNER) | prefixed("encoder_ema.", AVERAGE)
    save_file({k: v.clone().contiguous() for k, v in pair.items()}, tmp_path / "x.safetensors")
    read(tmp_path / "x.safetensors", LEARNER, AVERAGE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["arrays", "columns first", "big-endian", "tensors"])
def test_plain_pickles(kind, protocol, tmp_path):
    make = {
        "arrays": lambda v: v.numpy().copy(),
        "columns first": lambda v: np.asfortranarray(v.numpy()),
        "big-endian": lambda v: v.numpy().astype(v.numpy().dtype.newbyteorder(">")),
        "tensors": lambda v: v.clone(),
    }[kind]
    rng = np.random.default_rng(0)
    ours = {
        k: torch.from_numpy(rng.random(v.shape, np.float32)) for k, v in LEARNER.items() if v.ndim
    }
    content = {
        "model": {k: make(v) for k, v in ours.items()},
        "args": argparse.Namespace(a=np.float64(1)),
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    found = read_checkpoint(tmp_path / "x.pkl").backbone()
    assert all(torch.equal(found[k], v) for k, v in ours.items())
