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


def changed(tiny, tmp_path, change):
    content = json.loads(tiny.annotations.read_text())
    change(content)
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def test_every_annotation_is_accounted_for(tiny, tmp_path):
    images = sorted(p.name for p in tiny.images.iterdir())

    def change(content):
        by_name = {image["file_name"]: image["id"] for image in content["images"]}
        bare = by_name[images[1]]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != bare]
        own = [a for a in content["annotations"] if a["image_id"] == by_name[images[0]]]
        # One more object each; all are of the first image.
        for number, values in enumerate(
            [
                {"segmentation": []},
                {"iscrowd": 1, "segmentation": [[0, 0, 9, 0, 9, 9]], "bbox": [0, 0, 9, 9]},
                {"image_id": 10**6},
                {},
                {"bbox": [30, 40, 1, 2], "segmentation": [[3, 4, 13, 4, 13, 14]]},
                {"bbox": None, "segmentation": [[3, 4, 14, 4, 13, 14]]},
            ]
        ):
            content["annotations"].append(own[0] | {"id": 900_000 + number} | values)

    path = changed(tiny, tmp_path, change)
    cover = data_check.run(tiny.images, 1, annotations=path)["annotations"]
    assert cover["bare"] == [images[1]]
    assert cover["empty"] == ["annotation 900000"]
    assert cover["crowds"] == 1
    assert cover["orphaned"] == ["annotation 900002"]
    assert cover["repeated"] == ["annotation 900003"]
    # What has no outline has no box either.
    assert [box.split(":")[0] for box in cover["boxes"]] == [
        "annotation 900000", "annotation 900004",
    ]  # fmt: skip
    assert cover["misfits"] == cover["missing"] == cover["unknown"] == []
    total = len(json.loads(path.read_text())["annotations"])
    assert cover["instances"] + 3 == total
    assert cover["annotated"] == 12


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda c: None, 0),
        # Annotations of more images than are here, or of fewer.
        (lambda c: c["images"].append(c["images"][0] | {"id": 99, "file_name": "x.jpg"}), 0),
        (lambda c: c["images"].pop(), 1),  # whose annotations stay
        (lambda c: drop(c, 0), 0),
        # Names are others.
        (lambda c: c["images"][0].update(file_name="x.jpg"), 1),
        (lambda c: [i.update(file_name=f"x/{i['file_name']}") for i in c["images"]], 1),
        (lambda c: [i.update(file_name=f"./{i['file_name']}") for i in c["images"]], 0),
        (lambda c: c["annotations"][0].update(image_id=10**6), 1),
        (lambda c: c["images"][0].update(height=5), 1),
        (lambda c: c["annotations"][0].update(segmentation=None), 1),
        (lambda c: c["annotations"][0].update(segmentation=[]), 0),
        (lambda c: [a.update(segmentation=[]) for a in c["annotations"]], 1),
        (lambda c: c["annotations"].clear(), 1),
        # Masks are what the loop reads.
        (lambda c: [a.update(bbox=[1, 1, 2, 2]) for a in c["annotations"]], 0),
        (lambda c: c["annotations"].append(c["annotations"][0]), 0),
    ],
)
def test_the_status_of_annotations(change, status, tiny, tmp_path, capsys):
    path = changed(tiny, tmp_path, change)
    assert main(["data", "check", str(tiny.images), "--annotations", str(path)]) == status


def drop(content, number):
    """An image and its annotations."""
    gone = content["images"].pop(number)["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]


def test_a_list_leaves_images_out_and_they_are_not_missing(photos, tiny, tmp_path):
    first, second, *_ = sorted(p.name for p in tiny.images.iterdir())
    (tmp_path / "list").write_text(f"{first}\nturned.jpg\n")
    found = data_check.run(photos, 1, tmp_path / "list", tiny.annotations)
    assert found["annotations"]["unknown"] == ["turned.jpg"]
    assert found["annotations"]["missing"] == []
    assert data_check.sound(found)
    (photos / second).unlink()
    found = data_check.run(photos, 1, tmp_path / "list", tiny.annotations)
    assert found["annotations"]["missing"] == [second]
    assert not data_check.sound(found)


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
