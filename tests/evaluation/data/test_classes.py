"""ImageNet's layout: what is found, and crops against torchvision."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.evaluation.data.classes import (
    CentralCrops,
    ClassifiedExamples,
    central_crop,
    find_classified,
)


@pytest.fixture
def folder(tmp_path, write_image):
    """Two classes with images, and files that are none."""
    root = tmp_path / "train"
    for name in ("n02/c.JPEG", "n02/a.jpg", "n02/b.png", "n01/z.jpeg", "n01/y.webp"):
        write_image(root / name, (40, 50))
    (root / "n02/list.txt").touch()
    (root / "n02/inside").mkdir()
    (root / "labels.csv").touch()
    (root / ".ipynb_checkpoints").mkdir()
    return root


def many(root, classes=3, images=12):
    for name in "abcdef"[:classes]:
        (root / name).mkdir(parents=True)
        for number in range(images):
            (root / name / f"{number:02d}.jpg").touch()
    return root


class TestFind:
    def test_images_and_labels_are_in_order(self, folder):
        found = find_classified(folder)
        assert found.folder == folder
        assert list(found.names) == [
            "n01/y.webp",
            "n01/z.jpeg",
            "n02/a.jpg",
            "n02/b.png",
            "n02/c.JPEG",
        ]
        assert found.classes == ("n01", "n02")
        assert found.labels.tolist() == [0, 0, 1, 1, 1]
        assert found.labels.dtype == np.int64

    def test_a_class_without_images(self, folder, refused):
        (folder / "n00").mkdir()
        (folder / "n00/readme.txt").touch()
        with refused(f"{folder / 'n00'}: a class without an image"):
            find_classified(folder)

    def test_the_digest_is_of_names_and_sizes(self, tmp_path):
        first, second = many(tmp_path / "first"), many(tmp_path / "second")
        found = find_classified(first)
        expected = "".join(f"{c}/{n:02d}.jpg 0\n" for c in "abc" for n in range(12))
        assert found.digest == hashlib.sha256(expected.encode()).hexdigest()
        assert find_classified(second).digest == found.digest
        (second / "b/05.jpg").write_text("x")
        assert find_classified(second).digest != found.digest
        (second / "b/05.jpg").write_text("")
        (second / "b/05.jpg").rename(second / "b/5.jpg")
        assert find_classified(second).digest != found.digest

    @pytest.mark.parametrize("most", [1, 5, 11])
    def test_at_most_so_many_of_a_class(self, most, tmp_path):
        root = many(tmp_path / "train")
        found = find_classified(root, most)
        assert np.bincount(found.labels).tolist() == [most] * 3
        assert list(found.names) == sorted(found.names)
        assert set(found.names) < set(find_classified(root).names)
        assert list(find_classified(root, most).names) == list(found.names)
        assert find_classified(root, most).digest == found.digest != find_classified(root).digest

    def test_they_are_drawn_for_each_class_by_itself(self, tmp_path):
        root = many(tmp_path / "train")
        names = list(find_classified(root, 4).names)
        numbers = [tuple(n[2:] for n in names if n.startswith(c)) for c in "abc"]
        assert len(set(numbers)) > 1  # not the same ones of every class
        assert numbers[0] != tuple(f"{n:02d}.jpg" for n in range(4))  # not the first ones
        # Another class changes nothing of those that were there.
        (root / "_").mkdir()
        (root / "_/00.jpg").touch()
        assert find_classified(root, 4).names[1:] == names

    @pytest.mark.parametrize("most", [12, 13])
    def test_all_where_there_are_no_more(self, most, tmp_path):
        root = many(tmp_path / "train")
        assert list(find_classified(root, most).names) == list(find_classified(root).names)

    def test_a_folder_that_is_not_there(self, tmp_path, refused):
        with refused("nowhere cannot be read: No such file"):
            find_classified(tmp_path / "nowhere")

    def test_a_file_in_its_place(self, folder, refused):
        with refused("labels.csv cannot be read: Not a directory"):
            find_classified(folder / "labels.csv")

    @pytest.mark.parametrize("classes", [0, 1])
    def test_fewer_than_two_classes(self, classes, tmp_path, refused):
        root = many(tmp_path / "train", classes)
        root.mkdir(exist_ok=True)
        with refused(f"{root} needs at least two folders with images"):
            find_classified(root)


def bilinear(image, width, height):
    """Each pixel between the four that lie around its centre, from the definition, in float64."""

    def along(size, target):
        at = (np.arange(target) + 0.5) * size / target - 0.5
        low = np.floor(at).astype(int)
        return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), at - low

    top, bottom, down = along(image.shape[0], height)
    left, right, across = along(image.shape[1], width)
    down, across = down[:, None, None], across[:, None]
    upper, lower = (
        image[rows][:, left] * (1 - across) + image[rows][:, right] * across
        for rows in (top, bottom)
    )
    return upper * (1 - down) + lower * down


class TestCentralCrop:
    @pytest.mark.parametrize(
        ("shape", "short_side", "resized"),
        [
            ((300, 400), 256, (256, 341)),
            ((400, 300), 256, (341, 256)),
            ((256, 256), 256, (256, 256)),
            ((100, 171), 256, (256, 438)),
            ((257, 901), 256, (256, 897)),
            ((1000, 701), 256, (365, 256)),
            # Half a pixel goes to the even side.
            ((512, 513), 256, (256, 256)),
            ((515, 512), 256, (258, 256)),
            ((64, 97), 33, (33, 50)),
        ],
    )
    def test_by_the_definition(self, shape, short_side, resized):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        crop = short_side - 32 if short_side > 64 else 32
        found = central_crop(image, short_side, crop)
        assert found.shape == (crop, crop, 3)
        assert found.dtype == np.uint8
        height, width = resized
        top, left = (height - crop) // 2, (width - crop) // 2
        expected = bilinear(image, width, height)[top : top + crop, left : left + crop]
        # OpenCV's weights have 11 bits.
        assert np.abs(found - expected).max() <= 1
        assert np.abs(found - expected).mean() < 0.3

    def test_a_crop_of_an_image_of_that_side_has_its_pixels(self):
        image = np.random.default_rng(0).integers(0, 256, (64, 90, 3), np.uint8)
        np.testing.assert_array_equal(central_crop(image, 64, 32), image[16:48, 29:61])

    def test_shrinking_averages_nothing(self):
        """Of lines of one pixel, those remain that lie in the middle of three."""
        image = np.zeros((192, 192, 3), np.uint8)
        image[:, 1::3] = 200
        assert (central_crop(image, 64, 64) == 200).all()


class TestExamples:
    @pytest.fixture
    def images(self, tmp_path, write_image):
        """Each of one colour from side to side, and a ramp from top to bottom."""
        for number in range(6):
            pixels = np.zeros((60, 80, 3), np.uint8)
            pixels[..., 0] = 40 * number
            pixels[..., 1] = np.arange(60)[:, None] * 4
            pixels[..., 2] = np.arange(80) * 3
            write_image(tmp_path / f"train/{'ab'[number % 2]}/{number}.png", pixels)
        return find_classified(tmp_path / "train")

    def test_an_example_is_of_its_image(self, images):
        examples = ClassifiedExamples(images, 32, [0.08, 1], 0)
        for position, name in enumerate(images.names):
            example = examples[0, position]
            assert set(example) == {"image", "label", "name"}
            assert example["name"] == str(images.folder / name)
            assert example["label"] == "ab".index(name[0])
            assert example["image"].shape == (32, 32, 3)
            assert example["image"].dtype == np.uint8
            # No colour is changed.
            assert np.unique(example["image"][..., 0]).tolist() == [40 * int(name[2])]

    @pytest.mark.parametrize("area", [(0.08, 1.0), (0.2, 1.0), (0.5, 0.6)])
    def test_crops_are_random_and_mirrored(self, area, images):
        examples = ClassifiedExamples(images, 32, area, 0)
        drawn = [examples[epoch, 0]["image"].astype(int) for epoch in range(60)]
        # Never upside down.
        assert all((np.diff(image[:, 0, 1]) >= 0).all() for image in drawn)
        mirrored = [image[0, 0, 2] > image[0, -1, 2] for image in drawn]
        assert 15 < sum(mirrored) < 45
        shares = [np.ptp(image[:, 0, 1]) / 236 * np.ptp(image[0, :, 2]) / 237 for image in drawn]
        # What lies between the centres of the outer pixels.
        assert 0.7 * area[0] < min(shares) < area[0] + 0.1
        assert area[1] - 0.2 < max(shares) <= area[1] + 0.02

    def test_a_crop_is_resized_by_the_definition(self, tmp_path, write_image):
        """All of a square, as no other shape of its area fits in."""
        pixels = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
        for name in ("a", "b"):
            write_image(tmp_path / f"{name}/0.png", pixels)
        examples = ClassifiedExamples(find_classified(tmp_path), 32, [1.0, 1.0], 0)
        expected = bilinear(pixels, 32, 32)
        mirrored = 0
        for epoch in range(8):
            found = examples[epoch, 0]["image"].astype(float)
            if np.abs(found - expected).max() > 1:
                found = found[:, ::-1]
                mirrored += 1
            assert np.abs(found - expected).max() <= 1
        assert 0 < mirrored < 8

    def test_they_depend_on_seed_epoch_and_position_alone(self, images):
        first, second = (ClassifiedExamples(images, 32, [0.08, 1], 5) for _ in range(2))
        keys = [(epoch, position) for epoch in range(4) for position in range(6)]
        drawn = {key: first[key]["image"] for key in keys}
        for key in reversed(keys):
            torch.manual_seed(sum(key))
            np.random.seed(sum(key))
            assert np.array_equal(second[key]["image"], drawn[key])
        other = ClassifiedExamples(images, 32, [0.08, 1], 6)
        assert sum(not np.array_equal(other[key]["image"], drawn[key]) for key in keys) > 20
        # An epoch and a position are not mistaken for one another, nor is one left out.
        crops = {drawn[key][..., 1:].tobytes() for key in keys}
        assert len(crops) == len(keys)

    def test_bad_input_comes_back(self, images):
        broken, gone = (images.folder / images.names[i] for i in (1, 2))
        broken.write_bytes(b"no picture")
        gone.unlink()
        examples = ClassifiedExamples(images, 32, [0.08, 1], 0)
        for position, told in ((1, f"{broken} cannot be decoded"), (2, f"{gone} cannot be read")):
            found = examples[0, position]
            assert isinstance(found, InputError)
            assert told in str(found)
            assert "\n" not in str(found)
        assert isinstance(examples[0, 3], dict)


class TestCentralCrops:
    def test_all_in_order(self, tmp_path, write_image):
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (40, 48 + n, 3), np.uint8) for n in range(3)]
        paths = [write_image(tmp_path / f"{n}.png", image) for n, image in enumerate(images)]
        crops = CentralCrops(paths, np.array([4, 2, 9]), 40, 32)
        assert len(crops) == 3
        for number, label in enumerate((4, 2, 9)):
            example = crops[number]
            assert example["name"] == str(paths[number])
            assert example["label"] == label
            left = (48 + number - 32) // 2
            expected = images[number][4:36, left : left + 32]
            np.testing.assert_array_equal(example["image"], expected)

    def test_bad_input_comes_back(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        paths = [tmp_path / "empty.jpg", tmp_path / "nowhere.jpg"]
        crops = CentralCrops(paths, np.array([0, 1]), 40, 32)
        for number, told in enumerate(("empty.jpg cannot be decoded", "nowhere.jpg cannot be")):
            found = crops[number]
            assert isinstance(found, InputError)
            assert told in str(found)


def test_large_batches_need_few_descriptors(tmp_path, write_image):
    """The usual limit of a shell is 1024; here are batches as large as that in proportion."""
    for number in range(48):
        write_image(tmp_path / f"{'ab'[number % 2]}/{number}.jpg", (32, 32))
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from cyborgs.evaluation.data.classes import ClassifiedExamples, find_classified\n"
        "from cyborgs.training.batches import arrived, load_batches\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n"
        "examples = ClassifiedExamples(find_classified(Path(sys.argv[1])), 32, [0.2, 1], 0)\n"
        "keys = [[(epoch, position) for position in range(48)] for epoch in range(6)]\n"
        "kept = list(arrived(load_batches(examples, keys, workers=1, pin=False)))\n"
        "print(sum(len(batch['image']) for batch in kept))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "288\n"
