"""PASCAL VOC's layout, of a folder written here."""

import numpy as np
import pytest

from cyborgs.evaluation.data.voc import voc_classes, voc_images, voc_labels, voc_objects

CLASSES = ["bird", "cat", "traffic_light"]

# Of each image: name of the class, difficult or not, xmin, ymin, xmax, ymax.
OBJECTS = {
    "000007": [("cat", 0, 1, 1, 20, 30), ("bird", 1, 5, 6, 5, 6), ("cat", 1, 3, 4, 10, 12)],
    "2008_000001": [],
    "000003": [("traffic_light", 0, 2, 2, 40, 30), ("bird", 1, 9, 1, 12, 4)],
}
LABELS = {"bird": (0, -1, 0), "cat": (1, -1, -1), "traffic_light": (-1, -1, 1)}


def xml_of(objects):
    things = "".join(
        f"<object><name>{name}</name><pose>Left</pose><difficult>{difficult}</difficult>"
        # A part of a person has a name and a box, too.
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
        f"</bndbox></part><bndbox><xmax>{right}</xmax><ymin>{top}</ymin><xmin>{left}</xmin>"
        f"<ymax>{bottom}</ymax></bndbox></object>\n"
        for name, difficult, left, top, right, bottom in objects
    )
    return f"<annotation><size><width>40</width></size>\n{things}</annotation>"


def write_voc(root, objects=OBJECTS, split="trainval"):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, own in objects.items():
        (root / f"JPEGImages/{name}.jpg").touch()
        (root / f"Annotations/{name}.xml").write_text(xml_of(own))
    lists = root / "ImageSets/Main"
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in objects))
    for called, labels in LABELS.items():
        lines = (f"{name} {label:2d}\n" for name, label in zip(objects, labels, strict=False))
        (lists / f"{called}_{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "VOC2007")


class TestClasses:
    def test_they_are_those_of_the_lists(self, voc):
        lists = voc / "ImageSets/Main"
        # Of other splits.
        (lists / "aeroplane_val.txt").write_text("")
        (lists / "train.txt").write_text("")
        for name in CLASSES:
            (lists / f"{name}_test.txt").write_text("")
        assert voc_classes(voc) == CLASSES

    @pytest.mark.parametrize(("there", "lacking"), [("trainval", "test"), ("test", "trainval")])
    def test_a_class_of_one_split_alone(self, there, lacking, voc, refused):
        lists = voc / "ImageSets/Main"
        for name in CLASSES:
            (lists / f"{name}_test.txt").write_text("")
        (lists / f"zebra_{there}.txt").write_text("")
        with refused(f"ImageSets/Main/zebra_{lacking}.txt does not exist, but its counterpart"):
            voc_classes(voc)

    def test_a_folder_that_is_not_there(self, tmp_path, refused):
        with refused("nowhere/ImageSets/Main has no lists"):
            voc_classes(tmp_path / "nowhere")

    def test_one_class_is_too_few(self, voc, refused):
        for name in CLASSES[1:]:
            (voc / f"ImageSets/Main/{name}_trainval.txt").unlink()
        with refused("no lists CLASS_trainval.txt"):
            voc_classes(voc)


class TestLabels:
    def test_what_the_lists_say(self, voc):
        names, labels = voc_labels(voc, "trainval", CLASSES)
        assert names == list(OBJECTS)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels.T, [LABELS[name] for name in CLASSES])

    def test_columns_are_in_the_order_of_the_classes(self, voc):
        _, labels = voc_labels(voc, "trainval", ["traffic_light", "bird"])
        np.testing.assert_array_equal(labels.T, [LABELS["traffic_light"], LABELS["bird"]])

    def test_rows_are_in_the_order_of_the_images(self, voc):
        path = voc / "ImageSets/Main/cat_trainval.txt"
        path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[::-1]))
        _, labels = voc_labels(voc, "trainval", CLASSES)
        assert labels[:, 1].tolist() == list(LABELS["cat"])

    @pytest.mark.parametrize("name", ["trainval", "cat_trainval"])
    def test_a_list_that_is_not_there(self, name, voc, refused):
        (voc / f"ImageSets/Main/{name}.txt").unlink()
        with refused(f"ImageSets/Main/{name}.txt does not exist"):
            voc_labels(voc, "trainval", CLASSES)

    @pytest.mark.parametrize("line", ["000003 2", "000003", "000003 1 1", "000099 1", "000003 yes"])
    def test_a_line_that_is_damaged_or_of_another_image(self, line, voc, refused):
        path = voc / "ImageSets/Main/cat_trainval.txt"
        path.write_text(f"000007 1\n2008_000001 -1\n{line}\n")
        with refused(f"{path}, line 3: {line!r}", "an image of trainval.txt"):
            voc_labels(voc, "trainval", CLASSES)

    def test_a_list_without_an_image(self, voc, refused):
        path = voc / "ImageSets/Main/cat_trainval.txt"
        path.write_text("000007 1\n000003 -1\n")
        with refused(f"list {path} does not have image 2008_000001 of trainval.txt"):
            voc_labels(voc, "trainval", CLASSES)

    def test_an_empty_list_of_images(self, voc, refused):
        path = voc / "ImageSets/Main/trainval.txt"
        path.write_text("\n")
        with refused(f"list of images {path} is empty"):
            voc_images(voc, "trainval")

    def test_a_list_of_another_task(self, voc):
        (voc / "ImageSets/Segmentation").mkdir()
        (voc / "ImageSets/Segmentation/trainval.txt").write_text("000003\n")
        assert voc_images(voc, "trainval", "Segmentation") == ["000003"]

    @pytest.mark.parametrize("name", ["trainval", "cat_trainval"])
    def test_a_list_that_is_no_text(self, name, voc, refused):
        path = voc / f"ImageSets/Main/{name}.txt"
        path.write_bytes(b"\x1f\x8b\xff\xfe\x00")
        with refused(f"{path}"):
            voc_labels(voc, "trainval", CLASSES)


class TestObjects:
    def test_boxes_labels_and_difficult(self, voc):
        found = voc_objects([voc], "trainval", CLASSES)
        assert found.classes == tuple(CLASSES)
        assert found.truth is None
        assert [image.path for image in found.images] == [
            voc / f"JPEGImages/{name}.jpg" for name in OBJECTS
        ]
        for image, own in zip(found.images, OBJECTS.values(), strict=True):
            # Edges in pixels from 0; in the files, pixels from 1, the last one inside.
            corners = [(left - 1, top - 1, right, bottom) for *_, left, top, right, bottom in own]
            np.testing.assert_array_equal(image.boxes, np.array(corners).reshape(-1, 4))
            assert image.boxes.dtype == np.float32
            assert image.labels.tolist() == [1 + CLASSES.index(name) for name, *_ in own]
            assert image.labels.dtype == np.int64
            assert image.ignored.tolist() == [difficult == 1 for _, difficult, *_ in own]
            assert image.ignored.dtype == bool
            assert image.outlines is None

    def test_years_follow_one_another(self, voc, tmp_path):
        later = write_voc(tmp_path / "VOC2012", {"000007": [("bird", 0, 1, 1, 2, 2)]})
        found = voc_objects([voc, later], "trainval", CLASSES)
        assert len(found.images) == 4
        assert found.images[3].path == later / "JPEGImages/000007.jpg"
        assert len({image.identity for image in found.images}) == 4

    def test_the_digest_is_of_the_annotations(self, voc):
        before = voc_objects([voc], "trainval", CLASSES).digest
        assert voc_objects([voc], "trainval", CLASSES).digest == before
        path = voc / "Annotations/000007.xml"
        path.write_text(path.read_text().replace("<xmax>20", "<xmax>19"))
        assert voc_objects([voc], "trainval", CLASSES).digest != before

    def test_difficult_may_be_left_out(self, voc):
        path = voc / "Annotations/000007.xml"
        path.write_text(path.read_text().replace("<difficult>1</difficult>", ""))
        found = voc_objects([voc], "trainval", CLASSES).images[0]
        assert not found.ignored.any()

    @pytest.mark.parametrize(
        ("missing", "told"),
        [
            ("ImageSets/Main/trainval.txt", "list of images"),
            ("Annotations/000003.xml", "annotation"),
            ("JPEGImages/000003.jpg", "image"),
        ],
    )
    def test_a_file_that_is_not_there(self, missing, told, voc, refused):
        (voc / missing).unlink()
        with refused(f"{told} {voc / missing} does not exist"):
            voc_objects([voc], "trainval", CLASSES)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("</annotation>", "", "is damaged"),
            ("<annotation>", "no XML<annotation>", "is damaged"),
            ("<annotation>", '<?xml version="1.0" encoding="klingon"?><annotation>', "is damaged"),
            ("<xmax>20</xmax>", "", "is damaged"),
            ("<xmax>20</xmax>", "<xmax>wide</xmax>", "is damaged"),
            ("<xmax>20</xmax>", "<xmax>nan</xmax>", ""),
            ("<xmax>20</xmax>", "<xmax>inf</xmax>", ""),
            ("<difficult>0<", "<difficult>hard<", "is damaged"),
            ("<name>bird<", "<name>dodo<", "class 'dodo' has no list in ImageSets/Main"),
            ("<name>bird</name>", "", "class '' has no list in ImageSets/Main"),
            ("<xmax>20<", "<xmax>0<", "a box without area"),
            ("<ymax>30<", "<ymax>0<", "a box without area"),
        ],
    )
    def test_an_annotation_that_is_damaged(self, old, new, told, voc, refused):
        path = voc / "Annotations/000007.xml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with refused(f"annotation {path}", told):
            voc_objects([voc], "trainval", CLASSES)

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0", b"<annotation><object>"])
    def test_an_annotation_that_is_no_xml(self, content, voc, refused):
        path = voc / "Annotations/2008_000001.xml"
        path.write_bytes(content)
        with refused(f"annotation {path} is damaged", "fetch PASCAL VOC again"):
            voc_objects([voc], "trainval", CLASSES)
