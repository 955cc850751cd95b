"""What `cyborgs run` chooses: settings by images and hardware, values over them, files of them."""

import re
from pathlib import Path

import pytest
import yaml

from cyborgs.config import parse_run
from cyborgs.config.choosing import LEAST_BATCH, Hardware, Images, choose
from cyborgs.config.commented import commented
from cyborgs.config.estimate import approximately, seconds_of
from cyborgs.config.overriding import nested, override, paths, read_settings, value_at

CPU = Hardware(cores=2)
H100 = Hardware(cores=16, memory=80_000_000_000)
SMALL_GPU = Hardware(cores=8, memory=8_000_000_000)

TABLE = [
    # images, hardware: architecture, crop, batch, rounds, epochs, K, block, rate, decay, shards
    (8, CPU, "resnet18", 128, 4, 3, 20, 32, "layer2.1", 4.0, 0.99, 1),
    (24, CPU, "resnet18", 128, 8, 3, 20, 32, "layer2.1", 4.0, 0.99, 2),
    (256, CPU, "resnet18", 128, 32, 3, 20, 32, "layer2.1", 4.0, 0.99, 2),
    (3_000, CPU, "resnet18", 128, 32, 3, 20, 32, "layer2.1", 2.0, 0.99, 8),
    (256, H100, "resnet50", 224, 32, 3, 20, 32, "layer2.2", 4.0, 0.99, 2),
    (3_000, H100, "resnet50", 224, 128, 3, 40, 64, "layer2.2", 2.0, 0.99, 8),
    (118_287, H100, "resnet50", 224, 512, 4, 50, 256, "layer2.2", 0.2, 0.996, 32),
    (118_287, SMALL_GPU, "resnet50", 224, 128, 4, 50, 256, "layer2.2", 0.2, 0.996, 32),
]


def checked(chosen, **more):
    return parse_run(chosen.settings | {"run": "x", "data": {"images": "x"}} | more)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} images, {row[1].cores} cores")
def test_settings_follow_from_images_and_hardware(row):
    count, hardware, *expected = row
    config = checked(choose(Images(count, 480, 640), hardware))
    assert expected == [
        config.model.architecture,
        config.views.crop,
        config.pretrain.batch_size,
        config.rounds,
        config.pretrain.epochs,
        config.bootstrap.clusters[1],
        config.bootstrap.block,
        config.pretrain.base_learning_rate,
        config.pretrain.ema.decay,
        config.shards,
    ]
    # One more round still learns.
    assert config.pretrain.schedule.horizon_epochs == (config.rounds + 1) * config.pretrain.epochs


@pytest.mark.parametrize("count", [8, 9, 31, 63, 64, 999, 1000, 29_999, 30_000, 10**7])
def test_every_number_of_images_gives_settings_that_are_accepted(count):
    for hardware in (CPU, H100, SMALL_GPU):
        config = checked(choose(Images(count, 480, 640), hardware))
        assert LEAST_BATCH <= config.pretrain.batch_size <= count / 2
        assert config.shards <= -(-count // config.bootstrap.group)


def test_a_lowered_batch_is_told_with_its_floor():
    lowered = choose(Images(24, 480, 640), CPU).lowered
    assert "8, not 32" in lowered["pretrain.batch_size"]
    assert "smallest batch is 4" in lowered["pretrain.batch_size"]
    assert choose(Images(64, 480, 640), CPU).lowered == {}


def test_too_few_images_are_refused(refused):
    with refused("data.images", "7 images", "at least 8", "batch of 4"):
        choose(Images(7, 480, 640), CPU)


@pytest.mark.parametrize(("short", "crop"), [(64, 64), (100, 96), (20, 32), (128, 128)])
def test_small_images_make_small_views(short, crop):
    chosen = choose(Images(100, short, 200), CPU)
    assert chosen.settings["views"]["crop"] == crop
    assert ("views.crop" in chosen.lowered) == (short < 128)


def test_large_images_are_shrunk():
    chosen = choose(Images(100, 3000, 4000), CPU)
    assert chosen.settings["data"] == {"short_side": 480}
    assert "data" not in choose(Images(100, 480, 640), CPU).settings


def test_what_is_given_is_followed():
    given = {"rounds": 5, "pretrain.epochs": 7, "model.architecture": "resnet50"}
    config = checked(choose(Images(256, 480, 640), CPU, given))
    assert (config.rounds, config.pretrain.epochs) == (5, 7)
    assert config.pretrain.schedule.horizon_epochs == 6 * 7
    assert config.bootstrap.block == "layer2.2"
    listed = choose(Images(256, 480, 640), CPU, {"rounds": 2, "pretrain.epochs": [3, 5]})
    assert listed.settings["pretrain"]["schedule"]["horizon_epochs"] == 3 + 5 + 5


def test_transformers_are_trained_by_adamw():
    given = {"model.architecture": "timm/vit_tiny_patch16_224"}
    config = checked(choose(Images(256, 480, 640), CPU, given))
    assert config.pretrain.adamw is not None
    assert config.pretrain.base_learning_rate == 1e-4
    assert config.bootstrap.block.startswith("blocks.")


def test_the_documented_table_is_the_programs():
    """The rows of docs/choosing.md on `cyborgs run`."""
    text = (Path(__file__).resolve().parents[1] / "docs/choosing.md").read_text()
    rows = re.findall(r"^\| (CPU|GPU), (\d+) images \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 6
    for device, count, cells in rows:
        chosen = choose(Images(int(count), 480, 640), CPU if device == "CPU" else H100)
        values = paths(chosen.settings)
        keys = (
            "model.architecture", "views.crop", "pretrain.batch_size", "rounds", "pretrain.epochs",
            "pretrain.base_learning_rate", "bootstrap.clusters",
        )  # fmt: skip
        assert cells.split(" | ") == [str(values[key]) for key in keys]


def test_values_are_read_from_flags_and_texts():
    flags = {"--rounds": ("rounds", 4), "--epochs": ("pretrain.epochs", None)}
    texts = ["views.crop=96", "bootstrap.clusters=[2, 8]", "data.list=null", "rounds=4"]
    assert read_settings(flags, texts) == {
        "rounds": 4, "views.crop": 96, "bootstrap.clusters": [2, 8], "data.list": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        (["rounds=5"], ["--rounds 4 and --set rounds=5", "leave one out"]),
        (["views.crop=96", "views.crop=64"], ["views.crop=96", "views.crop=64"]),
        (["views={}", "views.crop=64"], ["views={}", "views.crop=64"]),
        (["views.crop"], ["views.crop", "KEY=VALUE"]),
        (["=3"], ["KEY=VALUE"]),
        (["views..crop=3"], ["KEY=VALUE"]),
        (["views.crop=[1"], ["not YAML"]),
    ],
)
def test_values_that_cannot_be_are_refused(texts, parts, refused):
    with refused(*parts):
        read_settings({"--rounds": ("rounds", 4)}, texts)


def test_values_are_set_over_a_configuration():
    before = {"rounds": 3, "pretrain": {"schedule": {"kind": "cosine", "horizon_epochs": 9}}}
    after = override(before, {"pretrain.schedule.gamma": 0.5, "pretrain.schedule.kind": "step"})
    assert after == {"rounds": 3, "pretrain": {"schedule": {"kind": "step", "gamma": 0.5}}}
    assert before["pretrain"]["schedule"]["horizon_epochs"] == 9
    assert override(before, {"data.images": "x"})["data"] == {"images": "x"}
    assert nested(paths(before)) == before
    assert value_at(before, "pretrain.schedule.kind") == "cosine"
    assert value_at(before, "rounds.x") is None


def test_a_path_through_a_value_is_refused(refused):
    with refused("--set rounds.x", "no keys"):
        override({"rounds": 3}, {"rounds.x": 1})


@pytest.mark.parametrize("value", ["a: b", "é", "null", "1e3", "#", "[", "", "line\nbreak", 1e-4])
def test_commented_files_are_read_as_they_were_written(value):
    mapping = {"a": {"b": value, "c": [value]}, "d": {}, "e": None}
    text = commented(mapping, {"a": "why", "a.b": "because " * 30, "e": "none"})
    assert yaml.safe_load(text) == mapping
    assert "a: # why" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "10 s"), (52, "50 s"), (700, "12 min"), (5 * 3600, "5 h"), (3 * 86400, "3 days")],
)
def test_durations_are_rough(seconds, text):
    assert approximately(seconds) == text


def test_some_hundred_photographs_take_a_quarter_of_an_hour_on_two_cores():
    images = Images(256, 480, 640)
    seconds = seconds_of(checked(choose(images, CPU)), images, CPU, 14)
    assert 10 <= seconds / 60 <= 15


def test_estimates_follow_the_documented_speeds():
    """docs/choosing.md: COCO for 800 epochs takes 20 hours on one H100."""
    images = Images(118_287, 480, 640)
    config = checked(choose(images, H100, {"rounds": 8, "pretrain.epochs": 100}))
    assert seconds_of(config, images, H100, 300) / 3600 == pytest.approx(20, rel=0.25)
    unknown = checked(choose(images, CPU, {"model.architecture": "timm/vit_tiny_patch16_224"}))
    assert seconds_of(unknown, images, CPU, 10) is None
