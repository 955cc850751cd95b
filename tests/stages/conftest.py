"""A run so small that a round takes seconds."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from cyborgs.config import Compute, Config, parse
from cyborgs.data.scenes import write_scenes
from cyborgs.stages import index, seed_masks, seed_state

SETTINGS = {
    "seed": 3,
    "rounds": 2,
    "shards": 1,
    "data": {"scenes": {"images": 13}},
    "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
    "seed_masks": {"kind": "grid", "cells": 3},
    "views": {"crop": 64},
    "pretrain": {"epochs": 2, "batch_size": 4, "masks": 4, "schedule": {"kind": "step"}},
    "bootstrap": {"block": "layer2.1", "group": 3, "clusters": [2, 6], "iterations": 5},
}
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
    seed_masks.run(run.config(), run.images, run.index, run.masks / "shard-0.h5", 0)
    return run
