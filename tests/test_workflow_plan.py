"""What the workflow would do, and what it refuses before it does anything."""

import pytest
import yaml

from tests.runs import REPOSITORY, changed, planned, snakemake


@pytest.mark.parametrize("name", ["config.yaml", "coco.yaml", "coco-small.yaml"])
def test_shipped_configurations_plan_every_round(tmp_path, name):
    config = yaml.safe_load((REPOSITORY / "config" / name).read_text())
    for key in ("images", "annotations"):
        if key in config["data"]:
            config["data"][key] = str(tmp_path / key)
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").touch()
    for i in range(128):
        (tmp_path / "images" / f"{i}.jpg").touch()
    jobs = planned(tmp_path, config=config)
    assert jobs["pretrain"] == config["rounds"]
    assert jobs["bootstrap"] == (config["rounds"] - 1) * config["shards"]
    assert jobs["seed_masks"] == config["shards"]
    more = planned(tmp_path, "masks", config=config)
    assert more["bootstrap"] == config["rounds"] * config["shards"]


def test_a_workstation_hands_out_its_gpus(tmp_path):
    config = changed(compute={"device": "cuda", "processes": 2})
    profile = ("--workflow-profile", REPOSITORY / "workflow/profiles/workstation")
    output = snakemake(tmp_path, "--dry-run", *profile, config=config).stdout
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
    assert "config: downstream: 'evaluations' names one twice" in result.stdout


def test_weights_of_imagenet_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    downstream = {"evaluations": ["objects"], "objects": {"backbones": ["imagenet"]}}
    result = snakemake(tmp_path, config=changed() | {"downstream": downstream}, check=False)
    assert result.returncode != 0
    assert "hub/checkpoints/resnet18-f37072fd.pth does not exist; fetch https" in result.stdout
    assert not (tmp_path / "results").exists()


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
