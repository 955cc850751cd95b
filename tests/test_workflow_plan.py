"""What the workflow would do, and what it refuses before it does anything."""

import json
import os
import shlex

import pytest
import torch
import torchvision
import yaml

from cyborgs.images.index import read_index
from tests.runs import LISTED, REPOSITORY, changed, planned, snakemake


@pytest.mark.parametrize(
    "name", ["config.yaml", "coco.yaml", "coco-published.yaml", "coco-small.yaml"]
)
def test_shipped_configurations_plan_every_round(tmp_path, name):
    config = yaml.safe_load((REPOSITORY / "config" / name).read_text())
    for key in ("images", "annotations"):
        if key in config["data"]:
            config["data"][key] = str(tmp_path / key)
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").touch()
    for i in range(config["pretrain"]["batch_size"]):
        (tmp_path / "images" / f"{i}.jpg").touch()
    jobs = planned(tmp_path, config=config)
    assert jobs["pretrain"] == config["rounds"]
    assert jobs["bootstrap"] == (config["rounds"] - 1) * config["shards"]
    assert jobs["seed_masks"] == config["shards"]
    more = planned(tmp_path, "masks", config=config)
    assert more["bootstrap"] == config["rounds"] * config["shards"]


def test_exact_clustering_without_faiss_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'faiss' else found(name, *a)\n"
    )
    result = snakemake(
        tmp_path, "--dry-run", config=changed(bootstrap={"exact": True}), check=False,
        environment={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
    )  # fmt: skip
    assert result.returncode != 0
    assert "config: bootstrap.exact: needs FAISS, which is not installed" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results").exists()


def test_a_workstation_hands_out_its_gpus(tmp_path):
    config = changed(compute={"device": "cuda", "processes": 2})
    profile = ("--workflow-profile", REPOSITORY / "workflow/profiles/workstation")
    output = snakemake(tmp_path, *LISTED, *profile, config=config).stdout
    blocks = {block.split(":")[0]: block for block in output.split("\nrule ")}
    assert "gpu=2" in blocks["pretrain"]
    assert "gpu=1" in blocks["bootstrap"]
    assert "gpu=" not in blocks["export"]


def test_the_configuration_is_checked_before_anything_runs(tmp_path):
    result = snakemake(tmp_path, config=changed(pretrain={"epoch": 3}), check=False)
    assert result.returncode != 0
    assert "config: pretrain.epoch: unknown key; did you mean 'epochs'?" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results").exists()


def test_values_from_the_command_line_are_checked_too(tmp_path):
    arguments = ("--dry-run", "--config", 'pretrain={"epochs": 2, "precision": "half"}')
    result = snakemake(tmp_path, *arguments, check=False)
    assert (
        "config: pretrain.precision: input should be 'auto', 'float32', 'tf32', 'bfloat16' or "
        "'float16'" in result.stdout
    )
    assert "epochs" not in result.stdout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, r"data.images: folder photos does not exist"),
        (lambda f: f.mkdir(), r"data.images: folder photos holds no images"),
        (
            lambda f: (f.mkdir(), (f / "a.jpg").touch()),
            r"pretrain.batch_size: 4 images a step, but data.images: photos holds only 1",
        ),
    ],
)
def test_a_folder_without_enough_images_is_refused_at_once(tmp_path, make, message):
    make(tmp_path / "photos")
    config = changed() | {"data": {"images": "photos"}}
    result = snakemake(tmp_path, config=config, check=False)
    assert result.returncode != 0
    assert message in result.stdout
    assert not (tmp_path / "results").exists()


def test_evaluations_need_annotations(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(8):
        (tmp_path / f"photos/{i}.jpg").touch()
    downstream = {"evaluations": ["objects"]}
    config = changed() | {"data": {"images": "photos"}, "downstream": downstream}
    result = snakemake(tmp_path, config=config, check=False)
    assert result.returncode != 0
    assert "downstream.evaluations: objects needs data.annotations" in result.stdout


def test_an_evaluation_is_named_once(tmp_path):
    config = changed() | {"downstream": {"evaluations": ["objects", "objects"]}}
    result = snakemake(tmp_path, config=config, check=False)
    assert result.returncode != 0
    assert "config: downstream: 'evaluations' lists an evaluation twice" in result.stdout


def test_weights_of_imagenet_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    downstream = {"evaluations": ["objects"], "objects": {"backbones": ["imagenet"]}}
    result = snakemake(tmp_path, config=changed() | {"downstream": downstream}, check=False)
    assert result.returncode != 0
    assert (
        "hub/checkpoints/resnet18-f37072fd.pth; `cyborgs data weights resnet18` fetches them"
    ) in result.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_weights_of_another_architecture_are_found_at_once(tmp_path):
    weights = torchvision.models.resnet34(weights=None).state_dict()
    torch.save(weights, tmp_path / "theirs.pth")
    config = changed(model={"weights": "theirs.pth"})
    result = snakemake(tmp_path, "--dry-run", config=config, check=False)
    assert result.returncode != 0
    assert (
        "model.weights: theirs.pth holds a resnet34 (torchvision or timm), not a resnet18; set "
        "model.architecture to resnet34"
    ) in result.stdout
    (tmp_path / "theirs.pth").unlink()
    result = snakemake(tmp_path, "--dry-run", config=config, check=False)
    assert "model.weights: theirs.pth does not exist" in result.stdout
    config["model"]["architecture"] = "resnet34"
    torch.save(weights, tmp_path / "theirs.pth")
    assert planned(tmp_path, config=config)["seed_state"] == 1


def test_data_sets_of_evaluations_must_be_there(tmp_path):
    names = ["voc_svm", "coco_instances"]
    config = changed() | {"downstream": {"evaluations": names, "datasets": "sets"}}
    result = snakemake(tmp_path, config=config, check=False)
    assert result.returncode != 0
    for needed in (
        "voc_svm: sets/VOC2007/ImageSets/Main/test.txt",
        "coco_instances: sets/coco/train",
    ):
        assert f"downstream.{needed}" in result.stdout
    assert "`cyborgs data download coco` fetches it" in result.stdout
    # Where PASCAL's own archives unpack to.
    (tmp_path / "sets/VOCdevkit/VOC2007/JPEGImages").mkdir(parents=True)
    result = snakemake(tmp_path, config=config, check=False)
    assert "it is in sets/VOCdevkit: set downstream.datasets to that" in result.stdout
    assert not (tmp_path / "results").exists()


@pytest.fixture
def odd(tmp_path, write_image):
    """Images and what is beside them, in paths that Snakemake could take for patterns."""
    folder = tmp_path / "My 'Photos' {2024}, {round}"
    for number in range(6):
        write_image(folder / f"{{shard}}/{number}.png", (64, 96))
    names = [f"{number}.png" for number in range(6)]
    (folder / "li{st}.txt").write_text("\n".join(names))
    images = [
        {"id": n, "file_name": name, "height": 64, "width": 96} for n, name in enumerate(names)
    ]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    (folder / "{a}.json").write_text(json.dumps(content))
    return folder.name


@pytest.mark.parametrize("short_side", [None, 64])
def test_braces_in_paths_are_no_patterns(tmp_path, odd, short_side):
    data = {
        "images": f"{odd}/{{shard}}",
        "list": f"{odd}/li{{st}}.txt",
        "annotations": f"{odd}/{{a}}.json",
        "short_side": short_side,
    }
    config = changed() | {"data": data, "seed_masks": {"kind": "ground-truth"}}
    shown = snakemake(tmp_path, *LISTED, "--printshellcmds", config=config).stdout
    assert f"--images {shlex.quote(data['images'])} " in shown
    assert f"--list {shlex.quote(data['list'])} " in shown
    assert f"--annotations {shlex.quote(data['annotations'])} " in shown


@pytest.mark.slow
def test_a_run_of_images_in_a_path_with_braces(tmp_path, odd):
    data = {"images": f"{odd}/{{shard}}", "list": f"{odd}/li{{st}}.txt"}
    config = changed(rounds=1) | {"data": data, "seed_masks": {"kind": "grid"}}
    snakemake(tmp_path, "results/tiny/states/round-01.pt", config=config)


@pytest.mark.slow
def test_images_that_are_new_or_gone_are_told_at_the_start(tmp_path, write_image):
    for number in range(6):
        write_image(tmp_path / f"photos/{number}.png", (64, 96))
    config = changed() | {"data": {"images": "photos"}}
    result = snakemake(tmp_path, "results/tiny/index.jsonl", config=config)
    assert "data.images: " not in result.stdout
    write_image(tmp_path / "photos/a.png", (64, 96))
    (tmp_path / "photos/0.png").unlink()
    result = snakemake(tmp_path, "results/tiny/index.jsonl", config=config)
    assert result.stdout.count("data.images: 1 new (a.png) and 1 gone (0.png) in photos") == 1
    assert "Nothing to be done" in result.stdout
    snakemake(tmp_path, "results/tiny/index.jsonl", "--forcerun", "index", config=config)
    index = read_index(tmp_path / "results/tiny/index.jsonl")
    assert [e.name for e in index.entries] == ["1.png", "2.png", "3.png", "4.png", "5.png", "a.png"]


@pytest.mark.slow
def test_forcing_the_index_looks_for_images_to_shrink_too(tmp_path, write_image):
    for number in range(6):
        write_image(tmp_path / f"photos/{number}.png", (64, 96))
    config = changed() | {"data": {"images": "photos", "short_side": 32}}
    snakemake(tmp_path, "results/tiny/index.jsonl", config=config)
    write_image(tmp_path / "photos/a.png", (64, 96))
    (tmp_path / "photos/0.png").unlink()
    force = ("results/tiny/index.jsonl", "--forcerun", "index")
    snakemake(tmp_path, *force, config=config)
    index = read_index(tmp_path / "results/tiny/index.jsonl")
    assert [e.name[0] for e in index.entries] == ["1", "2", "3", "4", "5", "a"]


def test_results_that_cannot_be_written_are_told_at_the_start(tmp_path):
    (tmp_path / "results").write_text("a file")
    result = snakemake(tmp_path, "results/tiny/index.jsonl", check=False)
    assert result.returncode != 0
    assert "results: results is a file; name a folder" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_results_without_permission_are_told_before_any_job(tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    result = snakemake(tmp_path, "results/tiny/index.jsonl", check=False)
    assert result.returncode != 0
    assert "results: cannot write results/tiny/index.jsonl: no permission" in result.stdout
    assert "Traceback" not in result.stdout
