"""Masks from features: a function of state, images and settings alone."""

import importlib.util
import os
import subprocess
import sys
from functools import partial

import cv2
import h5py
import numpy as np
import pytest
import torch
import torchvision
from sklearn.cluster import KMeans

from cyborgs.bootstrap.features import TOGETHER, FeatureExtractor, memory_needed
from cyborgs.bootstrap.kmeans import cluster
from cyborgs.cli import main
from cyborgs.common.errors import InputError
from cyborgs.config import Bootstrap, parse_run
from cyborgs.images.decoding import decode
from cyborgs.images.index import read_index
from cyborgs.masks.groups import groups_of
from cyborgs.masks.shards import Masks, Shard
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import IMAGENET
from cyborgs.models.normalise import normalise
from cyborgs.pretraining.state import load_state, save_state
from cyborgs.runtime import hardware
from cyborgs.stages import bootstrap, index
from tests.precision import needs_bfloat16
from tests.stages.conftest import COMPUTE, SETTINGS


def make(tiny, folder, shards, only=None, **changes):
    config = tiny.config(shards=shards, **changes)
    for shard in range(shards) if only is None else only:
        path = folder / f"shard-{shard}.h5"
        bootstrap.run(
            config,
            number=0,
            images=tiny.images,
            index_path=tiny.index,
            state_path=tiny.state,
            out=path,
            shard=shard,
            compute=COMPUTE,
        )
    return folder


def labels_of(folder, tiny):
    masks = Masks(str(folder), read_index(tiny.index))
    return {int(p): masks.read(int(p)) for p in masks.positions}, masks.digest


@pytest.fixture(scope="session")
def one_shard(tiny):
    return make(tiny, tiny.folder / "bootstrapped", 1)


@pytest.mark.parametrize("shards", [3, 7])
def test_the_number_of_shards_and_their_order_change_no_label(tiny, tmp_path, shards):
    pairs = {"bootstrap": tiny.config().bootstrap.model_dump() | {"group": 2}}
    make(tiny, tmp_path / "one", 1, **pairs)
    make(tiny, tmp_path / "several", shards, only=reversed(range(shards)), **pairs)
    expected, digest = labels_of(tmp_path / "one", tiny)
    found, found_digest = labels_of(tmp_path / "several", tiny)
    assert found.keys() == expected.keys()
    for position, labels in expected.items():
        np.testing.assert_array_equal(found[position], labels)
    assert found_digest == digest


def test_a_shard_made_twice_is_the_same_bytes(tiny, one_shard, tmp_path):
    make(tiny, tmp_path, 1)
    assert (tmp_path / "shard-0.h5").read_bytes() == (one_shard / "shard-0.h5").read_bytes()


def test_more_shards_than_groups_are_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="6 shards of 5 groups; set shards to 5 at most"):
        make(tiny, tmp_path, 6)
    assert not list(tmp_path.iterdir())


def test_labels_are_shared_in_a_group_and_k_is_within_its_range(tiny, one_shard):
    index = read_index(tiny.index)
    drawn = set()
    with Shard(one_shard / "shard-0.h5") as shard:
        for number, members in enumerate(groups_of(len(index), 3, 3)):
            rows = np.flatnonzero(shard.groups == number)
            assert shard.positions[rows].tolist() == members.tolist()
            (k,) = set(shard.clusters[rows].tolist())
            assert 2 <= k <= 6
            drawn.add(k)
            seen = np.unique(np.concatenate([shard.read(int(p)).ravel() for p in members]))
            assert seen.max() < k
    assert len(drawn) > 1


def test_labels_are_the_nearest_centroid_of_the_groups_features(tiny, one_shard):
    """Every location's label has the nearest mean of all locations with that label."""
    index = read_index(tiny.index)
    state = load_state(tiny.state)
    backbone = Backbone("resnet18")
    backbone.load_state_dict(state.backbone())
    features = FeatureExtractor(backbone, "layer2.1", torch.device("cpu"), torch.float32)
    with Shard(one_shard / "shard-0.h5") as shard:
        members = shard.positions[shard.groups == 0]
        points, labels = [], []
        for p in members:
            e = index[int(p)]
            image = decode(tiny.images, e)
            (found,) = features([image])
            assert found.shape[:2] == shard.read(int(p)).shape
            torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:2]))
            points.append(found.flatten(0, 1).numpy())
            labels.append(shard.read(int(p)).ravel())
    points, labels = np.concatenate(points), np.concatenate(labels)
    means = np.stack([points[labels == k].mean(0) for k in np.unique(labels)])
    nearest = ((points[:, None] - means) ** 2).sum(-1).argmin(1)
    agree = (np.unique(labels)[nearest] == labels).mean()
    assert agree > 0.95  # k-means is stopped after few iterations


def test_k_is_capped_at_the_smallest_grid(tiny, tmp_path):
    changed = tiny.config().bootstrap.model_dump() | {"clusters": [2000, 2000]}
    make(tiny, tmp_path, 1, bootstrap=changed)
    with Shard(tmp_path / "shard-0.h5") as shard:
        assert set(shard.clusters.tolist()) == {8 * 12}


def test_a_limit_takes_the_first_groups(tiny, tmp_path):
    path = tmp_path / "some.h5"
    bootstrap.run(
        tiny.config(),
        number=0,
        images=tiny.images,
        index_path=tiny.index,
        state_path=tiny.state,
        out=path,
        shard=0,
        compute=COMPUTE,
        limit=4,
    )
    with Shard(path) as shard:
        assert sorted(set(shard.groups.tolist())) == [0, 1]
        assert len(shard) == 6


def test_a_block_that_the_state_lacks_is_named(tiny, tmp_path):
    changed = tiny.config().bootstrap.model_dump() | {"block": "layer2.2"}
    with pytest.raises(InputError, match=r"resnet18 has no block layer2\.2"):
        make(tiny, tmp_path, 1, bootstrap=changed)
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_round_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"is of round 0, not 1"):
        bootstrap.run(
            tiny.config(),
            number=1,
            images=tiny.images,
            index_path=tiny.index,
            state_path=tiny.state,
            out=tmp_path / "x.h5",
            shard=0,
            compute=COMPUTE,
        )


def test_features_do_not_depend_on_the_images_before(tiny):
    backbone = Backbone("resnet18")
    features = FeatureExtractor(backbone, "layer2.1", torch.device("cpu"), torch.bfloat16)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, w, 3), dtype=np.uint8) for w in (50, 33, 50)]
    first = features(images)
    again = features(images[::-1])[::-1]
    for a, b in zip(first, again, strict=True):
        assert a.dtype == torch.bfloat16
        assert torch.equal(a, b)


EXACT = Bootstrap(exact=True)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("settings", [EXACT, Bootstrap(), Bootstrap(refinements=0)], ids=str)
def test_kmeans_is_nearly_as_good_as_scikit_learns(settings, precision):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(20000, 8))).to(precision)
    labels = cluster(points, 10, seed=1, settings=settings)
    values = points.double().numpy()
    best = KMeans(10, n_init=2, random_state=0).fit(values).inertia_
    assert 0.99 * best < spread(values, labels) < 1.04 * best
    assert np.array_equal(labels, cluster(points, 10, seed=1, settings=settings))
    assert not np.array_equal(labels, cluster(points, 10, seed=2, settings=settings))


def spread(points, labels):
    """Sum of squared distances to the means of the clusters."""
    parts = [points[labels == k] for k in np.unique(labels)]
    return sum(((part - part.mean(0)) ** 2).sum() for part in parts)


def test_kmeans_without_shortcuts_is_lloyds_algorithm():
    points = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    settings = Bootstrap(iterations=7, tolerance=0.0)
    found = cluster(torch.from_numpy(points), 6, seed=3, settings=settings)
    first = np.random.default_rng(3).permutation(400)[:6]
    expected = KMeans(6, init=points[first], n_init=1, max_iter=7, tol=0, algorithm="lloyd")
    assert np.array_equal(found, expected.fit(points).labels_)


def test_an_empty_cluster_takes_half_of_the_largest():
    """Of the first centroids many coincide, so all but one of them begin empty."""
    rng = np.random.default_rng(0)
    points = np.concatenate([np.zeros((50, 4)), rng.normal(size=(450, 4))]).astype(np.float32)
    settings = Bootstrap(iterations=30, tolerance=0.0)
    labels = cluster(torch.from_numpy(points), 40, seed=0, settings=settings)
    assert len(np.unique(labels)) == 40


@pytest.mark.parametrize("settings", [EXACT, Bootstrap()], ids=["exact", "default"])
def test_kmeans_refuses_what_it_cannot_cluster(settings):
    points = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="4 clusters of 3 points"):
        cluster(points, 4, seed=0, settings=settings)
    points[1, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        cluster(points, 2, seed=0, settings=settings)


@pytest.mark.parametrize("settings", [EXACT, Bootstrap()], ids=["exact", "default"])
def test_one_cluster_and_equal_points(settings):
    points = torch.ones(10, 4)
    assert cluster(points, 1, seed=0, settings=settings).tolist() == [0] * 10
    assert cluster(points, 3, seed=0, settings=settings).max() < 3


def test_features_are_those_of_the_whole_network():
    """Though normalisation is folded into the convolutions."""
    torch.manual_seed(0)
    backbone = Backbone("resnet18")
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    features = FeatureExtractor(backbone, "layer2.1", torch.device("cpu"), torch.float32)
    with torch.no_grad():
        whole = backbone.eval()(normalise(torch.from_numpy(image)[None], IMAGENET))["layer2"][
            0
        ].permute(1, 2, 0)
    expected = whole / whole.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(features([image])[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("exact", [True, False])
def test_every_way_of_clustering_makes_masks(tiny, tmp_path, precision, exact):
    changed = tiny.config().bootstrap.model_dump() | {"precision": precision, "exact": exact}
    make(tiny, tmp_path / "one", 1, bootstrap=changed)
    make(tiny, tmp_path / "three", 3, bootstrap=changed)
    assert labels_of(tmp_path / "one", tiny)[1] == labels_of(tmp_path / "three", tiny)[1]


def test_masks_say_in_what_they_were_computed(tiny, tmp_path, monkeypatch):
    section = tiny.config().bootstrap.model_dump() | {"precision": "auto"}
    for native, expected in ((("bfloat16",), "bfloat16"), ((), "float32")):
        monkeypatch.setattr(hardware, "native_precisions", lambda device, native=native: native)
        make(tiny, tmp_path / expected, 1, bootstrap=section)
        with Shard(tmp_path / expected / "shard-0.h5") as shard:
            made = shard.header.provenance
        assert made["hardware"]["precision"] == expected
        assert made["config"]["bootstrap"]["precision"] == "auto"


def test_shards_of_one_round_may_come_from_other_hardware(tiny, tmp_path, monkeypatch):
    section = tiny.config().bootstrap.model_dump() | {"precision": "auto"}
    config = tiny.config(shards=2, bootstrap=section)
    for shard, native in enumerate((("bfloat16",), ())):
        monkeypatch.setattr(hardware, "native_precisions", lambda device, native=native: native)
        out = tmp_path / f"shard-{shard}.h5"
        bootstrap.run(
            config,
            number=0,
            images=tiny.images,
            index_path=tiny.index,
            state_path=tiny.state,
            out=out,
            shard=shard,
            compute=COMPUTE,
        )
    index = read_index(tiny.index)
    assert len(Masks(str(tmp_path), index).positions) == len(index)


def test_faiss_is_needed_by_exact_clustering_alone(tiny, tmp_path, monkeypatch, refused):
    find = importlib.util.find_spec
    missing = lambda name, *given: None if name == "faiss" else find(name, *given)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    monkeypatch.setitem(sys.modules, "faiss", None)
    make(tiny, tmp_path / "ours", 1)
    section = tiny.config().bootstrap.model_dump() | {"exact": True}
    with refused("bootstrap.exact: needs FAISS, which is not installed", "pip install faiss-cpu"):
        make(tiny, tmp_path / "exact", 1, bootstrap=section)
    assert not (tmp_path / "exact").exists()
    with pytest.raises(InputError, match=r"config: bootstrap\.exact: needs FAISS"):
        parse_run(SETTINGS | {"bootstrap": section})


def test_a_group_that_does_not_fit_is_named_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "available_memory", lambda: 10**3)
    with pytest.raises(InputError, match=r"^image \d+\.jpg: 64 x 96 pixels .* 0\.0 GB are free"):
        make(tiny, tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_memory_that_runs_out_names_the_images(tiny, tmp_path, monkeypatch):
    def fail(*given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(FeatureExtractor, "__call__", fail)
    with pytest.raises(InputError, match=r"^image \d+\.jpg or the 2 clustered with it: no memory"):
        make(tiny, tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_a_state_that_diverged_is_named(tiny, tmp_path, refused):
    state = load_state(tiny.state)
    next(iter(state.online.values()))[0] = torch.nan
    save_state(tmp_path / "state.pt", state)
    with refused(
        f"state {tmp_path / 'state.pt'}", "are not finite", "lower pretrain.base_learning_rate"
    ):
        bootstrap.run(
            tiny.config(),
            number=0,
            images=tiny.images,
            index_path=tiny.index,
            state_path=tmp_path / "state.pt",
            out=tmp_path / "shard.h5",
            shard=0,
            compute=COMPUTE,
        )
    assert not (tmp_path / "shard.h5").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_memory_is_foreseen(precision):
    """Of one image, in a process of its own: the peak is that of its life."""
    program = f"""
import re, numpy, torch
from cyborgs.bootstrap.features import FeatureExtractor, memory_needed
from cyborgs.models.backbones.backbone import Backbone
precision = torch.{precision}
cpu = torch.device("cpu")
features = FeatureExtractor(Backbone("resnet50"), "layer2.2", cpu, precision)
needed = memory_needed(
    "resnet50", "layer2.2", height=2500, width=4000, precision=precision, device=cpu
)
def peak():
    # That of `getrusage` begins with the memory of the process that started this one.
    return 1024 * int(re.search("VmHWM: *\\t *([0-9]+) kB", open("/proc/self/status").read())[1])
features([numpy.zeros((64, 64, 3), numpy.uint8)])
before = peak()
features([numpy.zeros((2500, 4000, 3), numpy.uint8)])
print((peak() - before) / needed)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 0.4 < float(shown.stdout) < 1.2, shown


def test_more_memory_is_foreseen_where_bfloat16_is_computed_as_float32(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")

    def of(height, width, precision, device):
        size = {"height": height, "width": width}
        return memory_needed("resnet50", "layer2.2", **size, precision=precision, device=device)

    needed = {}
    for kind in ("AVX512", "AVX2", "DEFAULT"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda kind=kind: kind)
        needed[kind] = of(100, 100, torch.bfloat16, cpu)
        assert of(100, 100, torch.float32, cpu) == 45 * 4 * 10_000
        assert of(100, 100, torch.bfloat16, cuda) == 45 * 2 * TOGETHER
        assert of(5000, 4000, torch.bfloat16, cuda) == 45 * 2 * 20_000_000
    assert needed == {"AVX512": 900_000, "AVX2": 1_800_000, "DEFAULT": 1_800_000}


def test_images_of_any_size_and_of_one_colour_get_masks(tiny, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for height, width in [(1, 1), (3, 5), (64, 20_000), (200, 300)]:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{height}x{width}.png"), pixels)
    for value in (0, 77):
        cv2.imwrite(str(tmp_path / f"images/{value}.png"), np.full((100, 120, 3), value, np.uint8))
    index.run(tmp_path / "images", tmp_path / "index.jsonl", threads=1)
    listed = read_index(tmp_path / "index.jsonl")
    out = tmp_path / "shard.h5"
    config = tiny.config(shards=1)
    bootstrap.run(
        config,
        number=0,
        images=tmp_path / "images",
        index_path=tmp_path / "index.jsonl",
        state_path=tiny.state,
        out=out,
        shard=0,
        compute=COMPUTE,
    )
    with Shard(out) as shard:
        for position, entry in enumerate(listed.entries):
            assert shard.read(position).shape == (-(-entry.height // 8), -(-entry.width // 8))


def test_masks_from_any_backbone(tiny, tmp_path):
    """A checkpoint of another program, imported, makes masks."""
    torch.manual_seed(0)
    path, state, out = tmp_path / "theirs.pth", tmp_path / "round-00.pt", tmp_path / "shard-0.h5"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    assert main(["import", str(path), "--out", str(state)]) == 0
    command = ["bootstrap", "--config", tiny.json(), "--round", "0", "--images", str(tiny.images)]
    command += ["--index", str(tiny.index), "--state", str(state), "--shard", "0"]
    assert main([*command, "--out", str(out), "--device", "cpu", "--threads", "1"]) == 0
    assert Masks(str(out), read_index(tiny.index)).round == 0


class TestAShardThatIsThere:
    """As a job leaves it that outlived its workflow."""

    @pytest.fixture
    def shard(self, one_shard, tmp_path):
        """A copy; nothing that makes it anew leaves its inode."""
        path = tmp_path / "shard-0.h5"
        path.write_bytes((one_shard / "shard-0.h5").read_bytes())
        return path

    def is_kept(self, tiny, shard, **changes):
        before = shard.stat().st_ino
        make(tiny, shard.parent, 1, **changes)
        return shard.stat().st_ino == before

    def test_is_kept_and_newer_than_its_inputs(self, tiny, shard, capsys):
        os.utime(shard, (1, 1))
        content = shard.read_bytes()
        assert self.is_kept(tiny, shard)
        assert shard.read_bytes() == content
        assert shard.stat().st_mtime > 1e9
        told = (
            "is complete and was made from the same inputs with the same settings, so it is kept. "
        )
        assert f"{shard} {told}" in capsys.readouterr().err

    @pytest.mark.parametrize("key", ["seed", "bootstrap"])
    def test_is_made_anew_for_other_settings(self, tiny, shard, key):
        section = tiny.config().bootstrap.model_dump() | {"iterations": 3}
        assert not self.is_kept(tiny, shard, **{key: 4 if key == "seed" else section})

    def test_is_made_anew_where_it_is_of_other_images(self, tiny, shard):
        again = partial(
            bootstrap.run,
            tiny.config(shards=1),
            number=0,
            images=tiny.images,
            index_path=tiny.index,
            state_path=tiny.state,
            out=shard,
            shard=0,
            compute=COMPUTE,
        )
        whole = shard.read_bytes()
        again(limit=2)
        assert shard.read_bytes() != whole
        again()
        assert shard.read_bytes() == whole

    def test_is_made_anew_where_it_is_damaged(self, tiny, shard):
        whole = shard.read_bytes()
        with h5py.File(shard) as file:
            where = file["masks/000000003"].id.get_chunk_info(0).byte_offset
        damaged = bytearray(whole)
        damaged[where] ^= 255
        shard.write_bytes(damaged)
        assert not self.is_kept(tiny, shard)
        assert shard.read_bytes() == whole
        shard.write_bytes(whole[:1000])
        assert not self.is_kept(tiny, shard)
        assert shard.read_bytes() == whole


def test_a_k_that_is_lowered_is_told(tiny, tmp_path, capsys):
    section = tiny.config().bootstrap.model_dump() | {"clusters": [900, 900], "group": 5}
    make(tiny, tmp_path, 1, bootstrap=section)
    with Shard(tmp_path / "shard-0.h5") as shard:
        lowest = int(shard.clusters.min())
    assert lowest < 900
    told = "K was lowered in 3 of 3 groups, whose smallest image has fewer locations (from 900 to"
    assert f"{told} {lowest}, at most); see bootstrap.clusters" in capsys.readouterr().err
