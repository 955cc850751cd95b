"""Stage `seed masks`: threads, memory, and what a shard says of how it was made."""

import subprocess
import sys

import numpy as np
import pytest
from skimage.segmentation import felzenszwalb

from cyborgs.config import parse
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Masks, Shard
from cyborgs.stages import index, seed_masks
from tests.stages.conftest import FELZ


def blocks(height, width):
    """Rectangles of random colours, 30 x 40 pixels each, and a little noise."""
    rng = np.random.default_rng(height)
    colours = rng.integers(0, 256, (-(-height // 30), -(-width // 40), 3))
    pixels = np.kron(colours, np.ones((30, 40, 1), int))[:height, :width]
    return np.clip(pixels + rng.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def large(tmp_path_factory, write_image):
    """Two images whose short side is over 224 pixels, and their index."""
    folder = tmp_path_factory.mktemp("large")
    for name, size in (("a.png", (240, 330)), ("b.png", (301, 250))):
        write_image(folder / "images" / name, blocks(*size))
    index.run(folder / "images", folder / "index.jsonl", threads=1)
    return folder


def seed(folder, out, threads=1, **settings):
    config = parse({"shards": 1, "bootstrap": {"group": 2}, **settings})
    seed_masks.run(
        config,
        images=folder / "images",
        index_path=folder / "index.jsonl",
        out=out,
        shard=0,
        threads=threads,
    )
    return Masks(str(out), read_index(folder / "index.jsonl"))


def test_by_default_images_are_segmented_at_full_size_as_detcon_does(large, tmp_path):
    masks = seed(large, tmp_path / "x.h5")
    for position, size in enumerate([(240, 330), (301, 250)]):
        expected = felzenszwalb(blocks(*size), scale=1000, sigma=0.8, min_size=1000)
        assert len(np.unique(expected)) > 10
        np.testing.assert_array_equal(masks.read(position), expected[::8, ::8])


@pytest.mark.parametrize("settings", [FELZ, {"kind": "slic"}], ids=lambda s: s["kind"])
def test_threads_change_no_byte(tiny, tmp_path, settings):
    config = tiny.config(seed_masks=settings)
    for threads in (1, 3):
        out = tmp_path / f"{threads}.h5"
        seed_masks.run(
            config, images=tiny.images, index_path=tiny.index, out=out, shard=0, threads=threads
        )
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


@pytest.mark.parametrize(
    ("settings", "stage", "version"),
    [
        ({"kind": "grid"}, "seed-masks", 1),
        ({"kind": "global"}, "seed-masks", 1),
        ({"kind": "slic"}, "seed-masks", 1),
        ({"kind": "felzenszwalb"}, "seed-masks-felzenszwalb", 2),
    ],
)
def test_only_the_kind_whose_default_changed_is_made_again(
    tiny, tmp_path, settings, stage, version
):
    config = tiny.config(seed_masks=settings)
    seed_masks.run(
        config, images=tiny.images, index_path=tiny.index, out=tmp_path / "x.h5", shard=0
    )
    with Shard(tmp_path / "x.h5") as shard:
        record = shard.header.provenance
    assert (record["stage"], record["stage_version"]) == (stage, version)


class TestMemory:
    def test_an_image_that_does_not_fit_is_named_before_anything_is_written(
        self, large, tmp_path, monkeypatch, refused
    ):
        monkeypatch.setattr(seed_masks, "available_memory", lambda: 20_000_000)
        with refused("image a.png: 240 x 330 pixels", "0.0 GB are free", "seed_masks.short_side"):
            seed(large, tmp_path / "x.h5")
        assert not list(tmp_path.iterdir())

    def test_threads_are_as_many_as_fit(self, large, tmp_path, monkeypatch):
        asked = []
        in_order = seed_masks.in_order

        def counted(make, items, threads, ahead):
            asked.append(threads)
            return in_order(make, items, threads, ahead)

        monkeypatch.setattr(seed_masks, "in_order", counted)
        settings = {"kind": "felzenszwalb", "short_side": 60, "min_size": 50}
        need = 350 * 60 * 82 + 3 * 240 * 330
        for free in (need, 2 * need, 3 * need - 1, 9 * need, None):
            monkeypatch.setattr(seed_masks, "available_memory", lambda free=free: free)
            seed(large, tmp_path / "x.h5", threads=4, seed_masks=settings)
        assert asked == [1, 2, 2, 4, 4]

    def test_a_shrunk_image_takes_less(self, large, tmp_path, monkeypatch):
        monkeypatch.setattr(seed_masks, "available_memory", lambda: 10_000_000)
        settings = {"kind": "felzenszwalb", "short_side": 100, "min_size": 50}
        assert len(seed(large, tmp_path / "x.h5", seed_masks=settings).positions) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "settings",
        [{"kind": "felzenszwalb", "min_size": 50}, {"kind": "slic"}],
        ids=lambda settings: settings["kind"],
    )
    def test_it_is_foreseen(self, settings):
        """Of one image, in a process of its own: the peak is that of its life."""
        program = f"""
import re
import numpy as np
from cyborgs.config import parse
def peak():
    # That of `getrusage` begins with the memory of the process that started this one.
    return 1024 * int(re.search("VmHWM: *\t *([0-9]+) kB", open("/proc/self/status").read())[1])
pixels = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
method = parse({{"seed_masks": {settings}}}).seed_masks
method.labels(pixels[:64, :64])
before = peak()
method.labels(pixels)
print((peak() - before) / method.memory_needed(500, 700))
"""
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert 0.7 < float(shown.stdout) < 1.05, shown


def test_more_segments_than_a_shard_can_hold_are_refused_by_image(tmp_path, write_image, refused):
    write_image(tmp_path / "images/noise.png", (260, 260))
    index.run(tmp_path / "images", tmp_path / "index.jsonl", threads=1)
    settings = {"kind": "felzenszwalb", "stride": 1, "scale": 1e-6, "min_size": 1, "sigma": 0}
    with refused("seed masks: image noise.png has", "labels; at most 65536 are allowed"):
        seed(tmp_path, tmp_path / "x.h5", seed_masks=settings)
    assert not (tmp_path / "x.h5").exists()
