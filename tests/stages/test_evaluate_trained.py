"""The evaluations that train: metrics, interruptions, several processes, and what they refuse.

On photographs of COCO where they are at hand, and on the embedded scenes everywhere.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cyborgs.cli import main
from cyborgs.evaluation.coco_instances import COCO_INSTANCES, CocoInstances
from cyborgs.images.scenes import write_scenes
from cyborgs.stages import evaluate_trained
from cyborgs.training.metrics import read_metrics
from tests.evaluation.layouts import derive
from tests.precision import needs_bfloat16
from tests.stages.conftest import wait_for

SHARED = Path(__file__).parents[3] / "shared"

DETECTION = {
    "iterations": 3, "milestones": [2], "warmup": 1, "batch_size": 1, "sides": [64, 72],
    "test_side": 64, "longest": 128, "batchnorm": 2,
}  # fmt: skip
SETTINGS = {
    "downstream": {
        "seeds": 1,
        "voc_svm": {"short_side": 40, "crop": 32, "folds": 2, "costs": [0.1, 1.0]},
        "imagenet_linear": {"short_side": 40, "crop": 32, "epochs": 3, "batch_size": 4},
        "voc_detection": DETECTION,
        "coco_instances": DETECTION,
    }
}
TRAINED = ("imagenet-linear", "voc-detection", "coco-instances")


@pytest.fixture(scope="session", params=["scenes", "photographs"])
def datasets(request, tmp_path_factory):
    """A folder in VirTex's layout, derived from annotated images; tests must not change it."""
    folder = tmp_path_factory.mktemp("datasets")
    if request.param == "photographs":
        coco = SHARED / "data/coco"
        if not coco.exists():
            pytest.skip("needs the photographs of ../shared")
        sources = [
            (coco / split, coco / f"annotations/instances_{split}.json")
            for split in ("train2017", "val2017")
        ]
    else:
        sources = []
        for seed, name in enumerate(("train", "test")):
            write_scenes(folder / name, images=24, size=(64, 96), seed=seed)
            sources.append((folder / name / "images", folder / name / "annotations.json"))
    images = 24 if request.param == "photographs" else 16
    derive(*sources, folder / "sets", images)
    return folder / "sets"


def command(name, datasets, out, *extra, backbone="random", settings=None):
    found = ["evaluate", name, "--backbone", str(backbone), "--datasets", str(datasets)]
    if backbone == "random":
        found += ["--architecture", "resnet18"]
    found += ["--config", json.dumps(settings or SETTINGS), "--out", str(out)]
    return [*found, "--device", "cpu", "--threads", "1", "--workers", "0", *extra]


def evaluate(*arguments, **changes):
    assert main(command(*arguments, **changes)) == 0
    return json.loads(arguments[2].read_text())


@pytest.fixture(scope="session")
def undisturbed(datasets, tmp_path_factory):
    """The results of all that train, from random weights."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in TRAINED:
        evaluate(name, datasets, folder / f"{name}.json", "--metrics", str(folder / f"{name}.m"))
    assert not list((folder / "work").iterdir())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_metrics_and_what_is_behind_them(name, undisturbed):
    result = json.loads((undisturbed / f"{name}.json").read_text())
    assert result["evaluation"] == name.replace("-", "_")
    (row,) = result["seeds"]
    assert all(0 <= value <= 1 for value in result["mean"].values())
    assert row["test"] > 0
    assert set(result["provenance"]["inputs"]) == {"train", "test"}
    assert result["commands"][0].startswith(f"cyborgs evaluate {name} --backbone random")
    assert "--threads" not in result["commands"][0]
    for row in read_metrics(undisturbed / f"{name}.m"):  # an epoch each; detectors end before one
        parts = [value for key, value in row.items() if key.startswith("loss_")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_killed_one_comes_to_the_same_metrics(name, undisturbed, datasets, tmp_path):
    out = tmp_path / f"{name}.json"
    arguments = [sys.executable, "-m", "cyborgs"]
    arguments += command(name, datasets, out, "--checkpoint-minutes", "0")
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    # Two are kept, and the one of the second step may be gone at the next look.
    wait_for(process, lambda: any(int(p.stem[-9:]) > 1 for p in tmp_path.glob("work/[!.]*.pt")))
    process.kill()
    process.wait()
    assert not out.exists()
    assert evaluate(name, datasets, out)["seeds"] == seeds_of(undisturbed, name)


@pytest.mark.slow
def test_scoring_that_was_interrupted_is_done_again(datasets, undisturbed, tmp_path, monkeypatch):
    name, out = "imagenet-linear", tmp_path / "out.json"
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_trained, "write_result", raise_interrupt)
        assert main(command(name, datasets, out)) == 130
    # No step is taken again.
    monkeypatch.setattr(evaluate_trained, "run_steps", None)
    assert evaluate(name, datasets, out)["seeds"] == seeds_of(undisturbed, name)


@pytest.mark.slow
def test_a_state_its_export_and_seeds(datasets, trained, tmp_path):
    exported = tmp_path / "backbone.pth"
    assert main(["export", "--state", str(trained), "--out", str(exported)]) == 0
    name = "imagenet-linear"
    first = evaluate(name, datasets, tmp_path / "a.json", backbone=trained)
    second = evaluate(name, datasets, tmp_path / "b.json", backbone=exported)
    other = evaluate(name, datasets, tmp_path / "c.json", "--seed", "1", backbone=trained)
    assert first["seeds"] == second["seeds"]
    assert first["provenance"]["inputs"] != second["provenance"]["inputs"]
    assert other["seeds"][0]["seed"] == 1
    assert main(["evaluate", "table", *(str(tmp_path / f"{n}.json") for n in "ac")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet-linear", "coco-instances"])
def test_two_processes_share_the_work(name, datasets, undisturbed, tmp_path):
    """Their metrics need not be those of one: BatchNorm sees half of a step on CPUs."""
    out = tmp_path / "out.json"
    arguments = [sys.executable, "-m", "cyborgs"]
    settings = json.loads(json.dumps(SETTINGS))
    settings["downstream"]["coco_instances"] |= {"batch_size": 2, "iterations": 1, "milestones": []}
    arguments += command(name, datasets, out, "--processes", "2", settings=settings)
    subprocess.run(arguments, check=True, timeout=300)
    result, alone = json.loads(out.read_text()), seeds_of(undisturbed, name)
    assert result["seeds"][0]["test"] == alone[0]["test"]
    if name == "imagenet-linear":
        # The layer alone is trained, and it has no BatchNorm.
        assert result["seeds"][0]["top1"] == pytest.approx(alone[0]["top1"], abs=0.1)


@needs_bfloat16
@pytest.mark.parametrize("precision", ["bfloat16"])
def test_mixed_precision(precision, datasets, tmp_path):
    settings = json.loads(json.dumps(SETTINGS))
    settings["downstream"]["voc_detection"] |= {"precision": precision, "iterations": 1}
    settings["downstream"]["voc_detection"]["milestones"] = []
    evaluate("voc-detection", datasets, tmp_path / "out.json", settings=settings)


def test_support_vector_machines(datasets, tmp_path):
    result = evaluate("voc-svm", datasets, tmp_path / "out.json")
    (row,) = result["seeds"]
    assert row["map"] == pytest.approx(sum(row["classes"].values()) / len(row["classes"]))
    assert set(row["costs"].values()) <= {0.1, 1.0}
    # One process or several come to the same.
    again = evaluate("voc-svm", datasets, tmp_path / "again.json", "--threads", "2")
    assert again["seeds"] == result["seeds"]


BAD = [
    ("voc-detection", "VOC2012/ImageSets/Main/trainval.txt", None, "trainval.txt does not exist"),
    ("voc-detection", None, {"batch_size": 64}, "batch_size: 64 images a step"),
    ("coco-instances", "coco/annotations/instances_val2017.json", None, "val2017.json does not"),
    ("imagenet-linear", "imagenet/val", None, "imagenet/val does not exist"),
    ("imagenet-linear", None, {"batch_size": 4000}, "batch_size: 4000 images a step"),
    ("voc-svm", "VOC2007/ImageSets/Main/test.txt", None, "test.txt does not exist"),
    ("voc-svm", None, {"folds": 50}, "too few for 50 folds"),
]


@pytest.mark.parametrize(("name", "missing", "change", "told"), BAD)
def test_bad_input(name, missing, change, told, datasets, tmp_path, capsys):
    settings = json.loads(json.dumps(SETTINGS))
    if change:
        settings["downstream"][name.replace("-", "_")] |= change
    where = datasets
    if missing:
        where = tmp_path / "sets"
        shutil.copytree(datasets, where, symlinks=True)
        if (where / missing).is_dir():
            shutil.rmtree(where / missing)
        else:
            (where / missing).unlink()
    out = tmp_path / "out.json"
    assert main(command(name, where, out, settings=settings)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert told in errors[0]
    assert not out.exists()


def test_processes_that_do_not_fit_are_told_once(datasets, tmp_path, capfd):
    arguments = command("imagenet-linear", datasets, tmp_path / "out.json", "--processes", "3")
    assert main(arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "batch_size: 4 is not a multiple of compute.processes 3" in line


def test_nothing_to_be_found_in_testing(datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    shutil.copytree(datasets / "coco", where / "coco", symlinks=True)
    path = where / "coco/annotations/instances_val2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    assert main(command("coco-instances", where, tmp_path / "out.json")) == 2
    assert "images for testing has an object" in capsys.readouterr().err


def test_classes_of_one_split_alone(datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    shutil.copytree(datasets / "imagenet", where / "imagenet")
    folder = sorted((where / "imagenet/val").iterdir())[0]
    folder.rename(folder.with_name("zebra"))
    assert main(command("imagenet-linear", where, tmp_path / "out.json")) == 2
    assert "class" in capsys.readouterr().err
    (folder.with_name("zebra") / "inside").mkdir()
    for file in folder.with_name("zebra").glob("*.JPEG"):
        file.unlink()
    assert main(command("imagenet-linear", where, tmp_path / "out.json")) == 2
    assert "zebra: a class without an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"area": "100"}, "'area' of annotation"),
        ({"segmentation": {"size": [2, 2], "counts": [4]}}, "cannot be decoded"),
        ({"segmentation": None}, "has no 'segmentation'"),
        ({"segmentation": []}, "has no outline"),
        ({"bbox": [0.1, 0.1, 0.2, 0.2]}, "but its outline from"),
        ({"iscrowd": "no"}, "'iscrowd' of annotations[0]"),
    ],
)
def test_what_cannot_be_scored_is_told_before_training(change, told, datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    shutil.copytree(datasets / "coco", where / "coco", symlinks=True)
    path = where / "coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= change
    path.write_text(json.dumps(content))
    assert main(command("coco-instances", where, tmp_path / "out.json")) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "step" not in said
    work = tmp_path / "work"
    assert not work.exists() or not list(work.iterdir())


def test_annotations_of_no_image_are_told(datasets, tmp_path, capsys):
    """They are left out, as those of images that were not chosen."""
    where = tmp_path / "sets"
    shutil.copytree(datasets / "coco", where / "coco", symlinks=True)
    path = where / "coco/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"].append(content["annotations"][0] | {"id": 987, "image_id": 10**7})
    path.write_text(json.dumps(content))
    COCO_INSTANCES.task(CocoInstances(**DETECTION), where)
    said = capsys.readouterr().err
    assert "coco_instances: 1 annotations are of images that their file does not list" in said
    assert "annotation 987 among them" in said


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_pictures_of_another_size_are_told_before_training(split, datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    shutil.copytree(datasets / "coco", where / "coco", symlinks=True)
    path = where / f"coco/annotations/instances_{split}.json"
    content = json.loads(path.read_text())
    image = content["images"][-1]
    # As of pictures that were shrunk, where these are not.
    image |= {"height": image["height"] // 2, "width": image["width"] // 2}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != image["id"]]
    path.write_text(json.dumps(content))
    out = tmp_path / "out.json"
    assert main(command("coco-instances", where, out)) == 2
    said = capsys.readouterr().err
    assert f"its annotations {image['height']} x {image['width']}" in said
    assert "step" not in said
    assert not list((tmp_path / "work").iterdir())


def test_boxes_of_other_pictures_are_told_before_training(datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(datasets / year, where / year, symlinks=True)
    path = next(p for p in (where / "VOC2007/Annotations").iterdir() if "xmax" in p.read_text())
    path.write_text(re.sub("<xmax>[0-9]+<", "<xmax>9999<", path.read_text()))
    assert main(command("voc-detection", where, tmp_path / "out.json")) == 2
    said = capsys.readouterr().err
    assert path.stem in said
    assert "x 9999" in said
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_is_no_file_for_metrics(datasets, tmp_path, capsys):
    (tmp_path / "found").mkdir()
    for name in ("voc-svm", "coco-instances"):
        assert main(command(name, datasets, tmp_path / "found")) == 2
        assert f"--out: {tmp_path / 'found'} is a folder" in capsys.readouterr().err


def test_an_image_that_cannot_be_decoded_is_named(datasets, tmp_path, capsys):
    where = tmp_path / "sets"
    shutil.copytree(datasets / "imagenet", where / "imagenet")
    victim = sorted((where / "imagenet/train").rglob("*.JPEG"))[0]
    victim.write_bytes(b"no picture")
    assert main(command("imagenet-linear", where, tmp_path / "out.json")) == 2
    assert f"image {victim} cannot be decoded" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_training(datasets, tmp_path, capsys):
    settings = json.loads(json.dumps(SETTINGS))
    settings["downstream"]["imagenet_linear"] |= {"learning_rate": 1e38, "epochs": 20}
    assert main(command("imagenet-linear", datasets, tmp_path / "o.json", settings=settings)) == 2
    assert "lower downstream.imagenet_linear.learning_rate" in capsys.readouterr().err


def seeds_of(folder, name):
    return json.loads((folder / f"{name}.json").read_text())["seeds"]


def raise_interrupt(*_, **__):
    raise KeyboardInterrupt
