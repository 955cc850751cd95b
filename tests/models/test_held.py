"""How much memory a network needs, counted on shapes."""

import subprocess
import sys

import pytest
import timm.layers
import torch

from cyborgs.models.backbones import family_of
from cyborgs.models.backbones import timm as family
from cyborgs.models.backbones.held import most_held


def test_what_is_held_is_counted_as_it_comes_and_goes():
    given = torch.empty(1000, device="meta")

    def compute():
        a = given + 1  # 4,000 bytes
        b = a.view(10, 100).chunk(2)  # views
        b[0].relu_()
        given.view(10, 100).relu_()  # of what was given
        c = a * 2  # 8,000
        del a
        d = c[:500] + 1  # 10,000: the views still hold what was made first
        del b, c
        return torch.cat([d, d])  # 6,000

    assert most_held(compute) == 10_000
    assert most_held(lambda: given.view(10, 100).relu_()) == 0


def test_attention_is_held_by_its_locations_where_it_is_fused(monkeypatch):
    name, heads, patch = "timm/vit_tiny_patch16_224", 3, 16

    def memory(pixels):
        return family_of(name).memory(name, "blocks.3", pixels=pixels, itemsize=4)

    linear, quadratic = family._growth(name, "blocks.3")
    assert quadratic == 0
    # A block's hidden layer, four times as wide, before and behind its activation; what the block
    # adds to, its norm, and one more; and the image, as given and moved by half a patch.
    width = 192 / patch**2
    assert (4 + 4 + 1) * width + 6 <= linear <= (4 + 4 + 4) * width + 6.1
    held = [memory(n) for n in (10**6, 4 * 10**6)]
    assert held[1] == pytest.approx(4 * held[0])

    fused = timm.layers.use_fused_attn()
    family._growth.cache_clear()
    timm.layers.set_fused_attn(False)
    try:
        _, quadratic = family._growth(name, "blocks.3")
        held = [memory(n) for n in (10**6, 4 * 10**6)]
    finally:
        timm.layers.set_fused_attn(bool(fused))
        family._growth.cache_clear()
    # Products of all pairs of locations, before and behind the softmax.
    assert quadratic * patch**4 == pytest.approx(2 * heads, rel=0.02)
    assert held[1] > 12 * held[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "block"),
    [
        ("timm/convnext_tiny", "stages.1"),
        ("timm/vit_small_patch16_224", "blocks.1"),
        ("timm/efficientnet_b0", "blocks.2"),
    ],
)
def test_memory_is_foreseen(architecture, block):
    """In a process that keeps what it freed, as the stage does that makes masks."""
    program = f"""
import re, numpy, torch
from pathlib import Path
from cyborgs.bootstrap.features import FeatureExtractor, memory_needed
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.runtime.memory import give_back, keep_freed_memory
keep_freed_memory()
cpu, precision = torch.device("cpu"), torch.float32
features = FeatureExtractor(Backbone("{architecture}"), "{block}", cpu, precision)
needed = memory_needed(
    "{architecture}", "{block}", height=600, width=900, precision=precision, device=cpu
)
def now(field):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(field + r":\\s*(\\d+) kB", status)[1])
image = numpy.zeros((600, 900, 3), numpy.uint8)
features([image[:64, :64]])
give_back()
Path("/proc/self/clear_refs").write_text("5")
before = now("VmRSS")
features([image, image])
print((now("VmHWM") - before) / needed)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 0.4 < float(shown.stdout) < 1.3, shown
