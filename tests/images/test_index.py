"""The index: which files are images, in what order, and which of them are broken."""

import errno
import io
import json
import os
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyborgs.common.errors import InputError
from cyborgs.images.decoding import Entry, decode
from cyborgs.images.index import Bad, read_index, scan, write_index
from cyborgs.images.listing import (
    list_images,
    names_of,
    others_named,
    read_list,
    require_images,
)
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
    assert list(scan(photos, names_of(photos), threads=2)) == [
        Entry(name, 9, 5 + NAMES.index(name), len(content), zlib.crc32(content))
        for name in sorted(NAMES)
        if (content := (photos / name).read_bytes())
    ]


def test_names_survive_the_file(photos, tmp_path):
    entries = list(scan(photos, names_of(photos), threads=1))
    write_index(tmp_path / "index", entries)
    index = read_index(tmp_path / "index")
    assert list(index.entries) == entries
    assert len(index) == len(NAMES)
    assert index[3] == entries[3]
    assert [entry.name for entry in index.entries] == sorted(NAMES)


def test_a_name_that_is_not_utf8_survives_the_file(tmp_path):
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes(jpeg())
    entries = list(scan(tmp_path, names_of(tmp_path), threads=1))
    write_index(tmp_path / "index", entries)
    assert [entry.name for entry in read_index(tmp_path / "index").entries] == [name]


def test_files_of_other_kinds_are_left_alone(photos):
    before = set(list_images(photos))
    for name in ["notes.txt", ".DS_Store", "jpg", "x.jpg.part", "a/masks.npy", "x.json", "x.heic"]:
        (photos / name).write_bytes(b"nothing")
    (photos / "folder.jpg").mkdir()
    assert set(list_images(photos)) == before == set(NAMES)


def test_files_that_are_not_taken_for_images_are_counted(photos, tmp_path, capsys):
    names = ["a.heic", "a/B.HEIC", "b.mp4", "b/notes", ".DS_Store", "._x.jpg", ".hidden/x.mp4"]
    for name in names:
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"nothing")
    index_stage.run(photos, tmp_path / "index.jsonl", threads=1)
    told = "index: ignored files: 2 .heic, 2 .mp4, 1 without a suffix\n"
    assert told in capsys.readouterr().err
    others = Counter({f".{n}": n for n in range(1, 12)})
    assert others_named(others).startswith("11 .11, 10 .10, ")
    assert others_named(others).endswith(", 4 .4, 6 of other kinds")


def test_nothing_is_said_of_a_folder_of_images(photos, tmp_path, capsys):
    index_stage.run(photos, tmp_path / "index.jsonl", threads=1)
    assert "not taken" not in capsys.readouterr().err


def test_a_file_is_no_folder(tmp_path, refused):
    (tmp_path / "x.jpg").write_bytes(b"x")
    with refused("data.images: folder", "x.jpg is a file; name a folder"):
        list(list_images(tmp_path / "x.jpg"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_list_is_text_in_any_encoding_that_says_so(photos, tmp_path, encoding, end):
    content = f"b/x.jpg{end}Åse/日本.jpg{end}"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "list").write_bytes((mark + content).encode(encoding))
    assert read_list(tmp_path / "list", photos) == ["b/x.jpg", "Åse/日本.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_without_a_mark_is_told(photos, tmp_path, encoding, refused):
    (tmp_path / "list").write_bytes("b/x.jpg\na/x.png\n".encode(encoding))
    with refused("data.list: ", "looks like UTF-16; save it as UTF-8"):
        read_list(tmp_path / "list", photos)


def test_a_list_that_is_cut_within_a_character_is_told(photos, tmp_path, refused):
    (tmp_path / "list").write_bytes("b/x.jpg".encode("utf-16")[:-1])
    with refused("data.list: ", "neither UTF-8 nor UTF-16"):
        read_list(tmp_path / "list", photos)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", ".gif", ".avif", ".jp2", ".ppm"])
def test_formats_that_pillow_reads_are_read(tmp_path, suffix):
    """Of several pictures in a file, the first one."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :16], pixels[:12, 16:] = (200, 30, 30), (30, 30, 200)
    form = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    more = {"save_all": True, "append_images": [Image.new("RGB", (40, 24), "white")]}
    several = more if suffix in (".gif", ".mpo") else {}
    Image.fromarray(pixels).save(tmp_path / f"x{suffix}", form, **several)
    (entry,) = scan(tmp_path, names_of(tmp_path), threads=1)
    assert (entry.height, entry.width) == (24, 40)
    difference = np.abs(decode(tmp_path, entry).astype(int) - pixels)
    assert np.median(difference) <= 6
    assert difference.mean() < 12


def test_grey_of_16_bits_keeps_its_upper_8(tmp_path):
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(tmp_path / "x.pgm")
    (entry,) = scan(tmp_path, names_of(tmp_path), threads=1)
    assert decode(tmp_path, entry)[..., 1].tolist() == [[0, 0, 1, 255]]


def test_unread_exif_is_counted_in_one_line(tmp_path, capsys):
    exif = b"Exif\0\0no TIFF at all"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    content = jpeg()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(content[:2] + segment + content[2:])
    (tmp_path / "c.jpg").write_bytes(content)
    assert [e.orientation for e in scan(tmp_path, names_of(tmp_path), threads=2)] == [1, 1, 1]
    assert "the EXIF data of 2 images cannot be read and are ignored\n" in capsys.readouterr().err


@pytest.fixture
def linked(tmp_path, write_image):
    """A folder with an image of its own, and two folders elsewhere."""
    for name in ("photos/own/x.png", "elsewhere/y.png", "elsewhere/deep/z.png", "other/v.png"):
        write_image(tmp_path / name, (4, 4))
    return tmp_path / "photos", tmp_path / "elsewhere", tmp_path / "other"


def test_links_are_followed_and_every_file_counts_once(linked):
    folder, elsewhere, other = linked
    (folder / "b").symlink_to(elsewhere)
    (folder / "a").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder / "own")
    (folder / "round").symlink_to(folder)
    (folder / "own/up").symlink_to("..")
    (elsewhere / "onwards").symlink_to(other)
    (other / "back").symlink_to(elsewhere)
    # The first link by name gives a folder its name; a path of its own comes before any link.
    expected = ["a/deep/z.png", "a/onwards/v.png", "a/y.png", "own/x.png"]
    assert sorted(list_images(folder)) == expected
    # Links to files: to one that has a name already, twice to one that has none, and to none.
    (folder / "0.png").symlink_to("own/x.png")
    (folder / "2.png").symlink_to(elsewhere / "y.png")
    outside = folder.parent / "outside.png"
    (elsewhere / "y.png").rename(outside)
    (folder / "3.png").symlink_to(outside)
    (folder / "1.png").symlink_to(outside)
    (folder / "nowhere.png").symlink_to(folder.parent / "none.png")
    (folder / "itself.png").symlink_to("itself.png")
    expected[2:3] = []
    assert sorted(list_images(folder)) == [
        "1.png", "2.png", *expected[:2], "itself.png", "nowhere.png", "own/x.png",
    ]  # fmt: skip


def test_what_looks_like_an_image_may_be_reached_by_a_link_to_something_else(linked):
    folder, elsewhere, _ = linked
    (elsewhere / "y.png").rename(folder / "stored as.dat")
    (folder / "y.png").symlink_to("stored as.dat")
    assert sorted(list_images(folder)) == ["own/x.png", "y.png"]


def test_files_of_macos_beside_images_are_none(photos):
    (photos / "._9.jpg").write_bytes(b"Mac OS X")
    assert sorted(list_images(photos)) == sorted(NAMES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_a_folder_that_cannot_be_read_is_named(photos, refused):
    (photos / "b").chmod(0)
    with refused("data.images: folder", f"{photos}/b cannot be read: Permission denied"):
        list(list_images(photos))
    (photos / "b").chmod(0o700)


@pytest.mark.parametrize("end", ["\n", "\0", "\r\n"])
def test_a_list_names_the_images(photos, tmp_path, end):
    """Below the folder, or by their whole path; in whatever order."""
    given = ["b/../b/x.jpg", "./9.jpg", str(photos / "Åse/日本.jpg"), 'a b\'s "c".jpg']
    expected = ["9.jpg", 'a b\'s "c".jpg', "b/x.jpg", "Åse/日本.jpg"]
    if end == "\0":
        given.append("new\nline.jpg")
        expected.insert(3, "new\nline.jpg")
    (tmp_path / "list").write_bytes(end.join([*given, ""]).encode())
    assert names_of(photos, tmp_path / "list") == expected
    index_stage.run(photos, tmp_path / "index", threads=1, list_file=tmp_path / "list")
    assert [e.name for e in read_index(tmp_path / "index").entries] == expected


def test_an_image_that_is_listed_and_not_there_is_bad(photos, tmp_path, refused):
    (tmp_path / "list").write_text("9.jpg\ngone.jpg\na\n")
    with pytest.raises(InputError, match=r"gone\.jpg: No such file or directory"):
        index_stage.run(photos, tmp_path / "index", threads=1, list_file=tmp_path / "list")
    index_stage.run(
        photos, tmp_path / "index", threads=1, on_bad_image="skip", list_file=tmp_path / "list"
    )
    index = read_index(tmp_path / "index")
    assert [e.name for e in index.entries] == ["9.jpg"]
    assert index.bad == (Bad("a", "Is a directory"), Bad("gone.jpg", "No such file or directory"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no file"),
        ("9.jpg\n../x.jpg\n", "line 2: ../x.jpg is not below"),
        ("/etc/x.jpg\n", "line 1: /etc/x.jpg is not below"),
        (".\n", "line 1: . is not below"),
        ("9.jpg\n\n0.jpg\n./9.jpg\n", "line 4: ./9.jpg is in line 1 already"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(photos, tmp_path, content, message, refused):
    (tmp_path / "list").write_text(content)
    with refused(f"data.list: {tmp_path / 'list'}", message):
        read_list(tmp_path / "list", photos)
    with refused(f"data.list: {tmp_path / 'none'} does not exist"):
        read_list(tmp_path / "none", photos)


def test_images_that_come_later_extend_an_index(photos, tmp_path, write_image):
    index_stage.run(photos, tmp_path / "before", threads=1)
    write_image(photos / "a/new.png", (4, 4))
    index_stage.run(photos, tmp_path / "after", threads=1)
    before, after = (read_index(tmp_path / name).entries for name in ("before", "after"))
    assert [e for e in after if e.name != "a/new.png"] == list(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_files_give_the_same_bytes(photos, tmp_path, threads):
    write_index(tmp_path / "a", list(scan(photos, names_of(photos), threads=2)))
    write_index(tmp_path / "b", list(scan(photos, names_of(photos), threads=threads)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_index(tmp_path / "a").digest == read_index(tmp_path / "b").digest
    write_index(tmp_path / "b", list(scan(photos, names_of(photos), threads=1))[1:])
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
        index_stage.run(photos, out, threads=2)
    first, last = str(caught.value).splitlines()
    reason = first.removeprefix(f"image {path}: ")
    assert reason not in ("", first)
    assert "named above" in last
    assert not out.exists()
    index_stage.run(photos, out, threads=2, on_bad_image="skip")
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
        index_stage.run(photos, tmp_path / "index", threads=2)
    *lines, _ = str(caught.value).splitlines()
    for number in range(shown):
        assert lines[number].startswith(f"image {photos / f'broken {number:02d}.jpg'}: ")
    assert lines[shown:] == ([f"… and {rest} more"] if rest else [])
    index_stage.run(photos, tmp_path / "index", threads=2, on_bad_image="skip")
    assert len(read_index(tmp_path / "index").bad) == broken
    assert capsys.readouterr().err.rstrip().endswith(f"{broken} left out")


def test_a_file_that_cannot_be_opened_is_named(photos):
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    assert Bad("gone.jpg", "No such file or directory") in list(
        scan(photos, names_of(photos), threads=1)
    )


def test_a_disk_that_fails_leaves_no_image_out(photos, monkeypatch, refused):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with refused("0.jpg: cannot read: Input/output error"):
        list(scan(photos, names_of(photos), threads=1))


def test_a_folder_of_broken_files_is_no_data(tmp_path, refused):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.jpg: not an image[^\n]*\nno image of .* be decoded$"):
        index_stage.run(tmp_path / "photos", tmp_path / "index", threads=1, on_bad_image="skip")
    assert not (tmp_path / "index").exists()


def test_folders_without_images_are_refused(tmp_path, refused):
    with refused("data.images: folder", "nowhere does not exist"):
        names_of(tmp_path / "nowhere")
    (tmp_path / "x.txt").touch()
    with refused(f"data.images: folder {tmp_path} holds no images", ".jpeg"):
        names_of(tmp_path)


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
    write_index(path, [Entry(f"{n}.jpg", 4, 5, 6, 7) for n in "abc"])
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
        (lambda lines: damaged(lines, 0, lines[0].replace('"version": 3', '"version": 1')), "1"),
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
    with refused("version 7", "version 3", "index again"):
        read_index(path)


def test_a_missing_index_is_named(tmp_path, refused):
    with refused(f"index {tmp_path / 'none'} does not exist"):
        read_index(tmp_path / "none")


@pytest.mark.skipif(not COCO.is_dir(), reason="no COCO photographs beside the repository")
def test_photographs_of_coco(tmp_path):
    names = sorted(COCO.glob("*.jpg"))[:20]
    for path in names:
        (tmp_path / path.name).symlink_to(path)
    for path, entry in zip(names, scan(tmp_path, names_of(tmp_path), threads=2), strict=True):
        with Image.open(path) as image:
            content = path.read_bytes()
            expected = Entry(
                path.name, image.height, image.width, len(content), zlib.crc32(content)
            )
        assert entry == expected
