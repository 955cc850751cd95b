"""The workflow with backbones of timm: photographs of any size and colour to a backbone."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Masks
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.pretraining.state import load_state
from cyborgs.run.paths import Run
from tests.runs import changed, commands, planned, snakemake, start

ADAMW = {"adamw": {"layer_decay": 0.75}, "base_learning_rate": 0.001}

# Of timm's networks for tests: block, its stride, optimiser.
FAMILIES = {
    "timm/test_vit": ("blocks.3", 16, ADAMW),
    "timm/test_convnext": ("stages.1.blocks.0", 8, ADAMW),
    "timm/test_efficientnet": ("blocks.2", 8, {}),
}
WHOLE = "timm/test_vit"


def write_photos(folder):
    """Twelve, with sides that are no multiples of a patch, and not all of them RGB."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(12):
        size = (65 + 7 * (number % 3), 99 - 8 * (number % 4))
        pixels = rng.integers(0, 256, (9, 13, 3), np.uint8)
        image = Image.fromarray(pixels).resize(size[::-1])
        image.convert({0: "L", 1: "CMYK"}.get(number, "RGB")).save(folder / f"{number:02d}.jpg")


def config_of(architecture):
    block, _, optimiser = FAMILIES[architecture]
    config = changed(
        shards=1,
        model={"architecture": architecture},
        bootstrap={"block": block},
        # The second round is long enough to be killed.
        pretrain={"epochs": [1, 10], **optimiser},
        compute={"checkpoint_minutes": 0},
    )
    return config | {"data": {"images": "photos"}, "seed_masks": {"kind": "features"}}


@pytest.fixture(scope="module", params=FAMILIES)
def ran(request, tmp_path_factory):
    """An architecture, and the folder in which its run has finished; one of them with a report."""
    folder = tmp_path_factory.mktemp("timm")
    write_photos(folder / "photos")
    target = [] if request.param == WHOLE else ["results/tiny/backbone.pth"]
    snakemake(folder, *target, config=config_of(request.param))
    return request.param, folder


@pytest.mark.slow
def test_a_run_with_a_network_of_timm(ran):
    architecture, folder = ran
    run = Run(folder / "results/tiny")
    state = load_state(run.state(2))
    assert state.architecture == architecture
    assert state.step == 3 + 30

    # timm's own network, and ours, from the file and from the state.
    network = timm.create_model(architecture.removeprefix("timm/"), num_classes=0).eval()
    content = torch.load(run.backbone, weights_only=True)
    network.load_state_dict(content["state_dict"], strict=True)
    ours = Backbone(architecture).eval()
    ours.load_state_dict(state.backbone())
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        outputs = ours(images)
        plain = len({stage.stride for stage in ours.stages.values()}) == 1
        expected = network.forward_intermediates(images, norm=plain, intermediates_only=True)
    for found, wanted in zip(outputs.values(), expected[-len(outputs) :], strict=True):
        assert torch.equal(found, wanted)

    index = read_index(run.index)
    assert len(index) == 12
    stride = FAMILIES[architecture][1]
    for number in range(2):
        masks = Masks(str(run.masks(number)), index)
        assert masks.stride == stride
        for position, entry in enumerate(index.entries):
            labels = masks.read(position)
            assert labels.shape == (grid_size(entry.height, stride), grid_size(entry.width, stride))
        assert max(len(np.unique(masks.read(position))) for position in range(12)) > 1


# One family is enough here: tests/stages/test_loop_of_timm.py interrupts all.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job's process through /proc")
@pytest.mark.parametrize("ran", [WHOLE], indirect=True)
def test_a_finished_run_rests_and_a_killed_round_continues_to_the_same_bytes(ran):
    architecture, folder = ran
    config, run = config_of(architecture), Run(folder / "results/tiny")
    page = run.report.read_text()
    assert f"2 rounds of {architecture} on 12 images" in page
    assert timm.__version__ in page
    whole, target = run.state(2).read_bytes(), "results/tiny/states/round-02.pt"
    assert planned(folder, config=config) == {}
    run.state(2).unlink()
    workflow = start(folder, target, config=config, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    # After a few of its steps.
    while not list(run.work.glob("pretrain-*")):
        assert workflow.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for process, words, _ in commands(folder):
        if words[0] == b"pretrain":
            os.kill(process, signal.SIGKILL)
    assert workflow.wait() != 0
    assert not run.state(2).exists()
    snakemake(folder, target, config=config)
    assert "continuing from step" in (run.folder / "logs/pretrain/round-02.log").read_text()
    assert run.state(2).read_bytes() == whole
