"""A run so small that a round takes seconds."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from cyborgs.config import Compute, Config, parse
from cyborgs.evaluation.results import write_result
from cyborgs.evaluation.sources import Source
from cyborgs.images.scenes import write_scenes
from cyborgs.run.paths import Run
from cyborgs.stages import bootstrap, index, pretrain, quality, seed_masks, seed_state

SETTINGS = {
    "seed": 3,
    "rounds": 2,
    "shards": 1,
    "data": {"scenes": {"images": 13}},
    "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
    "seed_masks": {"kind": "grid", "cells": 3},
    "views": {"crop": 64},
    "pretrain": {
        "epochs": 2,
        "batch_size": 4,
        "masks": 4,
        "schedule": {"kind": "step"},
        "precision": "float32",
    },
    "bootstrap": {
        "block": "layer2.1",
        "group": 3,
        "clusters": [2, 6],
        "iterations": 5,
        "precision": "float32",
    },
}
FELZ = {"kind": "felzenszwalb", "scale": 100, "min_size": 50}
COMPUTE = Compute(device="cpu", threads=1, workers=0, checkpoint_minutes=60)


@dataclass(frozen=True)
class TinyRun:
    """Files of a run before its first round of training."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "scenes" / "images"

    @property
    def annotations(self) -> Path:
        return self.folder / "scenes" / "annotations.json"

    @property
    def index(self) -> Path:
        return self.folder / "index.jsonl"

    @property
    def state(self) -> Path:
        return self.folder / "round-00.pt"

    @property
    def masks(self) -> Path:
        return self.folder / "masks"

    def config(self, **changes: object) -> Config:
        return parse(SETTINGS | changes)

    def json(self, **changes: object) -> str:
        return json.dumps(SETTINGS | changes)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Thirteen scenes with index, state and masks of round 0; tests must not change them."""
    torch.set_num_threads(1)
    run = TinyRun(tmp_path_factory.mktemp("tiny"))
    write_scenes(run.folder / "scenes", images=13, size=(64, 96), seed=0)
    index.run(run.images, run.index, threads=1)
    seed_state.run(run.config(), run.state)
    seed_masks.run(
        run.config(), images=run.images, index_path=run.index, out=run.masks / "shard-0.h5", shard=0
    )
    return run


def train(
    tiny, out, *, number=1, config=None, state=None, masks=None, index_path=None, compute=COMPUTE,
    metrics=None,
):  # fmt: skip
    pretrain.run(
        config or tiny.config(),
        number=number,
        images=tiny.images,
        index_path=index_path or tiny.index,
        state_path=state or tiny.state,
        masks_where=str(masks or tiny.masks),
        out=out,
        work=out.parent / "work",
        compute=compute,
        metrics=metrics,
    )
    return out.read_bytes()


def command(tiny, out, *extra):
    return [
        sys.executable, "-m", "cyborgs", "pretrain", "--config", tiny.json(), "--round", "1",
        "--images", str(tiny.images), "--index", str(tiny.index), "--state", str(tiny.state),
        "--masks", str(tiny.masks), "--out", str(out), "--device", "cpu", "--threads", "1",
        "--workers", "0", *extra,
    ]  # fmt: skip


def wait_for(process, condition):
    """Until it holds; the process must be running that long."""
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="session")
def trained(tiny):
    """The state after an undisturbed first round."""
    out = tiny.folder / "round-01.pt"
    train(tiny, out)
    return out


@pytest.fixture(scope="session")
def results(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run as the workflow leaves it after a round; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished") / "results/tiny"
    shutil.copytree(tiny.folder / "scenes", folder / "scenes")
    shutil.copy(tiny.index, folder / "index.jsonl")
    config = tiny.config(
        run="tiny", rounds=1, shards=2, quality={"clusters": [4], "images": 13}, seed_masks=FELZ
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(exclude={"compute"})))
    run = Run(folder)
    seed_state.run(config, run.state(0))
    for shard in range(2):
        out = run.masks(0) / f"shard-000{shard}-of-0002.h5"
        seed_masks.run(config, images=run.images(), index_path=run.index, out=out, shard=shard)
    pretrain.run(
        config,
        number=1,
        images=run.images(),
        index_path=run.index,
        state_path=run.state(0),
        masks_where=str(run.masks(0)),
        out=run.state(1),
        work=folder / "work",
        compute=COMPUTE,
        metrics=run.metrics(1),
    )
    for shard in range(2):
        out = run.masks(1) / f"shard-000{shard}-of-0002.h5"
        bootstrap.run(
            config,
            number=1,
            images=run.images(),
            index_path=run.index,
            state_path=run.state(1),
            out=out,
            shard=shard,
            compute=COMPUTE,
        )
    for number in range(2):
        state, out = run.state(number), run.fixed_k(4, number)
        bootstrap.run(
            config.at_fixed_k(4),
            number=number,
            images=run.images(),
            index_path=run.index,
            state_path=state,
            out=out,
            shard=0,
            compute=COMPUTE,
            limit=6,
        )
        for kind, where in (("k-4", out), ("made", run.masks(number))):
            quality.run(str(where), run.index, run.annotations(), run.quality(kind, number))
    return folder


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may damage."""
    return shutil.copytree(results, tmp_path / "results/tiny")


def add_evaluation(folder: Path, values: dict[str, list[float]], **record: object) -> None:
    """Add the mAP of some seeds of each backbone to a run, as `cyborgs evaluate voc-svm` does."""
    run = Run(folder)
    content = yaml.safe_load(run.config.read_text())
    content["downstream"] |= {"evaluations": ["voc_svm"]}
    content["downstream"]["voc_svm"]["backbones"] = ["random", "last"]
    run.config.write_text(yaml.safe_dump(content))
    for backbone, maps in values.items():
        source = Source(backbone, "resnet18", "", "", "online", None)
        write_result(
            run.evaluation("voc_svm", backbone),
            "voc_svm",
            source,
            seeds=[{"seed": n, "test": 40, "map": value} for n, value in enumerate(maps)],
            command="cyborgs evaluate voc-svm",
            provenance={
                "stage_version": 1,
                "config": {"voc_svm": {"costs": [1.0]}},
                "inputs": {"train": "aa", "test": "bb", "backbone": backbone},
                "libraries": {},
                **record,
            },
            classes=20,
        )


@pytest.fixture
def evaluated(copy: Path) -> Path:
    """A run whose backbones were evaluated, one seed of random weights and two of the trained."""
    add_evaluation(copy, {"random": [0.25], "round-01": [0.2, 0.4]})
    return copy
