"""The embedded scenes: the same bytes every time, sound labels, and no shortcut by colour."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from cyborgs.images.annotations import GroundTruth
from cyborgs.images.decoding import Entry
from cyborgs.images.scenes import write_scenes

IMAGES, HEIGHT, WIDTH = 40, 192, 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    write_scenes(path, images=IMAGES, size=(HEIGHT, WIDTH), seed=0)
    return path


@pytest.fixture(scope="module")
def coco(folder: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(folder / "annotations.json")


def pixels(folder: Path, number: int) -> np.ndarray:
    return np.asarray(Image.open(folder / "images" / f"{number:06d}.jpg"))


def masks(coco: COCO, number: int) -> np.ndarray:
    """Visible pixels of the objects of a scene: bool ``(objects, height, width)``."""
    annotations = coco.loadAnns(coco.getAnnIds([number]))
    return np.stack([coco.annToMask(annotation) for annotation in annotations]).astype(bool)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_same_arguments_give_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scenes(tmp_path / name, images=3, size=(96, 128), seed=5)
    first = contents(tmp_path / "one")
    assert first == contents(tmp_path / "two")
    assert set(first) == {"annotations.json", *(f"images/{n:06d}.jpg" for n in (1, 2, 3))}


def test_another_seed_gives_other_scenes(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_scenes(tmp_path / str(seed), images=1, size=(96, 128), seed=seed)
    assert not np.array_equal(pixels(tmp_path / "0", 1), pixels(tmp_path / "1", 1))


def test_a_scene_does_not_depend_on_how_many_there_are(folder: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path, images=3, size=(HEIGHT, WIDTH), seed=0)
    many, few = contents(folder), contents(tmp_path)
    for number in (1, 2, 3):
        assert few[f"images/{number:06d}.jpg"] == many[f"images/{number:06d}.jpg"]
    labelled = json.loads(few["annotations.json"])
    reference = json.loads(many["annotations.json"])
    assert labelled["images"] == reference["images"][:3]
    assert labelled["annotations"] == [a for a in reference["annotations"] if a["image_id"] <= 3]


@pytest.mark.parametrize("size", [(64, 64), (65, 301), (240, 96)])
def test_files_have_the_size_asked_for(tmp_path: Path, size: tuple[int, int]) -> None:
    write_scenes(tmp_path, images=2, size=size, seed=3)
    truth = GroundTruth(tmp_path / "annotations.json")
    for number in (1, 2):
        assert pixels(tmp_path, number).shape == (*size, 3)
        assert len(truth.instances(Entry(f"{number:06d}.jpg", *size, 1, 0)).masks) > 0


def test_annotations_have_the_layout_of_coco_instances(coco: COCO) -> None:
    assert [image["id"] for image in coco.dataset["images"]] == list(range(1, IMAGES + 1))
    assert {(i["height"], i["width"]) for i in coco.dataset["images"]} == {(HEIGHT, WIDTH)}
    identities = [annotation["id"] for annotation in coco.dataset["annotations"]]
    assert identities == list(range(1, len(identities) + 1))
    assert {"info", "licenses", "categories"} <= set(coco.dataset)


def test_masks_of_a_scene_are_disjoint(coco: COCO) -> None:
    for number in range(1, IMAGES + 1):
        assert masks(coco, number).sum(0).max() == 1


def test_area_and_box_are_those_of_the_mask(coco: COCO) -> None:
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation)
        assert mask.shape == (HEIGHT, WIDTH)
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["bbox"] == box
        assert annotation["area"] == mask.sum() >= 64
        assert annotation["iscrowd"] == 0


def test_scenes_are_varied(coco: COCO) -> None:
    names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
    used = [annotation["category_id"] for annotation in coco.dataset["annotations"]]
    assert len(set(names.values())) == len(names)
    assert set(used) <= set(names)
    assert len(set(used)) >= 8
    objects = [len(coco.getAnnIds([number])) for number in range(1, IMAGES + 1)]
    assert min(objects) >= 2
    assert max(objects) == 7
    covered = [masks(coco, number).any(0).mean() for number in range(1, IMAGES + 1)]
    assert 0.3 < np.mean(covered) < 0.6


def test_an_object_is_where_its_mask_is(folder: Path, coco: COCO) -> None:
    """Brightness steps at a mask's edge, more than it does a few pixels away from it."""
    steps: dict[str, list[float]] = {"edge": [], "beside": []}
    for number in range(1, IMAGES + 1):
        grey = pixels(folder, number).mean(2)
        step = np.abs(np.diff(grey, axis=1))
        for mask in masks(coco, number):
            edge = np.diff(mask.astype(int), axis=1) != 0
            steps["edge"].extend(step[edge])
            steps["beside"].extend(step[np.roll(edge, 6, axis=1)])
    assert np.mean(steps["edge"]) > 1.3 * np.mean(steps["beside"])


def agreement(folder: Path, coco: COCO, blur: int) -> Iterator[float]:
    """Adjusted Rand index, by scene, of 8 clusters of colours against objects and background.

    ``blur``: pixels a side of the square over which colours are averaged first.
    """
    for number in range(1, IMAGES + 1):
        colours = pixels(folder, number).astype(float)
        colours = colours.reshape(HEIGHT // blur, blur, WIDTH // blur, blur, 3).mean((1, 3))
        objects = masks(coco, number)
        labels = (objects * np.arange(1, len(objects) + 1)[:, None, None]).sum(0)
        centres = slice(blur // 2, None, blur)
        clusters = KMeans(8, n_init=1, random_state=0).fit_predict(colours.reshape(-1, 3))
        yield adjusted_rand_score(labels[centres, centres].ravel(), clusters)


@pytest.mark.parametrize("blur", [4, 8])
def test_colour_does_not_give_the_objects_away(folder: Path, coco: COCO, blur: int) -> None:
    assert np.mean(list(agreement(folder, coco, blur))) < 0.25


def test_labels_are_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path, images=2, size=(64, 64), seed=0)
    save = Image.Image.save

    def fail_at_second(image: Image.Image, path: Path, **options: int) -> None:
        if path.name == "000002.jpg":
            raise OSError("disk full")
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fail_at_second)
    with pytest.raises(OSError, match="disk full"):
        write_scenes(tmp_path, images=2, size=(64, 64), seed=1)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"size": (63, 64)}, "size must be at least 64 x 64 pixels, got 63 x 64"),
        ({"size": (64, 63)}, "got 64 x 63"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_nonsense_is_refused(
    tmp_path: Path, changed: dict[str, int | tuple[int, int]], message: str
) -> None:
    arguments = {"images": 1, "size": (64, 64), "seed": 0} | changed
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
