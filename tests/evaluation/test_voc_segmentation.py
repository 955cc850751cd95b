"""Linear segmentation on VOC2012's layout: a made-up folder, against loops over pixels."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cyborgs.cli import main
from cyborgs.evaluation import pixels
from cyborgs.evaluation.voc_segmentation import CLASSES, _digest, _labels, _read

# Colours of background, aeroplane, bird and tvmonitor in the images.
COLOURS = {0: (20, 20, 20), 1: (230, 40, 40), 3: (40, 60, 230), 20: (60, 220, 80)}

VOID = 255


def write(root, name, labels, shown=None):
    """A mask with a palette, and an image with a colour for each class, or for others."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    for number, colour in COLOURS.items():
        image[(labels if shown is None else shown) == number] = colour
    image += np.random.default_rng(len(name)).integers(0, 12, image.shape, np.uint8)
    cv2.imwrite(
        str(root / f"JPEGImages/{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100]
    )
    mask = Image.fromarray(labels.astype(np.uint8), "P")
    mask.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
    mask.save(root / f"SegmentationClass/{name}.png")


def blocks(*numbers, side=32):
    """Squares of a class each, two rows of them."""
    grid = np.array(numbers, np.uint8).reshape(2, -1)
    return np.kron(grid, np.ones((side, side), np.uint8))


@pytest.fixture
def sets(tmp_path):
    """Two images to train on, two to test on; of the second, a bird that is taken for a monitor."""
    root = tmp_path / "sets/VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    write(root, "2007_000001", blocks(0, 1, 3, 20, 0, 1))
    write(root, "2007_000002", blocks(20, 0, 1, 3, 20, 0))
    first = blocks(1, 0, 20, 0, 3, 1)
    first[:, 30:34] = VOID
    write(root, "2008_000003", first)
    write(root, "2008_000004", blocks(0, 0, 3, 1, 1, 20), shown=blocks(0, 0, 20, 1, 1, 20))
    lists = root / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("2007_000001\n2007_000002\n")
    (lists / "val.txt").write_text("2008_000003\n2008_000004\n")
    return root.parent


def command(sets, out, *extra, **settings):
    config = {"downstream": {"seeds": 1, "voc_segmentation": {"layers": ["layer1"], **settings}}}
    return [
        *("evaluate", "voc-segmentation", "--backbone", "random", "--architecture", "resnet18"),
        *("--datasets", str(sets), "--config", json.dumps(config), "--out", str(out)),
        *("--device", "cpu", "--threads", "1", "--workers", "0", *extra),
    ]


def by_loops(truths, guesses):
    """Mean IoU, accuracy and IoU by class, pixel by pixel."""
    table = np.zeros((21, 21), int)
    for truth, guess in zip(truths, guesses, strict=True):
        for row in range(truth.shape[0]):
            for col in range(truth.shape[1]):
                if truth[row, col] != VOID:
                    table[truth[row, col], guess[row, col]] += 1
    ious = {}
    for number in range(21):
        union = table[number].sum() + table[:, number].sum() - table[number, number]
        if union > 0:
            ious[CLASSES[number]] = table[number, number] / union
    return sum(ious.values()) / len(ious), np.trace(table) / table.sum(), ious


def test_against_a_confusion_matrix(sets, tmp_path, monkeypatch):
    """The guesses are noted where they are counted, and counted again by loops."""
    guesses = []
    interpolate = pixels.interpolate

    def noted(values, rows, cols, stride):
        found = interpolate(values, rows, cols, stride)
        if values.shape[0] == len(COLOURS):
            guesses.append(np.array(list(COLOURS))[found.argmax(0).numpy()])
        return found

    monkeypatch.setattr(pixels, "interpolate", noted)
    out = tmp_path / "out.json"
    assert main(command(sets, out)) == 0
    truths = [
        np.array(Image.open(sets / f"VOC2012/SegmentationClass/{name}.png"))
        for name in ("2008_000003", "2008_000004")
    ]
    mean, accuracy, ious = by_loops(truths, guesses)
    result = json.loads(out.read_text())
    (row,) = result["seeds"]
    assert row["miou"] == pytest.approx(mean, abs=1e-12)
    assert row["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert row["classes"] == pytest.approx(ious, abs=1e-12)
    assert (row["train"], row["test"], result["classes"]) == (2, 2, 21)
    assert set(result["provenance"]["inputs"]) == {"train", "val"}


def test_a_known_answer(sets, tmp_path):
    """Colours tell all classes apart but for a block of 16: a bird that looks like a monitor."""
    assert main(command(sets, tmp_path / "out.json", "--workers", "2")) == 0
    (row,) = json.loads((tmp_path / "out.json").read_text())["seeds"]
    # 12 blocks of 1024 pixels, less a strip of 4 in 64 rows; a grid of 4 blurs the borders.
    counted = 12 * 1024 - 4 * 64
    assert row["accuracy"] == pytest.approx((counted - 1024) / counted, abs=0.05)
    assert row["classes"]["bird"] == pytest.approx(1 / 2, abs=0.1)
    assert row["classes"]["tvmonitor"] == pytest.approx(2 / 3, abs=0.1)
    assert row["classes"]["aeroplane"] > 0.8
    assert set(row["classes"]) == {"background", "aeroplane", "bird", "tvmonitor"}


def test_void_is_no_class_and_every_index_is_read(sets):
    root = sets / "VOC2012"
    write(root, "all", np.array([[*range(21), VOID]], np.uint8).repeat(8, 0))
    _, labels = _read(root, "all")
    assert labels[3].tolist() == [*range(21), pixels.IGNORED]
    # Without a palette, as some copies of VOC have them.
    mask = root / "SegmentationClass/all.png"
    cv2.imwrite(str(mask), np.array([[0, 20, 255]], np.uint8))
    assert _labels(mask, mask.read_bytes()).tolist() == [[0, 20, pixels.IGNORED]]


def test_a_mask_is_part_of_what_is_recorded(sets):
    root = sets / "VOC2012"
    before = _digest(root, ["2007_000001"])
    write(root, "2007_000001", blocks(0, 1, 3, 20, 0, 3))
    assert _digest(root, ["2007_000001"]) != before


def test_the_same_again_gives_the_same_bytes(sets, tmp_path):
    contents = []
    for workers in ("0", "2"):
        assert main(command(sets, tmp_path / "out.json", "--workers", workers)) == 0
        contents.append((tmp_path / "out.json").read_bytes())
    assert contents[0] == contents[1]


def remove_masks(root):
    shutil.rmtree(root / "SegmentationClass")


def remove_mask(root):
    (root / "SegmentationClass/2008_000004.png").unlink()


def remove_image(root):
    (root / "JPEGImages/2007_000002.jpg").unlink()


def make_larger(root):
    write(root, "other", blocks(0, 1, 3, 20, 0, 1, side=40))
    (root / "SegmentationClass/other.png").rename(root / "SegmentationClass/2008_000003.png")


def exceed_classes(root):
    write(root, "2007_000001", blocks(0, 1, 3, 20, 0, 21))


def colour(root):
    Image.new("RGB", (96, 64)).save(root / "SegmentationClass/2007_000001.png")


def damage(root):
    (root / "SegmentationClass/2007_000001.png").write_bytes(b"no picture")


def empty_list(root):
    (root / "ImageSets/Segmentation/train.txt").write_text("")


def show_one_class(root):
    for name in ("2007_000001", "2007_000002"):
        write(root, name, blocks(0, 0, 0, 0, 0, 0))


BAD = {
    remove_masks: "VOC2012/SegmentationClass does not exist; `cyborgs data download voc` fetches",
    remove_mask: "2008_000004.png does not exist",
    remove_image: "2007_000002.jpg does not exist",
    make_larger: "2008_000003.png has 80 x 120 pixels, but its image 64 x 96",
    exceed_classes: "2007_000001.png: class 21, but VOC2012 has 0 … 20, and 255 for void",
    colour: "2007_000001.png has colours (RGB), not numbers of classes",
    damage: "2007_000001.png cannot be decoded",
    empty_list: "ImageSets/Segmentation/train.txt is empty",
    show_one_class: "downstream.voc_segmentation: the 2 images for training show less than two",
}


@pytest.mark.parametrize("change", BAD, ids=lambda change: change.__name__)
def test_bad_input_is_one_line(change, sets, tmp_path, capsys):
    change(sets / "VOC2012")
    out = tmp_path / "out.json"
    assert main(command(sets, out)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert BAD[change] in line
    assert not out.exists()


@pytest.fixture(autouse=True)
def _one_thread():
    """More gain nothing on images this small, and get in each other's way."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
