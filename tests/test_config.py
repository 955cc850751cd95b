"""The configuration: what it refuses, in which words, and what it holds by default."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cyborgs.common.errors import InputError
from cyborgs.config import Config, load, parse, parse_run, read_scalars
from cyborgs.config.reading import RENAMED
from cyborgs.models.backbones import place_of

FILES = sorted((Path(__file__).resolve().parents[1] / "config").glob("*.yaml"))
IMAGES = {"data": {"images": "photos"}}


def merged(*mappings):
    """Mappings joined section by section."""
    result = {}
    for mapping in mappings:
        for key, value in mapping.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"modle": {}}, "config: modle: unknown key; did you mean 'model'? (allowed: run, seed, "),
        (
            {"model": {"hiden": 3}},
            "config: model.hiden: unknown key; did you mean 'hidden'? "
            "(allowed: architecture, hidden, projection, pooled, weights)",
        ),
        (
            {"data": {"scenes": {"image": 3}}},
            "config: data.scenes.image: unknown key; did you mean 'images'? "
            "(allowed: images, seed, height, width)",
        ),
        (
            {"pretrain": {"lars": {"weight_decy": 1}}},
            "config: pretrain.lars.weight_decy: unknown key; did you mean 'weight_decay'? "
            "(allowed: momentum, weight_decay, trust_coefficient)",
        ),
        (
            {"pretrain": {"schedule": {"kind": "step", "final_learning_rate": 0}}},
            "config: pretrain.schedule.final_learning_rate: unknown key "
            "(allowed: kind, warmup_epochs, warmup_divisor, milestones, gamma)",
        ),
        (
            {"seed_masks": {"kind": "grid", "cell": 3}},
            "config: seed_masks.cell: unknown key; did you mean 'cells'? "
            "(allowed: kind, stride, cells)",
        ),
        (
            {"seed_masks": {"kind": "ground-truth", "annotations": "x"}},
            "config: seed_masks.annotations: unknown key (allowed: kind, stride)",
        ),
        ({"compute": {"xyz": 1}}, "config: compute.xyz: unknown key (allowed: device, processes, "),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value),
)
def test_an_unknown_key_is_named_with_its_path_and_what_is_allowed(mapping, message, refused):
    with refused(message):
        parse(mapping)


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        ({"rounds": "three"}, ["config: rounds: ", "integer", "'three'"]),
        ({"rounds": True}, ["config: rounds: ", "integer"]),
        ({"rounds": 2.0}, ["config: rounds: ", "integer", "2.0"]),
        ({"rounds": 0}, ["config: rounds: ", "greater than or equal to 1"]),
        ({"seed": -1}, ["config: seed: ", "greater than or equal to 0"]),
        ({"run": "a/b"}, ["config: run: ", "'a/b'"]),
        ({"run": 7}, ["config: run: ", "string"]),
        ({"model": 5}, ["config: model: ", "5"]),
        (
            {"model": {"architecture": "resnet51"}},
            ["config: model.architecture: architecture resnet51 is unknown", "resnet50"],
        ),
        ({"seed_masks": {"kind": "gird"}}, ["config: seed_masks: ", "'gird'", "'grid'"]),
        ({"seed_masks": {"cells": 3}}, ["config: seed_masks: ", "'kind'"]),
        ({"seed_masks": {"kind": "file"}}, ["config: seed_masks.masks: ", "required"]),
        ({"seed_masks": {"kind": "grid", "cells": 0}}, ["config: seed_masks.cells: "]),
        ({"seed_masks": {"kind": "slic", "n_segments": 0}}, ["config: seed_masks.n_segments: "]),
        (
            {"seed_masks": {"kind": "slic", "n_segments": 65537}},
            ["config: seed_masks.n_segments: ", "65536"],
        ),
        ({"seed_masks": {"kind": "slic", "compactness": 0}}, ["config: seed_masks.compactness: "]),
        ({"seed_masks": {"kind": "slic", "scale": 1}}, ["config: seed_masks.scale: unknown key"]),
        ({"views": {"flip": 1.5}}, ["config: views.flip: ", "less than or equal to 1"]),
        ({"views": {"flip": float("nan")}}, ["config: views.flip: "]),
        ({"views": {"area": [0.5]}}, ["config: views.area: ", "2 items"]),
        ({"views": {"area": [0.5, 0.2]}}, ["config: views: ", "'area'", "low <= high"]),
        ({"views": {"area": [0, 0.2]}}, ["config: views: ", "'area'", "0 < low"]),
        ({"views": {"ratio": [2, 1]}}, ["config: views: ", "'ratio'"]),
        ({"views": {"blur_sigma": [2, 1]}}, ["config: views: ", "'blur_sigma'"]),
        ({"views": {"blur_kernel": 22}}, ["config: views: ", "'blur_kernel' must be odd"]),
        ({"views": {"blur": [1.0]}}, ["config: views.blur: "]),
        (
            {"pretrain": {"base_learning_rate": "fast"}},
            ["config: pretrain.base_learning_rate: ", "'fast'"],
        ),
        (
            {"pretrain": {"base_learning_rate": float("inf")}},
            ["config: pretrain.base_learning_rate: "],
        ),
        (
            {"pretrain": {"objective": {"kind": "detcon-b", "temperature": 0}}},
            ["config: pretrain.objective.temperature: ", "greater than 0"],
        ),
        ({"pretrain": {"objective": {"kind": "simclr"}}}, ["config: pretrain.objective: "]),
        ({"pretrain": {"batch_size": 1}}, ["config: pretrain.batch_size: "]),
        (
            {"pretrain": {"sgd": {"trust_coefficient": 1}}},
            ["config: pretrain.sgd.trust_coefficient: ", "unknown key"],
        ),
        (
            {"pretrain": {"sgd": {}, "lars": {"trust_coefficient": 1}}},
            ["config: pretrain: ", "'lars' and 'sgd' are set together"],
        ),
        (
            {"pretrain": {"schedule": {"kind": "step", "warmup_divisor": 0.5}}},
            ["config: pretrain.schedule.warmup_divisor: ", "greater than or equal to 1"],
        ),
        (
            {"bootstrap": {"exact": True, "sample": 9, "tolerance": 0.5}},
            ["config: bootstrap: ", "'exact' is true", "'sample', 'tolerance' would have no"],
        ),
        ({"pretrain": {"epochs": 0}}, ["config: pretrain: ", "'epochs'", "at least 1"]),
        ({"pretrain": {"epochs": []}}, ["config: pretrain: ", "'epochs'"]),
        ({"pretrain": {"epochs": [3, 0]}}, ["config: pretrain: ", "'epochs'"]),
        (
            {"pretrain": {"schedule": {"kind": "step", "milestones": [30, 20]}}},
            ["config: pretrain.schedule: ", "'milestones' must be in ascending order"],
        ),
        (
            {"pretrain": {"schedule": {"kind": "step", "milestones": [5]}}},
            ["config: pretrain.schedule: ", "'milestones'", "'warmup_epochs'"],
        ),
        (
            {"pretrain": {"schedule": {"kind": "cosine", "horizon_epochs": 10}}},
            ["config: pretrain.schedule: ", "'horizon_epochs'", "'warmup_epochs'"],
        ),
        (
            {"pretrain": {"schedule": {"kind": "cosine"}}},
            ["config: pretrain.schedule.horizon_epochs: ", "required"],
        ),
        ({"pretrain": {"vmf": {"weight": -1}}}, ["config: pretrain.vmf.weight: "]),
        ({"pretrain": {"vmf": {"weight": 1, "every": 0}}}, ["config: pretrain.vmf.every: "]),
        (
            {"pretrain": {"vmf": {"weight": 1, "clusters": [1, 4]}}},
            ["config: pretrain.vmf: ", "'clusters'", "2 <= low <= high", "[1, 4]"],
        ),
        (
            {"pretrain": {"vmf": {"weight": 1, "clusters": [9, 8]}}},
            ["config: pretrain.vmf: ", "'clusters'", "[9, 8]"],
        ),
        (
            {"pretrain": {"vmf": {"clusters": [2, 8], "every": 5}}},
            ["config: pretrain.vmf: 'weight' is 0, so 'every', 'clusters' would have no ef"],
        ),
        ({"bootstrap": {"clusters": [5, 4]}}, ["config: bootstrap: ", "'clusters'", "[5, 4]"]),
        ({"bootstrap": {"clusters": [0, 4]}}, ["config: bootstrap: ", "'clusters'"]),
        ({"bootstrap": {"clusters": [2, 65537]}}, ["config: bootstrap: ", "65536"]),
        ({"quality": {"clusters": [8, 8]}}, ["config: quality: ", "twice"]),
        ({"quality": {"clusters": [0]}}, ["config: quality: ", "65536"]),
        ({"data": {}}, ["config: data: ", "'images'", "'scenes'"]),
        ({"data": {"images": "a", "scenes": {}}}, ["config: data: ", "'images'", "'scenes'"]),
        ({"data": {"scenes": {}, "annotations": "a"}}, ["config: data: ", "'annotations'"]),
        ([], ["config: must be a mapping"]),
        (None, ["config: must be a mapping"]),
    ],
    ids=lambda value: "" if isinstance(value, list) and value else json.dumps(value),
)
def test_a_value_that_cannot_be_is_named_with_its_path(mapping, parts, refused):
    with refused(*parts):
        parse(mapping)


def test_every_mistake_has_a_line():
    with pytest.raises(InputError) as caught:
        parse({"rounds": "x", "views": {"flip": 2, "flop": 1}})
    lines = str(caught.value).splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == ["rounds", "views.flip", "views.flop"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "data: missing; give data.images (a folder) or data.scenes"),
        (
            IMAGES | {"bootstrap": {"block": "layer2.4"}},
            "bootstrap.block: resnet50 has no block layer2.4; layer2 ends with layer2.3",
        ),
        (
            IMAGES | {"views": {"crop": 100}},
            "views.crop: 100 is not a multiple of 32, the stride of the backbone's last pooled "
            "stage; take 96 or 128",
        ),
        (
            IMAGES | {"bootstrap": {"block": "layer5.0"}},
            "bootstrap.block: resnet50 has no block layer5.0; its stages are layer1, layer2, "
            "layer3, layer4",
        ),
        (
            IMAGES | {"model": {"architecture": "resnet18"}},
            "bootstrap.block: resnet18 has no block layer2.2; layer2 ends with layer2.1",
        ),
        (
            IMAGES | {"rounds": 3, "pretrain": {"epochs": [5, 6]}},
            "pretrain.epochs: lists 2 rounds, rounds is 3",
        ),
        (
            IMAGES | {"pretrain": {"batch_size": 100}, "compute": {"processes": 8}},
            "pretrain.batch_size: 100 is not a multiple of compute.processes 8",
        ),
        (
            IMAGES
            | {
                "pretrain": {"batch_size": 128},
                "compute": {"processes": 8, "nodes": 4},
                "downstream": {"evaluations": ["voc_svm", "voc_detection"]},
            },
            "downstream.voc_detection.batch_size: 16 is not a multiple of compute.processes 8 on 4 "
            "nodes",
        ),
        (
            IMAGES | {"seed_masks": {"kind": "ground-truth"}},
            "seed_masks.kind: ground-truth needs data.annotations",
        ),
        (
            IMAGES
            | {
                "views": {"crop": 64},
                "pretrain": {"batch_size": 31, "vmf": {"weight": 1}},
            },
            "pretrain.vmf.clusters: up to 256 clusters, but a step has 248 locations: 2 views of "
            "31 images (pretrain.batch_size) with 2 x 2 cells (views.crop / 32)",
        ),
        (
            IMAGES | {"rounds": 2, "pretrain": {"epochs": 4, "vmf": {"weight": 1, "every": 9}}},
            "pretrain.vmf.every: 9, but all rounds together have 8 epochs",
        ),
        (
            IMAGES
            | {"rounds": 2, "pretrain": {"epochs": [4, 3], "vmf": {"weight": 1, "every": 8}}},
            "pretrain.vmf.every: 8, but all rounds together have 7 epochs",
        ),
        (
            IMAGES | {"seed_masks": {"kind": "global"}, "pretrain": {"scramble_masks": True}},
            "pretrain.scramble_masks: seed_masks.kind: global makes one mask an image, so there is "
            "nothing to permute",
        ),
        (
            IMAGES
            | {"seed_masks": {"kind": "grid", "cells": 1}, "pretrain": {"scramble_masks": True}},
            "pretrain.scramble_masks: seed_masks.cells: 1 makes one mask an image",
        ),
        (
            IMAGES | {"views": {"crop": 32}, "pretrain": {"scramble_masks": True}},
            "pretrain.scramble_masks: views.crop (32 pixels) makes one cell a view",
        ),
        (
            IMAGES | {"bootstrap": {"clusters": [1, 1]}, "pretrain": {"scramble_masks": True}},
            "pretrain.scramble_masks: bootstrap.clusters: [1, 1] makes one mask an image",
        ),
        (
            {"data": {"scenes": {"images": 127}}},
            "pretrain.batch_size: 128 images a step, but data.scenes.images has only 127",
        ),
        (
            {"data": {"scenes": {"images": 128}}, "shards": 9},
            "shards: 9 shards, but data.scenes.images has only 128 images, "
            "which make 8 groups of 16",
        ),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_sections_that_do_not_fit_together_are_refused(mapping, message, refused):
    parse(mapping)  # no section is wrong by itself
    with refused(f"config: {message}"):
        parse_run(mapping)


@pytest.mark.parametrize(
    "mapping",
    [
        IMAGES,
        {"data": {"scenes": {"images": 128}}, "shards": 8},
        IMAGES | {"model": {"architecture": "resnet101"}, "bootstrap": {"block": "layer3.22"}},
        IMAGES | {"rounds": 2, "pretrain": {"epochs": [5, 6]}},
        IMAGES | {"pretrain": {"batch_size": 96}, "compute": {"processes": 8}},
        {
            "data": {"images": "photos", "annotations": "a.json"},
            "seed_masks": {"kind": "ground-truth"},
        },
        {"data": {"scenes": {}}, "seed_masks": {"kind": "ground-truth"}},
        IMAGES | {"seed_masks": {"kind": "global"}},
        IMAGES
        | {"views": {"crop": 64}, "pretrain": {"batch_size": 32, "vmf": {"weight": 1, "every": 8}}},
        IMAGES | {"rounds": 2, "pretrain": {"epochs": 4, "vmf": {"weight": 1, "every": 8}}},
        IMAGES
        | {"rounds": 1, "bootstrap": {"clusters": [1, 1]}}
        | {"pretrain": {"scramble_masks": True}},
    ],
    ids=json.dumps,
)
def test_what_just_fits_together_is_accepted(mapping):
    assert parse_run(mapping).data is not None


def test_conflicts_are_reported_all_at_once():
    with pytest.raises(InputError) as caught:
        parse_run(
            {
                "data": {"scenes": {"images": 3}},
                "rounds": 1,
                "bootstrap": {"block": "layer1.7"},
                "pretrain": {"epochs": [1, 2], "batch_size": 9},
                "compute": {"processes": 2},
            }
        )
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize(
    ("architecture", "last"),
    [
        ("resnet18", "layer2.1"),
        ("resnet34", "layer3.5"),
        ("resnet50", "layer4.2"),
        ("resnet101", "layer3.22"),
        ("wide_resnet50_2", "layer1.2"),
        ("wide_resnet101_2", "layer2.3"),
    ],
)
def test_blocks_end_where_the_architecture_does(architecture, last, refused):
    place_of(architecture, last)
    layer, index = last.split(".")
    beyond = f"{layer}.{int(index) + 1}"
    with refused(architecture, beyond, f"ends with {last}"):
        place_of(architecture, beyond)


PUBLISHED = {
    "rounds": 8,
    "model.architecture": "resnet50",
    "model.hidden": 4096,
    "model.projection": 256,
    "seed_masks.kind": "felzenszwalb",
    "seed_masks.scale": 1000,
    "seed_masks.min_size": 1000,
    "seed_masks.short_side": None,
    "views.crop": 224,
    "views.area": [0.08, 1],
    "views.ratio": [3 / 4, 4 / 3],
    "views.flip": 0.5,
    "views.jitter": 0.8,
    "views.colour": "published",
    "views.brightness": 0.4,
    "views.contrast": 0.4,
    "views.saturation": 0.2,
    "views.hue": 0.1,
    "views.greyscale": 0.2,
    "views.blur": [1.0, 0.1],
    "views.blur_kernel": 23,
    "views.blur_sigma": [0.1, 2.0],
    "views.solarise": [0.0, 0.2],
    "pretrain.epochs": 100,
    "pretrain.batch_size": 128,
    "pretrain.masks": 16,
    "pretrain.objective.temperature": 0.1,
    "pretrain.objective.local_negatives": True,
    "pretrain.scramble_masks": False,
    "pretrain.vmf.weight": 0,
    "pretrain.vmf.temperature": 0.1,
    "pretrain.vmf.iterations": 20,
    "pretrain.base_learning_rate": 0.2,
    "pretrain.schedule.kind": "step",
    "pretrain.schedule.warmup_epochs": 10,
    "pretrain.schedule.warmup_divisor": 100,
    "pretrain.schedule.milestones": [768, 784],
    "pretrain.schedule.gamma": 0.1,
    "pretrain.lars.momentum": 0.9,
    "pretrain.lars.weight_decay": 1.5e-6,
    "pretrain.lars.trust_coefficient": 1e-3,
    "pretrain.sgd": None,
    "pretrain.ema.decay": 0.996,
    "pretrain.ema.horizon_epochs": None,
    "pretrain.precision": "float32",
    "bootstrap.block": "layer2.2",
    "bootstrap.group": 16,
    "bootstrap.clusters": [2, 256],
    "bootstrap.iterations": 20,
    "bootstrap.exact": True,
    "bootstrap.precision": "float32",
}


# What we do otherwise by default, and the reason.
OURS = {
    "views.colour": "detcon-like",  # theirs is a mistake
    "pretrain.precision": "auto",
    "bootstrap.precision": "auto",
    "bootstrap.exact": False,  # for speed
}


def shipped(name):
    return next(load(str(path)) for path in FILES if path.name == name)


def values(config):
    """Every value by its key."""

    def flat(section, path):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from flat(value, f"{path}{key}.")
            else:
                yield path + key, value

    return dict(flat(config.model_dump(), ""))


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_published_recipe_is_that_of_its_file_and_the_default_but_for_few(key):
    assert values(shipped("coco-published.yaml"))[key] == PUBLISHED[key]
    if key != "seed_masks.short_side":
        assert values(Config())[key] == OURS.get(key, PUBLISHED[key])


def test_the_file_that_we_recommend_departs_from_the_published_one_where_its_head_says():
    ours, published = values(shipped("coco.yaml")), values(shipped("coco-published.yaml"))
    assert ours.keys() == published.keys()
    differing = {key: ours[key] for key in ours if ours[key] != published[key]}
    placed = {key for key in differing if key.startswith(("compute.", "run", "shards"))}
    assert {k: v for k, v in differing.items() if k not in placed} == OURS | {
        "pretrain.batch_size": 128 * ours["compute.processes"]
    }


def test_the_published_batch_is_16_on_each_gpu():
    config = shipped("coco-published.yaml")
    assert config.pretrain.batch_size == 16 * config.compute.processes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_that_come_with_the_program_are_accepted(path):
    config = parse_run(yaml.safe_load(path.read_text()))
    assert load(str(path)) == config


def test_records_leave_later_keys_out_while_they_are_at_their_defaults():
    """Else a round under way would begin anew with the program's next version."""
    views, pretrain = Config().views.model_dump(), Config().pretrain.model_dump()
    del views["colour"], pretrain["schedule"]["warmup_divisor"]
    for key in ("adamw", "fixed_masks", "scramble_masks", "sgd", "vmf", "objective"):
        del pretrain[key]
    pretrain |= {"temperature": 0.1, "local_negatives": True}
    assert Config().views.recorded() == views
    assert list(Config().views.recorded()) == list(views)
    assert Config().pretrain.recorded() == pretrain
    assert list(Config().pretrain.recorded()) == [
        *("epochs", "batch_size", "masks", "temperature", "local_negatives"),
        *("base_learning_rate", "schedule", "lars", "ema", "precision"),
    ]
    later = {
        "fixed_masks": True,
        "scramble_masks": True,
        "sgd": {},
        "vmf": {"weight": 1},
        "schedule": {"kind": "cosine", "horizon_epochs": 30, "warmup_divisor": 1},
    }
    chosen = parse({"views": {"colour": "published"}, "pretrain": later})
    assert chosen.views.recorded() == chosen.views.model_dump()
    whole = chosen.pretrain.model_dump() | {"temperature": 0.1, "local_negatives": True}
    del whole["objective"], whole["adamw"]
    assert chosen.pretrain.recorded() == whole


SECTIONS = (
    {"run": "a-1", "seed": 5, "rounds": 3, "shards": 2},
    {"data": {"scenes": {}}},
    {"data": {"images": 'a "b"\nü', "annotations": "x.json"}},
    {"model": {"architecture": "resnet18", "weights": "w.pth"}},
    {"seed_masks": {"kind": "felzenszwalb", "short_side": None, "sigma": 0}},
    {"seed_masks": {"kind": "felzenszwalb"}},
    {"seed_masks": {"kind": "slic", "n_segments": 50, "compactness": 1, "short_side": 224}},
    {"seed_masks": {"kind": "slic"}},
    {"seed_masks": {"kind": "grid", "cells": 3}},
    {"seed_masks": {"kind": "grid"}},
    {"seed_masks": {"kind": "features"}},
    {"seed_masks": {"kind": "ground-truth", "stride": 4}},
    {"seed_masks": {"kind": "global"}},
    {"seed_masks": {"kind": "file", "masks": "a/shard-*.h5"}},
    {"views": {"area": [0.2, 0.9], "crop": 64}},
    {"views": {"colour": "published"}},
    {
        "pretrain": {
            "schedule": {"kind": "cosine", "horizon_epochs": 30},
            "lars": {"trust_coefficient": 1},
        }
    },
    {"pretrain": {"schedule": {"kind": "step", "milestones": []}, "epochs": [1, 2, 3]}},
    {"pretrain": {"objective": {"kind": "detcon-b", "temperature": 0.2}}},
    {"pretrain": {"sgd": {}}},
    {"pretrain": {"sgd": {"momentum": 0.5}, "schedule": {"kind": "step", "warmup_divisor": 2}}},
    {"pretrain": {"ema": {"decay": 0.99, "horizon_epochs": 40}}},
    {"pretrain": {"scramble_masks": True}},
    {"pretrain": {"vmf": {"weight": 0.5, "every": 2, "clusters": [2, 8]}}},
    {"bootstrap": {"clusters": [3, 3]}, "quality": {"clusters": []}, "compute": {"workers": 0}},
    {"downstream": {"evaluations": ["objects"], "seeds": 5, "objects": {"test": 0.5}}},
    {"downstream": {"voc_detection": {"schedule": "short", "iterations": 24000}}},
)


@pytest.mark.parametrize("mapping", SECTIONS, ids=json.dumps)
def test_chosen_sections_read_back_as_they_were(mapping):
    config = parse(mapping)
    text = config.only(*mapping)
    assert "\n" not in text
    assert parse(json.loads(text)) == config
    assert load(text) == config
    assert load("  " + text) == config


def test_sections_that_were_not_chosen_are_left_out():
    config = parse({"seed": 4, "rounds": 3, "views": {"crop": 64}, "model": {"hidden": 7}})
    assert json.loads(config.only("seed", "views", "bootstrap")) == {
        "seed": 4,
        "views": {"crop": 64},
    }


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "1.0e-6", "10.e-7", "+1e-6"])
def test_numbers_that_yaml_takes_for_text_are_numbers(text):
    content = yaml.safe_load(
        f"pretrain: {{base_learning_rate: {text}, lars: {{weight_decay: {text}}}}}"
    )
    pretrain = parse(content).pretrain
    assert pretrain.base_learning_rate == pytest.approx(1e-6)
    assert pretrain.lars.weight_decay == pytest.approx(1e-6)


def test_yaml_does_take_some_numbers_for_text():
    assert yaml.safe_load("1e-6") == "1e-6"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3),
        ("-2", -2),
        ("0.5", 0.5),
        ("1.5e-6", 1.5e-6),
        ("true", True),
        ("null", None),
        ("resnet18", "resnet18"),
        ("layer2.2", "layer2.2"),
        ("a: b", "a: b"),
        ("[1, 2]", "[1, 2]"),
        ("{", "{"),
        ("2020-01-01", "2020-01-01"),
        (4, 4),
        (None, None),
        ({"a": {"b": "7"}, "c": ["1", "x", ["2"]]}, {"a": {"b": 7}, "c": [1, "x", [2]]}),
    ],
)
def test_text_of_scalars_is_read_as_yaml_does(value, expected):
    found = read_scalars(value)
    assert found == expected
    assert type(found) is type(expected)


def test_what_snakemake_leaves_as_text_is_accepted():
    given = {"rounds": "2", "pretrain": {"epochs": ["5", "6"], "base_learning_rate": "1e-1"}}
    config = parse_run(merged(IMAGES, read_scalars(given)))
    assert config.rounds == 2
    assert config.pretrain.epochs == [5, 6]
    assert config.pretrain.base_learning_rate == 0.1


def test_epochs_of_a_round(refused):
    config = parse({"pretrain": {"epochs": [5, 7], "masks": 4}})
    assert [config.for_round(r).pretrain.epochs for r in (1, 2)] == [5, 7]
    assert config.for_round(2).pretrain.masks == 4
    with refused("pretrain.epochs lists 2 rounds; round 3 has no entry"):
        config.for_round(3)
    assert parse({"pretrain": {"epochs": 9}}).for_round(50).pretrain.epochs == 9


def test_a_later_rounds_epochs_do_not_change_an_earlier_round():
    short, long = (parse({"pretrain": {"epochs": epochs}}) for epochs in ([5, 7], [5, 7, 9]))
    assert short.for_round(2).only("pretrain") == long.for_round(2).only("pretrain")


def test_a_fixed_k_is_drawn_from_a_range_of_one():
    config = parse({"shards": 4, "bootstrap": {"group": 3}}).at_fixed_k(8)
    assert (config.shards, config.bootstrap.clusters, config.bootstrap.group) == (1, [8, 8], 3)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("views: [1", ["is not YAML", "line 1"]),
        ("a:\n\tb: 1", ["is not YAML"]),
        (b"\xff\xfe\x00", ["is not YAML"]),
        ("", ["config: must be a mapping"]),
        ("- 1", ["config: must be a mapping"]),
        ("rounds: 3", ["config: data: missing"]),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, parts, refused):
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(*parts):
        load(str(path))


def test_a_missing_file_and_broken_json_are_named(tmp_path, refused):
    with refused("--config: ", "nothing.yaml does not exist"):
        load(str(tmp_path / "nothing.yaml"))
    with refused("--config: not JSON"):
        load('{"rounds": }')


def test_the_configuration_is_read_without_heavy_libraries():
    code = (
        "import sys, cyborgs.config as c\n"
        "c.parse_run({'data': {'scenes': {}}})\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'h5py', 'faiss') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_an_unknown_key_may_be_named_like_a_kind():
    for mapping, where in [
        ({"grid": 1}, "config: grid: unknown key"),
        ({"pretrain": {"step": 3}}, "config: pretrain.step: unknown key"),
        ({"seed_masks": {"kind": "grid", "file": "x"}}, "config: seed_masks.file: unknown key"),
        ({"pretrain": {"schedule": {"kind": "step", "cosine": 1}}}, "pretrain.schedule.cosine: un"),
    ]:
        with pytest.raises(InputError, match=where):
            parse(mapping)


class TestKeysThatChangedTheirName:
    def test_they_are_read_by_the_old_name_and_the_new_one_is_said(self, capsys):
        found = parse({"pretrain": {"temperature": 0.2, "local_negatives": False}})
        new = {"kind": "detcon-b", "temperature": 0.2, "local_negatives": False}
        assert found == parse({"pretrain": {"objective": new}})
        assert "pretrain.temperature is now called pretrain.objective.temperature" in (
            capsys.readouterr().err
        )

    def test_new_names_say_nothing(self, capsys):
        parse({"pretrain": {"objective": {"kind": "detcon-b", "temperature": 0.2}}})
        assert capsys.readouterr().err == ""

    def test_the_mapping_that_was_given_stays_as_it_is(self):
        given = {"pretrain": {"temperature": 0.2}}
        parse(given)
        assert given == {"pretrain": {"temperature": 0.2}}

    @pytest.mark.parametrize(
        ("objective", "said"),
        [
            ({"kind": "detcon-b", "temperature": 0.3}, "which is also set; remove"),
            ("detcon-b", "objective is set to 'detcon-b'"),
        ],
    )
    def test_both_names_are_refused(self, objective, said):
        with pytest.raises(InputError, match=said):
            parse({"pretrain": {"temperature": 0.2, "objective": objective}})

    def test_a_wrong_value_is_told_by_the_new_name(self):
        with pytest.raises(InputError, match=r"config: pretrain\.objective\.temperature: "):
            parse({"pretrain": {"temperature": 0}})


def test_the_record_of_a_training_is_as_it_was_before_there_were_objectives():
    record = parse({"pretrain": {"temperature": 0.2}}).pretrain.recorded()
    assert (record["temperature"], record["local_negatives"]) == (0.2, True)
    assert "objective" not in record


def test_every_old_name_leads_to_a_key_that_is_there():
    schema = Config.model_json_schema()

    def keys(node):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        options = [option for name in ("anyOf", "oneOf") for option in node.get(name, [])]
        found = dict(node.get("properties", {}))
        for option in options:
            found |= keys(option)
        return found

    for old, (new, _) in RENAMED.items():
        found = keys(schema)
        *sections, key = new.split(".")
        for name in sections:
            found = keys(found[name])
        assert key in found, new
        assert old != new


def test_a_learning_rate_is_read_by_its_old_name(capsys):
    old = {"imagenet_linear": {"rate": 0.1}, "coco_instances": {"rate": 0.2}}
    given = parse({"pretrain": {"base_rate": 3, "lars": {"trust": 0.1}}, "downstream": old})
    assert (given.pretrain.base_learning_rate, given.pretrain.lars.trust_coefficient) == (3, 0.1)
    assert given.downstream.imagenet_linear.learning_rate == 0.1
    assert capsys.readouterr().err.count("is now called") == 4
