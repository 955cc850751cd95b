"""The published recipe from end to end, small enough for a CPU."""

import json

import h5py
import pytest
import yaml

from cyborgs.config import parse
from cyborgs.images.scenes import write_scenes
from cyborgs.pretraining.state import load_state
from tests.runs import REPOSITORY, snakemake

PUBLISHED = yaml.safe_load((REPOSITORY / "config/coco-published.yaml").read_text())

# What makes it small, and what the machine is; everything else is as published.
SMALL = (
    "rounds=2",
    "shards=1",
    'data={"images": "scenes/images", "annotations": null}',
    'model={"architecture": "resnet18", "hidden": 16, "projection": 8}',
    'views={"crop": 64}',
    'pretrain={"epochs": 1, "batch_size": 4}',
    'bootstrap={"block": "layer2.1"}',
    'compute={"device": "cpu", "processes": 1, "threads": 1, "workers": 0}',
)


@pytest.mark.slow
def test_two_rounds_of_the_published_recipe(tmp_path):
    pytest.importorskip("faiss")
    write_scenes(tmp_path / "scenes", images=13, size=(64, 96), seed=0)
    snakemake(tmp_path, "masks", "--config", *SMALL, config=PUBLISHED)
    run = tmp_path / "results/coco-published"
    assert (run / "report.html").exists()
    assert (run / "backbone.pth").exists()
    made_by = load_state(run / "states/round-02.pt").provenance["config"]
    assert made_by["views"]["colour"] == "published"
    assert made_by["pretrain"]["precision"] == "float32"
    published = parse(PUBLISHED).pretrain
    assert made_by["pretrain"]["schedule"] == published.schedule.recorded()
    assert made_by["pretrain"]["lars"] == published.lars.recorded()
    for number in (1, 2):
        with h5py.File(run / f"masks/round-{number:02d}/shard-0000-of-0001.h5") as shard:
            assert json.loads(shard.attrs["provenance"])["config"]["bootstrap"]["exact"] is True
    before, after = (load_state(run / f"states/round-{n:02d}.pt") for n in (1, 2))
    assert (before.step, after.step) == (3, 6)
    assert any((before.online[k] != after.online[k]).any() for k in before.momentum_buffers)
