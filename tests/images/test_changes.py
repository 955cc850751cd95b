"""Images that are new or gone since a run was indexed."""

import pytest

from cyborgs.images.changes import changed_images
from cyborgs.stages import index, shrink


@pytest.fixture
def photos(tmp_path, write_image):
    for number in range(4):
        write_image(tmp_path / f"photos/{number}.png", (64, 80))
    return tmp_path / "photos"


@pytest.fixture
def indexed(photos, tmp_path):
    index.run(photos, tmp_path / "index.jsonl", threads=1)
    return tmp_path / "index.jsonl"


def test_nothing_is_told_where_nothing_changed(photos, indexed):
    assert changed_images(photos, None, indexed) is None


def test_new_and_missing_images_are_told_in_a_line(photos, indexed, write_image):
    (photos / "1.png").unlink()
    told = changed_images(photos, None, indexed)
    assert told.startswith(f"data.images: 1 gone (1.png) in {photos} since {indexed} was made")
    assert "--forcerun index" in told
    for name in ("a/x.png", "b.png", "c.png", "d\n.png"):
        write_image(photos / name, (40, 40))
    told = changed_images(photos, None, indexed)
    assert "4 new (a/x.png, b.png, c.png, …) and 1 gone (1.png) in" in told
    assert "\n" not in told


def test_an_image_that_was_left_out_is_not_new(photos, tmp_path):
    (photos / "2.png").write_bytes(b"broken")
    index.run(photos, tmp_path / "index.jsonl", threads=1, on_bad_image="skip")
    assert changed_images(photos, None, tmp_path / "index.jsonl") is None


def test_images_that_a_list_leaves_out_do_not_count(photos, tmp_path, write_image):
    (tmp_path / "list").write_text("0.png\n3.png\n")
    index.run(
        photos,
        tmp_path / "index.jsonl",
        threads=1,
        on_bad_image="error",
        list_file=tmp_path / "list",
    )
    write_image(photos / "new.png", (40, 40))
    assert changed_images(photos, tmp_path / "list", tmp_path / "index.jsonl") is None
    (tmp_path / "list").write_text("0.png\nnew.png\n")
    told = changed_images(photos, tmp_path / "list", tmp_path / "index.jsonl")
    assert "1 new (new.png) and 1 gone (3.png)" in told


def test_small_copies_go_by_what_they_were_made_of(photos, tmp_path, write_image):
    (photos / "2.png").write_bytes(b"broken")
    small, summary = tmp_path / "small", tmp_path / "small/summary.json"
    shrink.run(photos, small, short_side=32, threads=1, on_bad_image="skip")
    index.run(
        small / "images",
        tmp_path / "index.jsonl",
        threads=1,
        on_bad_image="error",
        list_file=small / "names",
    )
    assert changed_images(photos, None, tmp_path / "index.jsonl", summary) is None
    (photos / "0.png").unlink()
    write_image(photos / "9.png", (40, 40))
    told = changed_images(photos, None, tmp_path / "index.jsonl", summary)
    assert "1 new (9.png) and 1 gone (0.png.jpg) in" in told


def test_files_of_a_list_that_are_gone_are_told(photos, tmp_path):
    (tmp_path / "list").write_text("0.png\n3.png\n")
    index.run(
        photos,
        tmp_path / "index.jsonl",
        threads=1,
        on_bad_image="error",
        list_file=tmp_path / "list",
    )
    (photos / "3.png").unlink()
    told = changed_images(photos, tmp_path / "list", tmp_path / "index.jsonl")
    assert "data.images: 1 gone (3.png) in" in told


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c.replace(b'"name": "2', b'"x": "2')]
)
def test_an_index_that_must_be_made_again_hinders_nobody(photos, indexed, damage):
    indexed.write_bytes(damage(indexed.read_bytes()))
    assert changed_images(photos, None, indexed) is None


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_an_index_of_other_copies_is_not_compared(photos, indexed, tmp_path, content):
    """As after `data.short_side` was set."""
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert changed_images(photos, None, indexed, tmp_path / "summary.json") is None
