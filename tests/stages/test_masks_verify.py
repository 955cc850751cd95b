"""``cyborgs masks verify`` names what is broken, and finds nothing where nothing is."""

import shutil

import h5py
import pytest

from cyborgs.images.index import read_index
from cyborgs.masks.shards import Header, Shard, write_shard
from cyborgs.run.paths import Run
from cyborgs.run.sources import resolve
from cyborgs.stages import seed_state
from cyborgs.stages.masks import verify


def problems(folder):
    return verify.run(resolve(str(folder)))["problems"]


def test_a_whole_run(results):
    result = verify.run(resolve(str(results)))
    assert result == {
        "rounds": ["seed", "round 1"], "shards": 4, "images": 26, "states": 2, "problems": [],
    }  # fmt: skip
    assert verify.text(result) == (
        "26 masks in 4 shards of seed, round 1, 2 states: all complete, and each made from the "
        "files before it"
    )


def test_a_round_by_itself(results):
    result = verify.run(resolve(str(results / "masks/round-01")))
    assert (result["shards"], result["states"], result["problems"]) == (2, 0, [])


def test_a_truncated_shard(copy):
    shard = copy / "masks/round-01/shard-0001-of-0002.h5"
    shard.write_bytes(shard.read_bytes()[:-200])
    (problem,) = problems(copy)
    assert f"mask shard {shard} is truncated" in problem


def test_a_round_whose_first_file_is_broken(copy):
    (copy / "masks/round-01/shard-0000-of-0002.h5").write_bytes(b"no HDF5")
    (problem,) = problems(copy / "masks/round-01")
    assert "shard-0000-of-0002.h5 is not HDF5" in problem


def test_every_broken_file_is_named(copy):
    for name in ("round-00/shard-0000", "round-01/shard-0001"):
        (copy / f"masks/{name}-of-0002.h5").write_bytes(b"no HDF5")
    found = problems(copy)
    assert len(found) == 2
    assert "round-00/shard-0000" in found[0]
    assert "round-01/shard-0001" in found[1]


def test_a_damaged_mask_is_named_by_its_image(copy):
    path = copy / "masks/round-01/shard-0000-of-0002.h5"
    with h5py.File(path) as file:
        key = sorted(file["masks"])[1]
        begin = file["masks"][key].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[begin + 3] ^= 0xFF
    path.write_bytes(content)
    (problem,) = problems(copy)
    assert f"mask shard {path} is damaged at image {int(key)}" in problem


def test_labels_beyond_k(copy):
    path = copy / "masks/round-01/shard-0000-of-0002.h5"
    index = read_index(copy / "index.jsonl")
    with Shard(path) as shard:
        header, groups = shard.header, shard.groups
        masks = {int(p): shard.read(int(p)) for p in shard.positions}
        first = next(iter(masks))
        masks[first][0, 0] = 77
    with write_shard(path, header) as writer:
        for (p, labels), group in zip(masks.items(), groups, strict=True):
            writer.add(p, index[p], labels, group=int(group), clusters=6)
    (problem,) = [p for p in problems(copy) if "labels" in p]
    assert f"mask shard {path}: image {first} has 78 labels, more than its K of 6" in problem


def test_a_missing_shard(copy):
    (copy / "masks/round-01/shard-0000-of-0002.h5").unlink()
    (problem,) = problems(copy)
    assert f"masks {copy / 'masks/round-01'}: 1 of 2 shards are missing (0)" in problem


def test_images_without_a_mask(copy):
    index = read_index(copy / "index.jsonl")
    path = copy / "masks/round-00/shard-0000-of-0002.h5"
    with Shard(path) as shard:
        header, positions = shard.header, [int(p) for p in shard.positions]
        masks = {p: shard.read(p) for p in positions[1:]}
    with write_shard(path, header) as writer:
        for p, labels in masks.items():
            writer.add(p, index[p], labels, group=-1, clusters=300)
    found = problems(copy)
    assert f"1 of 13 images have none, {index[positions[0]].name} among them" in found[0]


def test_masks_of_another_state(copy, tiny):
    seed_state.run(tiny.config(seed=99), Run(copy).state(0))
    (problem,) = problems(copy)
    assert f"state {Run(copy).state(1)} was made from another state than" in problem


def test_a_state_trained_on_other_masks(copy, results):
    index = read_index(copy / "index.jsonl")
    for path in sorted((copy / "masks/round-00").iterdir()):
        with Shard(path) as shard:
            header = shard.header
            masks = {int(p): shard.read(int(p)) for p in shard.positions}
        with write_shard(path, header) as writer:
            for p, labels in masks.items():
                writer.add(p, index[p], labels * 0, group=-1, clusters=1)
    (problem,) = problems(copy)
    assert f"state {Run(copy).state(1)} was made from another masks than" in problem


def test_a_damaged_state(copy):
    state = Run(copy).state(0)
    state.write_bytes(state.read_bytes()[:5000])
    (problem,) = problems(copy)
    assert str(state) in problem


def test_a_state_that_is_gone(copy):
    Run(copy).state(1).unlink()
    (problem,) = problems(copy)
    assert f"{Run(copy).state(1)}, from which they were made, is missing" in problem


def test_another_index(copy, results):
    lines = (results / "index.jsonl").read_text().splitlines(keepends=True)
    (copy / "index.jsonl").write_text("".join(lines).replace("000001.jpg", "000099.jpg"))
    found = problems(copy)
    assert any("was made for another index" in p for p in found)


def test_shards_of_other_settings_side_by_side(copy):
    path = copy / "masks/round-01/shard-0000-of-0002.h5"
    index = read_index(copy / "index.jsonl")
    with Shard(path) as shard:
        h = shard.header
        masks = {int(p): shard.read(int(p)) for p in shard.positions}
    other = Header(h.round, h.stride, h.shard, h.shards, h.index, h.provenance | {"config": {}})
    with write_shard(path, other) as writer:
        for p, labels in masks.items():
            writer.add(p, index[p], labels, group=-1, clusters=300)
    assert any("made with different inputs or settings" in p for p in problems(copy))


@pytest.mark.parametrize("name", ["index.jsonl"])
def test_a_damaged_index(copy, name):
    (copy / name).write_text("nonsense")
    assert any("index" in p for p in problems(copy))


def test_nothing_is_changed(copy, tmp_path):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    problems(copy)
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
    shutil.rmtree(copy)
