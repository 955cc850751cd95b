"""``cyborgs masks show``: what the panels say, and where the pictures go."""

import io
import re
import shutil

import numpy as np
import pytest

from cyborgs.images.decoding import Entry
from cyborgs.images.finding import find
from cyborgs.images.index import Index, read_index
from cyborgs.masks.shards import Header, write_shard
from cyborgs.run.paths import Run
from cyborgs.run.sources import Sources, resolve
from cyborgs.stages.masks import show


@pytest.fixture
def run(tiny, tmp_path):
    """A run of a seed and a round whose masks are known: 13 images of 64 x 96 pixels."""
    made = Run(tmp_path / "results/r")
    shutil.copytree(tiny.folder / "scenes", made.scenes)
    shutil.copy(tiny.index, made.index)
    index = read_index(made.index)
    write(made.masks(0) / "s.h5", index, 0, 8, range(13), halves(8, 12), group=-1, clusters=2)
    later = halves(16, 24) * 7
    write(made.masks(1) / "a.h5", index, 1, 4, range(6), later, group=0, clusters=23)
    write(made.masks(1) / "b.h5", index, 1, 4, range(6, 12), later, group=1, clusters=9)
    return made


def halves(rows, cols):
    labels = np.zeros((rows, cols), dtype=np.int64)
    labels[:, cols // 2 :] = 1
    return labels


def write(path, index, number, stride, positions, labels, group, clusters):
    header = Header(number, stride, 0, 1, index.digest, {"stage": "test", "inputs": {}})
    with write_shard(path, header) as writer:
        for position in positions:
            writer.add(position, index[position], labels, group=group, clusters=clusters)


def sources(run, annotations=True):
    rounds = (("seed", str(run.masks(0))), ("round 1", str(run.masks(1))))
    truth = run.scenes / "annotations.json" if annotations else None
    return Sources(rounds, run.index, run.scenes / "images", truth)


@pytest.fixture
def panels(monkeypatch, tmp_path):
    """What `show.run` lays out, row by row."""

    def laid_out(found, images, style="overlay"):
        rows = []
        sheet = show.sheet
        monkeypatch.setattr(show, "sheet", lambda r, width: (rows.extend(r), sheet(r, width))[1])
        show.run(found, images, style, tmp_path / "p.png")
        return rows

    return laid_out


def test_a_row_says_what_it_shows(run, panels):
    (row,) = panels(sources(run, annotations=False), ["4"])
    assert [(p.title, p.subtitle) for p in row] == [
        ("image 4", "000005.jpg, 96 x 64"),
        ("seed", "2 masks"),
        ("round 1", "K = 23 · 2 masks here"),
    ]


def test_agreement_is_told_where_there_is_ground_truth(run, panels):
    (row,) = panels(sources(run), ["4"])
    assert [p.title for p in row] == ["image 4", "seed", "round 1", "ground truth"]
    assert re.fullmatch(r"2 masks · ARI -?0\.\d{3}", row[1].subtitle)
    assert re.fullmatch(r"K = 23 · 2 masks here · ARI -?0\.\d{3}", row[2].subtitle)
    assert re.fullmatch(r"\d+ objects?", row[3].subtitle)


def test_rounds_of_different_strides_share_colours(run, panels):
    """Both are two halves; a pixel's label is that of the nearest centre."""
    (row,) = panels(sources(run), ["4"], "mask")
    seed, later = row[1].picture, row[2].picture
    assert seed.shape == later.shape == (64, 96, 3)
    differ = (seed != later).any(axis=(0, 2))
    assert set(np.flatnonzero(differ)) <= {44, 45, 46, 47}
    assert len(np.unique(seed.reshape(-1, 3), axis=0)) == 2


def test_a_round_without_the_image_is_an_empty_panel(run, panels):
    (row,) = panels(sources(run), ["12"])
    assert (row[2].title, row[2].subtitle) == ("round 1", "no mask of this image")
    assert row[2].picture is None
    assert row[1].picture is not None


def test_both_styles_are_two_rows(run, panels):
    overlays, flat = panels(sources(run), ["4"], "both")
    assert not np.array_equal(overlays[1].picture, flat[1].picture)
    for at in (0, 3):
        np.testing.assert_array_equal(overlays[at].picture, flat[at].picture)


def test_in_a_terminal(run, monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    show.run(sources(run), ["4"], "overlay", None)
    title, subtitle, pixels = stream.getvalue().splitlines()[:3]
    assert title.split("  ")[0] == "image 4"
    assert "K = 23 · 2 masks here · ARI" in subtitle
    assert "\x1b[38;2;" in pixels
    assert pixels.count("▀") == 4 * 38


def test_k_is_that_of_the_image(run, panels):
    rows = panels(sources(run, annotations=False), ["7", "0", "11"])
    assert [row[2].subtitle.split(" · ")[0] for row in rows] == ["K = 9", "K = 23", "K = 9"]


@pytest.mark.parametrize(
    ("image", "position"),
    [
        ("1", 1),
        ("000000000001", 2),
        ("000000000001.jpg", 2),
        ("a/000000000001", 2),
        ("0", 0),
        ("9", 3),
    ],
)
def test_zeros_before_a_number_make_it_a_name(image, position):
    names = ("x.jpg", "y.jpg", "a/000000000001.jpg", "9.jpg")
    assert find(Index([Entry(n, 8, 8, 1, 0) for n in names], "d"), image) == position


@pytest.mark.parametrize("image", ["b/7", "0001", "01", "x", "", "٣", "9" * 5000])
def test_what_is_no_name_is_refused(image, refused):
    index = Index([Entry(n, 8, 8, 1, 0) for n in ("a/7.jpg", "a/000000000001.jpg")], "d")
    with refused("is not in the index"):
        find(index, image)


@pytest.mark.parametrize("kind", [".webp", ".jpg"])
def test_a_picture_that_its_kind_of_file_cannot_hold(tmp_path, refused, kind):
    longest = show.SUFFIXES[kind]
    show._write(np.zeros((longest, 1, 3), np.uint8), tmp_path / f"fits{kind}")
    with refused(f"p{kind}: 1 x {longest + 1} pixels are too many for {kind}; give a .png"):
        show._write(np.zeros((longest + 1, 1, 3), np.uint8), tmp_path / f"p{kind}")
    assert [p.name for p in tmp_path.iterdir()] == [f"fits{kind}"]


class TestBadInput:
    def test_no_colours(self, run, refused, monkeypatch):
        with refused("COLORTERM=truecolor", "-256color", "give --out FILE.png"):
            show.run(sources(run), ["4"], "overlay", None)

    def test_an_image_without_a_mask_anywhere(self, run, tmp_path, refused):
        found = resolve(str(run.masks(1)), images=run.scenes / "images")
        with refused("image 12 (000013.jpg) has no mask in round 1"):
            show.run(found, ["12"], "overlay", tmp_path / "p.png")
        assert not (tmp_path / "p.png").exists()

    def test_masks_of_another_index(self, run, tmp_path, refused):
        content = run.index.read_text().splitlines(keepends=True)
        content[0] = content[0].replace("13", "12")
        run.index.write_text("".join(content[:-1]))
        with refused("was made for another index"):
            show.run(sources(run), ["4"], "overlay", tmp_path / "p.png")

    def test_an_image_file_that_is_gone(self, run, tmp_path, refused):
        (run.scenes / "images/000005.jpg").unlink()
        with refused("image 000005.jpg: cannot read"):
            show.run(sources(run), ["4"], "overlay", tmp_path / "p.png")
        assert not (tmp_path / "p.png").exists()
