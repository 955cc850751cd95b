"""An image that goes bad after it was indexed: named, or left out of masks and training."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cyborgs.common.errors import InputError
from cyborgs.images.index import read_index
from cyborgs.masks.groups import groups_of
from cyborgs.masks.shards import Masks, Shard
from cyborgs.run.sources import Sources
from cyborgs.stages import bootstrap, pretrain, seed_masks
from cyborgs.stages.masks import info, verify
from cyborgs.training.batches import Steps
from tests.stages.conftest import COMPUTE, FELZ, TinyRun

BAD = 5


@dataclass(frozen=True)
class Damaged:
    run: TinyRun
    images: Path
    bad: Path

    def bootstrap(self, out, on_bad_image, shard=0, **changes):
        run = self.run
        config = run.config(**changes)
        bootstrap.run(
            config,
            number=0,
            images=self.images,
            index_path=run.index,
            state_path=run.state,
            out=out,
            shard=shard,
            compute=COMPUTE,
            on_bad_image=on_bad_image,
        )

    def seed(self, out, on_bad_image):
        config = self.run.config(seed_masks=FELZ)
        seed_masks.run(
            config,
            images=self.images,
            index_path=self.run.index,
            out=out,
            shard=0,
            annotations=None,
            on_bad_image=on_bad_image,
        )


def cut(content):
    return content[:-7]


def overwritten(content):
    return bytes(len(content))


@pytest.fixture(params=[cut, overwritten])
def damaged(tiny, tmp_path, request):
    """The tiny run, with an image that is not the one that was indexed."""
    images = shutil.copytree(tiny.images, tmp_path / "images")
    bad = images / read_index(tiny.index)[BAD].name
    bad.write_bytes(request.param(bad.read_bytes()))
    return Damaged(tiny, images, bad)


@pytest.mark.parametrize("stage", ["bootstrap", "seed"])
def test_it_is_named_and_nothing_is_written(damaged, tmp_path, stage):
    with pytest.raises(InputError, match=damaged.bad.name):
        getattr(damaged, stage)(tmp_path / "out/x.h5", "error")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("stage", ["bootstrap", "seed"])
def test_or_it_is_left_out_and_listed(damaged, tmp_path, stage, capsys):
    getattr(damaged, stage)(tmp_path / "x.h5", "skip")
    assert f"left out: image {damaged.bad.name}: " in capsys.readouterr().err
    with Shard(tmp_path / "x.h5") as shard:
        assert sorted(shard.positions.tolist()) == [p for p in range(13) if p != BAD]
        assert list(shard.skipped) == [BAD]
        assert damaged.bad.name in shard.skipped[BAD]
    sources = Sources((("x", str(tmp_path / "x.h5")),), index=damaged.run.index)
    told = info.run(sources)
    assert told[0]["images"] == 12
    assert f"skipped   1 that cannot be decoded, such as image {damaged.bad.name}" in info.text(
        told
    )
    assert verify.run(sources)["problems"] == []


def test_only_its_group_is_clustered_otherwise(damaged, tmp_path):
    run = damaged.run
    damaged.bootstrap(tmp_path / "x.h5", "skip")
    bootstrap.run(
        run.config(),
        number=0,
        images=run.images,
        index_path=run.index,
        state_path=run.state,
        out=tmp_path / "y.h5",
        shard=0,
        compute=COMPUTE,
    )
    with Shard(tmp_path / "x.h5") as found, Shard(tmp_path / "y.h5") as whole:
        for group in groups_of(13, 3, 3):
            for position in group.tolist():
                if BAD not in group:
                    np.testing.assert_array_equal(found.read(position), whole.read(position))


def test_the_number_of_shards_still_changes_no_label(damaged, tmp_path):
    damaged.bootstrap(tmp_path / "one/x.h5", "skip")
    for shard in range(3):
        damaged.bootstrap(tmp_path / f"three/{shard}.h5", "skip", shard, shards=3)
    index = read_index(damaged.run.index)
    assert (
        Masks(str(tmp_path / "one"), index).digest == Masks(str(tmp_path / "three"), index).digest
    )


def test_training_never_draws_it(damaged, tmp_path, capsys):
    run = damaged.run
    damaged.bootstrap(tmp_path / "x.h5", "skip")
    damaged.bad.unlink()
    pretrain.run(
        run.config(),
        number=1,
        images=damaged.images,
        index_path=run.index,
        state_path=run.state,
        masks_where=str(tmp_path / "x.h5"),
        out=tmp_path / "s.pt",
        work=tmp_path / "work",
        compute=COMPUTE,
    )
    assert "1 images have no mask and are not drawn" in capsys.readouterr().err


def test_given_masks_that_lack_it_say_so_again(damaged, tmp_path):
    run = damaged.run
    damaged.bootstrap(tmp_path / "x.h5", "skip")
    config = run.config(seed_masks={"kind": "file", "masks": str(tmp_path / "x.h5")})
    with pytest.raises(InputError, match=damaged.bad.name):
        seed_masks.run(
            config, images=run.images, index_path=run.index, out=tmp_path / "y.h5", shard=0
        )
    seed_masks.run(
        config,
        images=run.images,
        index_path=run.index,
        out=tmp_path / "y.h5",
        shard=0,
        annotations=None,
        on_bad_image="skip",
    )
    with Shard(tmp_path / "y.h5") as shard:
        assert list(shard.skipped) == [BAD]


@pytest.mark.parametrize("stage", ["bootstrap", "seed"])
def test_an_image_that_cannot_be_read_always_stops(damaged, tmp_path, stage):
    """The file system may be back in a minute."""
    damaged.bad.unlink()
    with pytest.raises(InputError, match=rf"{damaged.bad.name}.*No such file"):
        getattr(damaged, stage)(tmp_path / "out/x.h5", "skip")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("stage", ["bootstrap", "seed"])
def test_a_shard_without_any_image_is_refused(damaged, tmp_path, stage):
    for path in damaged.images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of its 13 images can be decoded"):
        getattr(damaged, stage)(tmp_path / "out/x.h5", "skip")
    assert not list(tmp_path.glob("out/*"))


def test_an_epoch_has_as_many_steps_and_draws_none_without_a_mask():
    drawn = np.delete(np.arange(13), [BAD, 7])
    steps = list(Steps(13, drawn, batch_size=4, first=0, last=6, seed=1, rank=0, ranks=1))
    assert len(steps) == 6
    for epoch in range(2):
        positions = [p for step in steps for e, p in step if e == epoch]
        assert set(positions) == set(drawn.tolist())
        assert len(positions) == 12
