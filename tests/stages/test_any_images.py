"""Everything that a folder of images may hold, from the index to the report."""

import io
import struct

import numpy as np
import pytest
import yaml
from PIL import ExifTags, Image

from cyborgs.common.errors import InputError
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Masks
from cyborgs.run.paths import Run
from cyborgs.run.sources import resolve
from cyborgs.stages import bootstrap, index, pretrain, report, seed_masks, seed_state
from cyborgs.stages.masks import verify
from tests.stages.conftest import COMPUTE, FELZ

NOISE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def encoded(form, mode="RGB", pixels=NOISE, **options):
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "transparent":
        image = image.convert("P")
        options["transparency"] = 3
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned(form, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(form, exif=exif)


GOOD = {
    "progressive.jpg": encoded("JPEG", progressive=True),
    "inks.jpg": encoded("JPEG", "CMYK"),
    "grey.jpg": encoded("JPEG", "L"),
    "turned.jpg": turned("JPEG", 6),
    "shouting.JPEG": encoded("JPEG"),
    "a png that is called.jpeg": encoded("PNG"),
    "palette.png": encoded("PNG", "P"),
    "clear palette.png": encoded("PNG", "transparent"),
    "deep.png": encoded("PNG", "I;16"),
    "alpha.png": encoded("PNG", "RGBA"),
    "bits.png": encoded("PNG", "1"),
    "lossy.webp": encoded("WEBP"),
    "lossless.webp": encoded("WEBP", "RGBA", lossless=True),
    "plain.tif": encoded("TIFF"),
    "packed.tiff": encoded("TIFF", compression="tiff_lzw"),
    "bitmap.bmp": encoded("BMP"),
    "a/same.jpg": encoded("JPEG"),
    "b/same.jpg": encoded("JPEG", pixels=NOISE[::-1]),
    "b/same.png": encoded("PNG"),
    "Åse 日本/\N{SNOWMAN}.png": encoded("PNG"),
    "with 'quotes' and \"more\".jpg": encoded("JPEG"),
    "two\nlines.jpg": encoded("JPEG"),
    b"not utf-8 \xff.jpg".decode(errors="surrogateescape"): encoded("JPEG"),
    "one pixel.png": encoded("PNG", pixels=NOISE[:1, :1]),
    "flat.png": encoded("PNG", pixels=NOISE[:1]),
}
_BOMB = bytearray(encoded("BMP"))
_BOMB[18:26] = struct.pack("<ii", 60_000, 60_000)
BROKEN = {
    "empty.jpg": b"",
    "cut.jpg": encoded("JPEG")[:-40],
    "cut progressive.jpg": encoded("JPEG", progressive=True)[:-400],
    "cut.png": encoded("PNG")[:-40],
    "cut.webp": encoded("WEBP")[:-40],
    "cut.tif": encoded("TIFF")[:-40],
    "a page.jpg": b"<!DOCTYPE html><title>404</title>",
    "zeros.png": bytes(4000),
    "bomb.bmp": bytes(_BOMB),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "photos"
    for name, content in (GOOD | BROKEN).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no image")
    (folder / "up").symlink_to(folder)
    return folder


def test_every_broken_file_is_named(photos, tmp_path):
    with pytest.raises(InputError) as caught:
        index.run(photos, tmp_path / "index", threads=2)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        f"image {photos / name}" for name in sorted(BROKEN)
    ]
    assert "data.on_bad_image: skip" in lines[-1]
    assert not (tmp_path / "index").exists()


@pytest.mark.slow
def test_the_others_go_from_the_index_to_the_report(photos, tiny, tmp_path):
    """A round of a run, as the workflow makes it."""
    config = tiny.config(
        run="any", rounds=1, data={"images": str(photos), "on_bad_image": "skip"}, seed_masks=FELZ
    )
    run = Run(tmp_path / "results/any")
    run.folder.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump(config.model_dump(exclude={"compute"})))
    index.run(photos, run.index, threads=2, on_bad_image="skip")
    found = read_index(run.index)
    assert [e.name for e in found.entries] == sorted(GOOD)
    assert [bad.name for bad in found.bad] == sorted(BROKEN)
    seed_state.run(config, run.state(0))
    shard = "shard-0000-of-0001.h5"
    seed_masks.run(config, images=photos, index_path=run.index, out=run.masks(0) / shard, shard=0)
    pretrain.run(
        config,
        number=1,
        images=photos,
        index_path=run.index,
        state_path=run.state(0),
        masks_where=str(run.masks(0)),
        out=run.state(1),
        work=tmp_path / "work",
        compute=COMPUTE,
        metrics=run.metrics(1),
    )
    made = run.masks(1) / shard
    bootstrap.run(
        config,
        number=1,
        images=photos,
        index_path=run.index,
        state_path=run.state(1),
        out=made,
        shard=0,
        compute=COMPUTE,
    )
    masks = Masks(str(run.masks(1)), found)
    for position, entry in enumerate(found.entries):
        rows, columns = masks.read(position).shape
        assert (rows, columns) == (-(-entry.height // 8), -(-entry.width // 8)), entry.name
    assert verify.run(resolve(str(run.folder)))["problems"] == []
    report.run(run.folder, tmp_path / "report.html")
    assert found.digest in (tmp_path / "report.html").read_text()
