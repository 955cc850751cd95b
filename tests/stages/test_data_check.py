"""``cyborgs data check``: counts, duplicates, broken files, and what annotations cover."""

import json
import shutil

import pytest
from PIL import ExifTags, Image

from cyborgs.cli import main
from cyborgs.stages import data_check


@pytest.fixture
def photos(tiny, tmp_path, write_image):
    """The thirteen scenes, and files of other kinds."""
    folder = shutil.copytree(tiny.images, tmp_path / "photos")
    first = sorted(folder.iterdir())[0]
    (folder / "again").mkdir()
    shutil.copy(first, folder / "again" / "same.jpg")
    write_image(folder / "again" / "tiny.png", (1, 1))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (50, 40)).save(folder / "turned.jpg", exif=exif)
    (folder / "cut\n.jpg").write_bytes(first.read_bytes()[:-100])
    (folder / "empty.png").touch()
    return folder


def test_what_is_there(photos, tiny):
    found = data_check.run(photos, 2, annotations=tiny.annotations)
    first = sorted(p.name for p in tiny.images.iterdir())[0]
    assert found["images"] == 16
    assert found["folders"] == 2
    assert found["formats"] == {"JPEG": 15, "PNG": 1}
    assert found["height"] == [1, 64, 64]
    assert found["width"] == [1, 96, 96]
    assert found["turned"] == 1
    assert found["small"] == ["again/tiny.png"]
    assert found["duplicates"] == [[first, "again/same.jpg"]]
    assert set(found["broken"]) == {"cut\n.jpg", "empty.png"}
    cover = found["annotations"]
    known = json.loads(tiny.annotations.read_text())
    assert cover["instances"] == len(known["annotations"])
    assert cover["annotated"] == 13
    assert cover["unknown"] == ["again/same.jpg", "again/tiny.png", "turned.jpg"]
    assert cover["missing"] == cover["misfits"] == []
    assert found["bytes"] == sum(
        p.stat().st_size for p in photos.rglob("*") if p.is_file() and p.name not in found["broken"]
    )


def test_annotations_of_other_images(photos, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["images"][0]["file_name"] = "elsewhere.jpg"
    content["images"][1]["height"] += 1
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    cover = data_check.run(photos, 1, annotations=path)["annotations"]
    assert cover["missing"] == ["elsewhere.jpg"]
    assert len(cover["unknown"]) == 4
    assert content["images"][1]["file_name"] in cover["misfits"][0]


def test_the_page_and_the_status(photos, tiny, capsys):
    assert main(["data", "check", str(photos), "--annotations", str(tiny.annotations)]) == 1
    page = capsys.readouterr().out
    assert "16 below" in page
    assert "JPEG 15, PNG 1" in page
    assert "cut\\n.jpg: " in page
    assert "empty.png: empty file" in page
    assert "again/same.jpg" in page
    assert main(["data", "check", str(tiny.images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 13


def test_a_list_names_what_is_checked(photos, tmp_path, capsys):
    (tmp_path / "list").write_text("turned.jpg\n")
    assert main(["data", "check", str(photos), "--list", str(tmp_path / "list")]) == 0
    assert "1 below" in capsys.readouterr().out


def test_no_folder_is_one_line(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
