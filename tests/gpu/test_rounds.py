"""Rounds on a GPU: killed and resumed, several processes, memory, and the whole loop."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cyborgs.bootstrap.features import FeatureExtractor, memory_needed
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Masks
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.pretraining.state import load_state
from cyborgs.runtime.hardware import native_precisions
from cyborgs.stages import bootstrap
from tests.runs import REPOSITORY
from tests.stages.conftest import command, train, wait_for

NEAR = {"rtol": 1e-3, "atol": 1e-4}


def on(device, words):
    """A command of the tests with its device."""
    words = list(words)
    words[words.index("--device") + 1] = device.type
    return words


def same_steps(found, expected):
    """Two states that the same steps led to: a GPU's sums have no fixed order."""
    assert found.step == expected.step
    convolutions = {k: v for k, v in expected.online.items() if v.ndim == 4}
    for name, weight in convolutions.items():
        torch.testing.assert_close(found.online[name], weight, **NEAR)


def test_a_killed_round_continues(tiny, tmp_path, device, compute):
    config = tiny.config(pretrain=tiny.config().pretrain.model_dump() | {"epochs": 4})
    train(tiny, tmp_path / "whole.pt", config=config, compute=compute)
    out, work = tmp_path / "s.pt", tmp_path / "work"
    words = on(device, command(tiny, out, "--checkpoint-minutes", "0"))
    words[words.index("--config") + 1] = json.dumps(config.model_dump(exclude_defaults=True))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    process = subprocess.Popen(words, env=environment)
    wait_for(process, lambda: len(list(work.glob("pretrain-*.pt"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    train(tiny, out, config=config, compute=compute)
    same_steps(load_state(out), load_state(tmp_path / "whole.pt"))


def test_auto_takes_what_the_gpu_has(tiny, tmp_path, device, compute):
    section = tiny.config().pretrain.model_dump() | {"precision": "auto", "epochs": 1}
    train(tiny, tmp_path / "s.pt", config=tiny.config(pretrain=section), compute=compute)
    made = load_state(tmp_path / "s.pt").provenance
    native = [p for p in native_precisions(device) if p in ("bfloat16", "float16")]
    expected = native[0] if native else "float32"
    if device.type == "cuda":
        assert made["hardware"]["device"] == torch.cuda.get_device_name(device)
        assert made["hardware"]["precision"] == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_masks_do_not_depend_on_shards(tiny, tmp_path, compute, precision):
    index = read_index(tiny.index)
    found = []
    for shards in (1, 3):
        section = tiny.config().bootstrap.model_dump() | {"precision": precision}
        config = tiny.config(shards=shards, bootstrap=section)
        for shard in range(shards):
            out = tmp_path / f"{shards}/shard-{shard}.h5"
            bootstrap.run(
                config,
                number=0,
                images=tiny.images,
                index_path=tiny.index,
                state_path=tiny.state,
                out=out,
                shard=shard,
                compute=compute,
            )
        masks = Masks(str(tmp_path / str(shards)), index)
        found.append([masks.read(i) for i in range(len(index))])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_a_batch_that_does_not_fit_is_one_line(tiny, tmp_path, device, compute, refused):
    if device.type == "cpu":
        pytest.skip("of a GPU's memory")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(device) + 150e6) / total, device
    )
    try:
        with refused("pretrain.batch_size: 4 of 4 images in this process", "GPU memory is full"):
            train(
                tiny, tmp_path / "s.pt", compute=compute, config=tiny.config(views={"crop": 1024})
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.parametrize("size", [(480, 640), (3000, 4000)])
def test_memory_is_foreseen(device, size):
    if device.type == "cpu":
        pytest.skip("of a GPU's memory")
    features = FeatureExtractor(Backbone("resnet50"), "layer2.2", device, torch.bfloat16)
    images = [np.zeros((*size, 3), np.uint8)] * 16
    features(images[:1])
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    found = features(images if size[0] < 1000 else images[:1])
    used = torch.cuda.max_memory_allocated(device) - before
    needed = memory_needed(
        "resnet50",
        "layer2.2",
        height=size[0],
        width=size[1],
        precision=torch.bfloat16,
        device=device,
    )
    print(f"{size}: {used / 1e6:.0f} MB used, {needed / 1e6:.0f} MB foreseen")
    assert 0.25 * needed < used < needed + sum(f.nbytes for f in found)


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_come_to_the_state_of_one(tiny, trained, tmp_path, device, processes):
    """By NCCL, with BatchNorm synchronised; one process under torchrun goes the same way."""
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        pytest.skip(f"fewer than {processes} GPUs")
    if device.type == "cpu" and processes > 1:
        pytest.skip("BatchNorm is not synchronised on CPUs")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = on(device, command(tiny, tmp_path / "s.pt"))[1:]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    shown = subprocess.run(
        [*launch, f"--nproc-per-node={processes}", *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert shown.returncode == 0, shown.stderr
    same_steps(load_state(tmp_path / "s.pt"), load_state(trained))


def test_the_whole_loop(tmp_path, device):
    """Two rounds by the command line alone, from scenes to a table of mask quality."""
    config = {
        "run": "loop",
        "rounds": 2,
        "shards": 1,
        "data": {"scenes": {"images": 32, "height": 96, "width": 128}},
        "model": {"architecture": "resnet18", "hidden": 64, "projection": 32},
        "views": {"crop": 96},
        "pretrain": {"epochs": 2, "batch_size": 16, "schedule": {"kind": "step"}},
        "bootstrap": {"block": "layer2.1", "clusters": [2, 8]},
    }
    given, compute = ["--config", json.dumps(config)], ["--device", device.type]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}

    def cyborgs(*words):
        shown = subprocess.run(
            [sys.executable, "-m", "cyborgs", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert shown.returncode == 0, shown.stderr
        return shown.stderr

    cyborgs("scenes", *given, "--out", "scenes")
    where = ["--images", "scenes/images", "--index", "index.jsonl"]
    cyborgs("index", "--images", "scenes/images", "--out", "index.jsonl")
    cyborgs("seed", "state", *given, "--out", "state-0.pt")
    cyborgs("seed", "masks", *given, *where, "--shard", "0", "--out", "masks-0/shard-0.h5")
    for number in (1, 2):
        said = cyborgs(
            "pretrain", *given, *where, *compute, "--round", str(number), "--workers", "0",
            "--state", f"state-{number - 1}.pt", "--masks", f"masks-{number - 1}",
            "--out", f"state-{number}.pt",
        )  # fmt: skip
        assert "computing in " in said
        cyborgs(
            "bootstrap", *given, *where, *compute, "--round", str(number), "--shard", "0",
            "--state", f"state-{number}.pt", "--out", f"masks-{number}/shard-0.h5",
        )  # fmt: skip
        cyborgs(
            "masks", "quality", f"masks-{number}", "--index", "index.jsonl",
            "--annotations", "scenes/annotations.json", "--out", f"quality-{number}.json",
        )  # fmt: skip
        assert json.loads((tmp_path / f"quality-{number}.json").read_text())
    cyborgs(
        "evaluate", "objects", *given, *where, *compute, "--backbone", "state-2.pt",
        "--annotations", "scenes/annotations.json", "--out", "objects.json",
    )  # fmt: skip
