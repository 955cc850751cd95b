"""The whole pipeline under Snakemake: what runs, what does not run again, and what it leaves."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from playwright.sync_api import sync_playwright
from pycocotools import mask as run_lengths

from cyborgs.images.index import read_index
from cyborgs.images.scenes import write_scenes
from cyborgs.masks.shards import Masks
from cyborgs.run.paths import Run
from cyborgs.training.metrics import read_metrics
from tests.evaluation.layouts import derive
from tests.runs import TINY, changed, planned, snakemake

# How addresses begin that no network is asked for.
LOCAL = ("file:", "data:", "blob:")


def shards(folder, number):
    return sorted((folder / f"results/tiny/masks/round-{number:02d}").iterdir())


@pytest.mark.slow
def test_a_finished_run_has_what_it_promises_and_nothing_left_to_do(finished):
    results = finished / "results/tiny"
    content = torch.load(results / "backbone.pth", weights_only=True)
    network = torchvision.models.resnet18(weights=None)
    missing = network.load_state_dict(content["state_dict"], strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    assert not missing.unexpected_keys
    table = (results / "quality.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in table[1:]] == [
        ["K = 4", "0"],
        ["K = 4", "1"],
        ["K = 4", "2"],
        ["as made", "0"],
        ["as made", "1"],
    ]
    assert not list(results.glob("work/*"))
    run = Run(results)
    assert run.read_config().rounds == 2
    assert run.rounds() == [0, 1]
    paths = [run.index, run.images(), run.annotations()]
    paths += [results / name for name in ("quality.tsv", "report.html")]
    paths += [f(n) for n in (1, 2) for f in (run.state, run.metrics)]
    paths += [run.fixed_k(4, 2), run.quality("k-4", 2), run.quality("made", 1)]
    assert all(path.exists() for path in paths)
    assert [row["epoch"] for n in (1, 2) for row in read_metrics(run.metrics(n))] == [1, 2]
    costs = {str(p.relative_to(results / "cost")) for p in results.glob("cost/**/*.tsv")}
    assert {"pretrain/round-02.tsv", "masks/round-01/shard-0001.tsv"} < costs
    assert planned(finished) == {}


@pytest.mark.slow
def test_one_more_round_runs_that_round_alone(finished):
    assert planned(finished, config=changed(rounds=3)) == {
        "bootstrap": 2,
        "pretrain": 1,
        "export": 1,
        "fixed_k": 1,
        "quality_fixed": 1,
        "quality_made": 1,
        "quality_table": 1,
        "configuration": 1,
        "report": 1,
    }


@pytest.mark.slow
def test_masks_after_the_last_round_come_on_demand(finished):
    assert planned(finished, "masks") == {"bootstrap": 2, "quality_made": 1}


@pytest.mark.slow
def test_a_training_setting_reruns_no_seeding(finished):
    jobs = planned(finished, config=changed(pretrain={"base_learning_rate": 0.3}))
    assert jobs["pretrain"] == 2
    assert not jobs.keys() & {"scenes", "index", "seed_state", "seed_masks"}


@pytest.mark.slow
def test_a_setting_of_clustering_reruns_no_first_round(finished):
    """Of `bootstrap`, the seed masks depend on the size of a group alone."""
    jobs = planned(finished, config=changed(bootstrap={"iterations": 6}))
    assert jobs["pretrain"] == 1
    assert "seed_masks" not in jobs
    assert "seed_masks" in planned(finished, config=changed(bootstrap={"group": 4}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "compute",
    [
        {"workers": 3},
        {"threads": 2},
        {"processes": 2},
        {"device": "auto"},
        {"checkpoint_minutes": 1},
    ],
)
def test_where_it_is_computed_reruns_nothing(finished, compute):
    assert planned(finished, config=changed(compute=compute)) == {}


@pytest.mark.slow
def test_a_quality_setting_reruns_no_training(finished):
    jobs = planned(finished, config=changed(quality={"clusters": [4, 5]}))
    assert set(jobs) == {"configuration", "fixed_k", "quality_fixed", "quality_table", "report"}
    assert jobs["fixed_k"] == 3


@pytest.mark.slow
def test_cores_and_shards_change_no_mask(finished, tmp_path):
    """On one core, the same bytes; with another number of shards, the same labels."""
    config = changed(rounds=1)
    snakemake(tmp_path, "masks", "--cores", "1", config=config)
    for ours, theirs in zip(shards(tmp_path, 1), shards(finished, 1), strict=True):
        assert ours.name == theirs.name
        assert ours.read_bytes() == theirs.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    snakemake(other, "masks", config=config | {"shards": 5})
    assert len(shards(other, 1)) == 5
    for number in range(2):
        digests = [
            Masks(
                str(folder / f"results/tiny/masks/round-{number:02d}"),
                read_index(folder / "results/tiny/index.jsonl"),
            ).digest
            for folder in (finished, other)
        ]
        assert digests[0] == digests[1]
    state = "results/tiny/states/round-01.pt"
    assert (other / state).read_bytes() == (finished / state).read_bytes()


@pytest.mark.slow
def test_a_truncated_shard_is_named_and_remade_on_demand(finished, interrupted):
    shard = shards(interrupted, 1)[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    result = snakemake(interrupted, check=False)
    assert result.returncode != 0
    name = f"results/tiny/masks/round-01/{shard.name}"
    assert f"error: mask shard {name} is truncated" in result.stdout
    assert "Traceback" not in result.stdout
    results = interrupted / "results/tiny"
    assert not (results / "states/round-02.pt").exists()
    assert (results / "states/round-01.pt").exists()
    shard.unlink()
    snakemake(interrupted)
    assert shard.read_bytes() == whole
    state = "results/tiny/states/round-02.pt"
    assert (interrupted / state).read_bytes() == (finished / state).read_bytes()


@pytest.mark.slow
def test_a_broken_image_is_named_before_anything_is_made_or_left_out(finished, tmp_path):
    photos = shutil.copytree(finished / "results/tiny/scenes/images", tmp_path / "photos")
    broken = photos / "000003.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    config = changed() | {"data": {"images": "photos"}}
    result = snakemake(tmp_path, config=config, check=False)
    assert result.returncode != 0
    shown = result.stdout
    assert "error: image photos/000003.jpg: " in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "results/tiny/index.jsonl").exists()
    assert not (tmp_path / "results/tiny/masks").exists()
    config["data"]["on_bad_image"] = "skip"
    snakemake(tmp_path, "results/tiny/states/round-01.pt", config=config)
    index = read_index(tmp_path / "results/tiny/index.jsonl")
    assert len(index) == 12
    assert [bad.name for bad in index.bad] == ["000003.jpg"]


@pytest.mark.slow
def test_a_run_without_annotations_measures_nothing(finished, tmp_path):
    shutil.copytree(finished / "results/tiny/scenes/images", tmp_path / "photos")
    config = changed(rounds=1) | {"data": {"images": "photos"}, "seed_masks": {"kind": "features"}}
    snakemake(tmp_path, config=config)
    assert (tmp_path / "results/tiny/backbone.pth").exists()
    assert not (tmp_path / "results/tiny/quality.tsv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("short_side", [None, 40])
def test_equal_names_in_nested_folders_are_different_images(tmp_path, write_image, short_side):
    """Also of a copy at a smaller size."""
    names = [f"{n}/deep er/image.png" for n in range(6)] + [f"{n}/image.png" for n in range(6)]
    for number, name in enumerate(names):
        write_image(tmp_path / "photos" / name, (64, 80 + number))
    config = {key: value for key, value in TINY.items() if key != "quality"}
    config |= {"rounds": 1, "data": {"images": "photos", "short_side": short_side}}
    snakemake(tmp_path, config=config)
    end, scale = ("", 1) if short_side is None else (".jpg", short_side / 64)
    index = read_index(tmp_path / "results/tiny/index.jsonl")
    assert {e.name: e.width for e in index.entries} == {
        name + end: round((80 + number) * scale) for number, name in enumerate(names)
    }
    masks = Masks(str(tmp_path / "results/tiny/masks/round-00"), index)
    assert len(masks.positions) == 12
    assert (tmp_path / "results/tiny/backbone.pth").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grid", "slic", "global", "ground-truth", "file"])
def test_every_kind_of_seed_masks_begins_a_run(finished, tmp_path, kind):
    """Up to the first trained state."""
    seed = {"kind": kind}
    if kind == "file":
        seed["masks"] = str(finished / "results/tiny/masks/round-01")
    config = changed() | {"seed_masks": seed}
    snakemake(tmp_path, "results/tiny/states/round-01.pt", config=config)


@pytest.mark.slow
def test_masks_of_the_originals_seed_a_run_on_smaller_copies(tmp_path, write_image):
    """By the commands of `docs/seed-masks.md`, with regions as Segment Anything leaves them."""
    upper = np.zeros((64, 96), bool)
    upper[:20] = True
    code = run_lengths.encode(np.asfortranarray(upper, np.uint8))
    region = {"size": code["size"], "counts": code["counts"].decode()}
    (tmp_path / "sam").mkdir()
    for number in range(6):
        write_image(tmp_path / f"photos/{number}.png", (64, 96))
        (tmp_path / f"sam/{number}.json").write_text(json.dumps([{"segmentation": region}]))
    for command in (
        "cyborgs index --images photos --out photos.jsonl",
        "cyborgs masks import sam --index photos.jsonl --out given",
    ):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, check=True)
    config = changed(rounds=1) | {
        "data": {"images": "photos", "short_side": 32},
        "seed_masks": {"kind": "file", "masks": "given"},
    }
    snakemake(tmp_path, "results/tiny/states/round-01.pt", config=config)
    index = read_index(tmp_path / "results/tiny/index.jsonl")
    masks = Masks(str(tmp_path / "results/tiny/masks/round-00"), index)
    for position, entry in enumerate(index.entries):
        assert (entry.height, entry.width) == (32, 48)
        # 20 rows are 10 of the copy: locations at its rows 0 and 8.
        assert masks.read(position).tolist() == [[1] * 6] * 2 + [[0] * 6] * 2


@pytest.mark.slow
def test_snakemakes_report_without_the_page_says_how_to_make_it(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    (folder / "results/tiny/report.html").unlink()
    snakemake(folder, "--report", str(tmp_path / "report.html"))
    assert "The page of the run is not there" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, without a screen and without a network."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1366, 390])
def test_the_report_opens_offline_in_a_browser(finished, tmp_path, browser, width):
    """On a laptop and on a phone: no error, no request, every picture, nothing cut off."""
    report = tmp_path / "report.html"
    snakemake(finished, "--report", str(report))
    assert report.stat().st_size < 30e6
    page = browser.new_context(viewport={"width": width, "height": 800}, offline=True).new_page()
    troubles = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: troubles.append(r.url) if r.url[:5] not in LOCAL else None)
    page.goto(report.as_uri())
    page.get_by_role("heading", name="tiny: 2 rounds of resnet18 on 13 images").wait_for()
    images = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(images) > 60
    assert all(images)
    for heading in ("Mask quality by round", "Training and cost", "The same images in every round"):
        assert page.get_by_role("heading", name=heading).is_visible()
    box = page.get_by_role("heading", name="Training and cost").bounding_box()
    assert box["x"] >= 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Snakemake's own page of each rule's run time.
    page.get_by_text("Statistics", exact=True).click()
    page.locator("canvas, svg").first.wait_for()
    assert not troubles


@pytest.mark.slow
def test_evaluations_of_random_weights_and_of_each_round(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    settings = {"size": 32, "smallest": 8, "neighbours": 3}
    downstream = {"evaluations": ["objects", "segmentation"], "seeds": 2, "objects": settings}
    config = TINY | {"downstream": downstream}
    snakemake(folder, "downstream", config=config)
    rows = table_of(folder)
    assert list(dict.fromkeys(row["backbone"] for row in rows)) == [
        "random",
        "results/tiny/states/round-01.pt",
        "results/tiny/states/round-02.pt",
    ]
    assert {row["figure"] for row in rows} >= {"knn", "linear", "miou"}
    assert planned(folder, "downstream", config=config) == {}
    # The page shows them; nothing that was there is made again.
    assert planned(folder, config=config) == {"configuration": 1, "report": 1}
    # Other settings of one evaluation leave the others.
    downstream["segmentation"] = {"locations": 8}
    assert planned(folder, "downstream", config=config) == {
        "evaluate_segmentation": 3,
        "downstream_table": 1,
    }


@pytest.mark.slow
def test_every_published_evaluation_is_a_rule(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    for seed, name in enumerate(("train", "test")):
        write_scenes(folder / name, images=24, size=(64, 96), seed=seed)
    sources = [(folder / n / "images", folder / n / "annotations.json") for n in ("train", "test")]
    derive(*sources, folder / "sets", images=16)
    backbone = folder / "a backbone.pth"
    shutil.copy(folder / "results/tiny/backbone.pth", backbone)
    detection = {
        "iterations": 1, "milestones": [], "batch_size": 1, "sides": [64], "test_side": 64,
        "longest": 96, "batchnorm": 1,
    }  # fmt: skip
    sizes = {"short_side": 40, "crop": 32}
    downstream = {
        "evaluations": [
            "voc_svm", "imagenet_linear", "voc_detection", "coco_instances", "voc_segmentation",
        ],
        "datasets": "sets",
        "seeds": 2,
        "voc_svm": sizes | {"folds": 2, "backbones": ["random", "rounds", backbone.name]},
        "imagenet_linear": sizes | {"epochs": 1, "batch_size": 4},
        "voc_detection": detection,
        "coco_instances": detection,
        "voc_segmentation": {"locations": 8},
    }  # fmt: skip
    config = TINY | {"downstream": downstream}
    snakemake(folder, "downstream", config=config)
    rows = table_of(folder)
    seeds = {(row["evaluation"], row["backbone"]): row["seeds"] for row in rows}
    last = "results/tiny/states/round-02.pt"
    assert seeds[("voc_svm", backbone.name)] == "0,1"
    assert {key[0] for key in seeds if key[1] == last} == set(downstream["evaluations"])
    assert set(seeds.values()) == {"0,1"}
    joined = json.loads((folder / "results/tiny/downstream.json").read_text())
    assert len(joined) == len(seeds)
    # The commands make the same metrics by hand, wherever they are started.
    result = next(r for r in joined if r["evaluation"] == "imagenet_linear")
    words = shlex.split(result["commands"][1])
    words[words.index("--out") + 1] = "again.json"
    subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], cwd=folder, check=True)
    again = json.loads((folder / "again.json").read_text())
    assert again["seeds"] == result["seeds"][1:]
    assert planned(folder, "downstream", config=config) == {}


def table_of(folder):
    lines = (folder / "results/tiny/downstream.tsv").read_text().splitlines()
    header, *rows = (line.split("\t") for line in lines)
    return [dict(zip(header, row, strict=True)) for row in rows]
