"""The index: which files are images, in what order, and which of them are broken."""

import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyborgs.data.index import (
    Bad,
    Entry,
    list_images,
    read_index,
    require_images,
    scan,
    write_index,
)
from cyborgs.errors import InputError
from cyborgs.stages import index as index_stage

COCO = Path(__file__).resolve().parents[2].parent / "shared/data/coco/train2017"

NAMES = [
    "0.jpg",
    "10.jpg",
    "9.jpg",
    "B.JPG",
    "a/x.png",
    'a b\'s "c".jpg',
    "a.b/x.jpg",
    "b/a/x.jpg",
    "b/x.jpg",
    "new\nline.jpg",
    "x.jpeg",
    "Åse/日本.jpg",
]


@pytest.fixture
def photos(tmp_path, write_image):
    """A folder of images with `NAMES`, each of a size of its own."""
    for number, name in enumerate(NAMES):
        # OpenCV wants the suffix in lower case.
        path = write_image(
            tmp_path / "write" / f"{number}{Path(name).suffix.lower()}", (9, 5 + number)
        )
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "photos" / name)
    return tmp_path / "photos"


def jpeg(height=40, width=60, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def test_images_come_in_the_order_of_their_names_with_size_and_length(photos):
    assert list(scan(photos, threads=2)) == [
        Entry(name, 9, 5 + NAMES.index(name), (photos / name).stat().st_size)
        for name in sorted(NAMES)
    ]


def test_names_survive_the_file(photos, tmp_path):
    entries = list(scan(photos, threads=1))
    write_index(tmp_path / "index", entries)
    index = read_index(tmp_path / "index")
    assert list(index.entries) == entries
    assert len(index) == len(NAMES)
    assert index[3] == entries[3]
    assert [entry.name for entry in index.entries] == sorted(NAMES)


def test_a_name_that_is_not_utf8_survives_the_file(tmp_path):
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes(jpeg())
    entries = list(scan(tmp_path, threads=1))
    write_index(tmp_path / "index", entries)
    assert [entry.name for entry in read_index(tmp_path / "index").entries] == [name]


def test_files_of_other_kinds_are_left_alone(photos):
    before = set(list_images(photos))
    for name in ["notes.txt", ".DS_Store", "jpg", "x.jpg.part", "a/masks.npy", "x.json", "x.gif"]:
        (photos / name).write_bytes(b"nothing")
    (photos / "folder.jpg").mkdir()
    assert set(list_images(photos)) == before == set(NAMES)


def test_linked_files_count_and_linked_folders_do_not(tmp_path, write_image):
    write_image(tmp_path / "elsewhere" / "x.png", (4, 4))
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    assert list(list_images(folder)) == ["link.png"]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_files_give_the_same_bytes(photos, tmp_path, threads):
    write_index(tmp_path / "a", list(scan(photos, threads=2)))
    write_index(tmp_path / "b", list(scan(photos, threads=threads)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_index(tmp_path / "a").digest == read_index(tmp_path / "b").digest
    write_index(tmp_path / "b", list(scan(photos, threads=1))[1:])
    assert read_index(tmp_path / "a").digest != read_index(tmp_path / "b").digest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage" * 100,
        jpeg()[:-2],
        jpeg()[: len(jpeg()) // 2],
        jpeg(progressive=True)[: len(jpeg(progressive=True)) // 2],
        jpeg()[:10],
        bytes(1000),
    ],
    ids=["empty", "garbage", "no end", "half", "progressive half", "start", "zeros"],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_broken_file_is_named_or_left_out(photos, content, suffix, refused, tmp_path):
    path = photos / "a" / f"broken{suffix}"
    path.write_bytes(content)
    out = tmp_path / "index"
    with pytest.raises(InputError) as caught:
        index_stage.run(photos, out, 2)
    first, last = str(caught.value).splitlines()
    reason = first.removeprefix(f"image {path}: ")
    assert reason not in ("", first)
    assert "named above" in last
    assert not out.exists()
    index_stage.run(photos, out, 2, "skip")
    index = read_index(out)
    assert [e.name for e in index.entries] == sorted(NAMES)
    assert index.bad == (Bad(f"a/broken{suffix}", reason),)


@pytest.mark.parametrize(("broken", "shown", "rest"), [(3, 3, 0), (10, 10, 0), (13, 10, 3)])
def test_all_broken_files_are_named_at_once_but_not_hundreds(
    photos, broken, shown, rest, tmp_path, capsys
):
    for number in range(broken):
        (photos / f"broken {number:02d}.jpg").write_bytes(jpeg()[: 300 + number])
    with pytest.raises(InputError) as caught:
        index_stage.run(photos, tmp_path / "index", 2)
    *lines, _ = str(caught.value).splitlines()
    for number in range(shown):
        assert lines[number].startswith(f"image {photos / f'broken {number:02d}.jpg'}: ")
    assert lines[shown:] == ([f"… and {rest} more"] if rest else [])
    index_stage.run(photos, tmp_path / "index", 2, "skip")
    assert len(read_index(tmp_path / "index").bad) == broken
    assert capsys.readouterr().err.rstrip().endswith(f"{broken} left out")


def test_a_file_that_cannot_be_opened_is_named(photos):
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    assert Bad("gone.jpg", "No such file or directory") in list(scan(photos, threads=1))


def test_a_disk_that_fails_leaves_no_image_out(photos, monkeypatch, refused):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with refused("0.jpg: cannot read: Input/output error"):
        list(scan(photos, threads=1))


def test_a_folder_of_broken_files_is_no_data(tmp_path, refused):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.jpg: not an image[^\n]*\nno image of .* be decoded$"):
        index_stage.run(tmp_path / "photos", tmp_path / "index", 1, "skip")
    assert not (tmp_path / "index").exists()


def test_folders_without_images_are_refused(tmp_path, refused):
    with refused("data.images: folder", "nowhere does not exist"):
        list(scan(tmp_path / "nowhere", threads=1))
    (tmp_path / "x.txt").touch()
    with refused(f"data.images: folder {tmp_path} holds no images", ".jpeg"):
        list(scan(tmp_path, threads=1))


def test_a_batch_needs_as_many_images(photos, refused):
    require_images(photos, len(NAMES))
    with refused("pretrain.batch_size: 13 images a step", str(photos), "only 12"):
        require_images(photos, 13)
    with refused("data.images: folder", "does not exist"):
        require_images(photos / "none", 1)


@pytest.fixture
def lines(tmp_path):
    """The lines of a good index of three images."""
    path = tmp_path / "good"
    write_index(path, [Entry(f"{n}.jpg", 4, 5, 6) for n in "abc"])
    return path.read_text().splitlines(keepends=True)


def damaged(lines, line, text):
    return "".join([*lines[:line], text, *lines[line + 1 :]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: "", "is not an index file"),
        (lambda lines: "[1, 2]\n", "is not an index file"),
        (lambda lines: '{"images": []}\n', "is not an index file"),
        (lambda lines: "name,height\na.jpg,3\n", "is damaged"),
        (lambda lines: "\xff\x00", "is damaged"),
        (lambda lines: "".join(lines[:-1]), "2 whole lines, not 3"),
        (lambda lines: lines[0], "0 whole lines, not 3"),
        (lambda lines: "".join([*lines, lines[-1]]), "4 whole lines, not 3"),
        (lambda lines: "".join(lines)[:-9], "2 whole lines, not 3"),
        (lambda lines: damaged(lines, 2, "\n"), "is damaged"),
        (lambda lines: damaged(lines, 2, "null\n"), "is damaged"),
        (lambda lines: damaged(lines, 2, '{"name": "b.jpg"}\n'), "is damaged"),
        (lambda lines: damaged(lines, 2, lines[2].replace("bytes", "bites")), "is damaged"),
        (lambda lines: damaged(lines, 0, lines[0].replace('"version": 2', '"version": 1')), "1"),
        (lambda lines: damaged(lines, 0, lines[0].replace("version", "vision")), "is damaged"),
        (lambda lines: damaged(lines, 0, lines[0].replace("images", "pages")), "is damaged"),
    ],
)
def test_an_index_that_is_not_whole_is_refused(tmp_path, lines, damage, message, refused):
    path = tmp_path / "index.jsonl"
    path.write_text(damage(lines), encoding="latin-1")
    with refused(f"index {path} ", message):
        list(read_index(path).entries)


def test_another_version_says_which(tmp_path, lines, refused):
    path = tmp_path / "index.jsonl"
    path.write_text(damaged(lines, 0, json.dumps(json.loads(lines[0]) | {"version": 7}) + "\n"))
    with refused("version 7", "version 2", "index again"):
        read_index(path)


def test_a_missing_index_is_named(tmp_path, refused):
    with refused(f"index {tmp_path / 'none'} does not exist"):
        read_index(tmp_path / "none")


@pytest.mark.skipif(not COCO.is_dir(), reason="no COCO photographs beside the repository")
def test_photographs_of_coco(tmp_path):
    names = sorted(COCO.glob("*.jpg"))[:20]
    for path in names:
        (tmp_path / path.name).symlink_to(path)
    for path, entry in zip(names, scan(tmp_path, threads=2), strict=True):
        with Image.open(path) as image:
            expected = Entry(path.name, image.height, image.width, path.stat().st_size)
        assert entry == expected
