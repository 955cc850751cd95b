"""Masks in the shapes that Segment Anything, MaskCut and detectors leave, against loops.

Files are made here, by the documented shape of what those programs write.
"""

import json
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from pycocotools import mask as rle

from cyborgs.cli import main
from cyborgs.images.decoding import Entry, upright
from cyborgs.images.index import read_index, write_index
from cyborgs.masks.shards import Masks, Shard
from cyborgs.stages.masks import imports

HALF = Fraction(1, 2)
STRIDE = 4


def run_lengths(mask):
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


def boxes(size, count, seed):
    """Overlapping rectangles, bool arrays; the last one lies within the first."""
    rng = np.random.default_rng(seed)
    height, width = size
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[
            top : top + rng.integers(3, height // 2), left : left + rng.integers(3, width // 2)
        ] = 1
    masks[-1] = False
    y, x = (int(side[0]) for side in np.nonzero(masks[0]))
    masks[-1, y : y + 2, x : x + 2] = True
    return masks


def expected(masks, size, seen, stride=STRIDE):
    """Which region each location of an image's grid is in: of those there, the smallest."""
    areas = [int(mask.sum()) for mask in masks]
    labels = []
    for y in range(0, size[0], stride):
        row = []
        for x in range(0, size[1], stride):
            there = (
                floor((y + HALF) * Fraction(seen[0], size[0])),
                floor((x + HALF) * Fraction(seen[1], size[1])),
            )
            over = [(areas[i], i) for i in range(len(masks)) if masks[i][there]]
            row.append(1 + min(over)[1] if over else 0)
        labels.append(row)
    return labels


def amg(masks):
    """What Segment Anything's generator says of an image in mode `coco_rle`."""
    return [
        {
            "segmentation": run_lengths(mask),
            "area": int(mask.sum()),
            "bbox": rle.toBbox(rle.encode(np.asfortranarray(mask, np.uint8))).tolist(),
            "predicted_iou": 0.9 - 0.1 * number,
            "point_coords": [[1.0, 2.0]],
            "stability_score": 0.97,
            "crop_box": [0, 0, mask.shape[1], mask.shape[0]],
        }
        for number, mask in enumerate(masks)
    ]


class Case:
    """Images of an index, and masks of each at a size of its own."""

    def __init__(self, folder, names, sizes, seen, orientation=1):
        self.folder = folder
        entries = [
            Entry(n, h, w, 1, 0, orientation) for n, (h, w) in zip(names, sizes, strict=True)
        ]
        write_index(folder / "index.jsonl", entries)
        self.index = read_index(folder / "index.jsonl")
        self.masks = [boxes(size, 5, number) for number, size in enumerate(seen)]
        self.expected = [
            expected(masks, size, other)
            for masks, size, other in zip(self.masks, sizes, seen, strict=True)
        ]

    def lists(self, names, wrap=lambda regions: regions):
        """A folder of JSON files, one an image."""
        for name, masks in zip(names, self.masks, strict=True):
            path = self.folder / "sam" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(wrap(amg(masks))))
        return self.folder / "sam"

    def listing(self, names, swapped=False):
        """The images of a COCO JSON; MaskCut's has height and width the wrong way round."""
        sizes = [masks[0].shape for masks in self.masks]
        sides = ("width", "height") if swapped else ("height", "width")
        return [
            {"id": 10 + i, "file_name": name} | dict(zip(sides, size, strict=True))
            for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        ]

    def results(self, **more):
        """A list of results, as detectors leave it, with scores that fall."""
        return [
            {
                "image_id": 10 + i,
                "category_id": 0,
                "bbox": [0.0, 0.0, 1.0, 1.0],
                "score": 0.9 - 0.2 * number,
                "segmentation": run_lengths(mask),
            }
            | more
            for i, masks in enumerate(self.masks)
            for number, mask in enumerate(masks)
        ]

    def coco(self, names, swapped=False):
        annotations = [
            {"id": 1 + i, "iscrowd": 0} | result | {"category_id": 1}
            for i, result in enumerate(self.results())
        ]
        return self.write(
            "coco.json",
            {
                "images": self.listing(names, swapped),
                "annotations": annotations,
                "categories": [{"id": 1, "name": "fg"}],
            },
        )

    def write(self, name, content):
        (self.folder / name).write_text(json.dumps(content))
        return self.folder / name

    def found(self, source, **given):
        imports.run(
            source,
            self.folder / "index.jsonl",
            self.folder / "out",
            stride=STRIDE,
            shards=1,
            **given,
        )
        masks = Masks(str(self.folder / "out"), self.index)
        return [masks.read(p).tolist() for p in range(len(self.index))]


ORIGINAL = [(48, 64), (61, 40)]


@pytest.fixture
def case(tmp_path):
    """Two images, in folders, with masks at their own size."""
    return Case(tmp_path, ["a/x.jpg", "b/y.png"], ORIGINAL, ORIGINAL)


@pytest.fixture
def shrunk(tmp_path):
    """Copies of them at a short side of 30, with masks of the originals."""
    return Case(tmp_path, ["a/x.jpg", "b/y.png.jpg"], [(30, 40), (46, 30)], ORIGINAL)


class TestSegmentAnything:
    def test_a_list_an_image(self, case):
        assert case.found(case.lists(["a/x.json", "b/y.json"])) == case.expected

    def test_a_file_of_sa_1b(self, case):
        source = case.lists(
            ["a/x.json", "b/y.json"], lambda regions: {"image": {}, "annotations": regions}
        )
        assert case.found(source) == case.expected

    def test_of_the_originals_of_smaller_copies(self, shrunk):
        assert shrunk.found(shrunk.lists(["a/x.json", "b/y.json"])) == shrunk.expected

    def test_masks_of_smaller_copies_for_the_originals(self, tmp_path):
        case = Case(tmp_path, ["x.jpg", "y.jpg"], ORIGINAL, [(30, 40), (46, 30)])
        assert case.found(case.lists(["x.json", "y.json"])) == case.expected

    def test_an_image_without_a_region_has_one_mask_and_is_counted(self, case, capsys):
        source = case.lists(["a/x.json", "b/y.json"])
        (source / "a/x.json").write_text("[]")
        found = case.found(source)
        assert {label for row in found[0] for label in row} == {0}
        assert found[1] == case.expected[1]
        assert "1 of them have no region, and one mask" in capsys.readouterr().err

    def test_what_is_predicted_to_be_poor_can_be_left_out(self, case):
        found = case.found(case.lists(["a/x.json", "b/y.json"]), min_score=0.75)
        assert found == [
            expected(masks[:2], size, size)
            for masks, size in zip(case.masks, ORIGINAL, strict=True)
        ]

    @pytest.mark.parametrize("orientation", range(5, 9))
    def test_masks_of_the_stored_pixels_are_turned_with_the_picture(self, tmp_path, orientation):
        """Cameras store pictures on their side; not every program looks at EXIF."""
        case = Case(tmp_path, ["x.jpg", "y.jpg"], ORIGINAL, [(24, 32), (61, 40)], orientation)
        stored = {1: 1, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
        case.masks = [np.stack([upright(m, stored) for m in masks]) for masks in case.masks]
        assert case.found(case.lists(["x.json", "y.json"])) == case.expected

    def test_on_the_command_line(self, case):
        source = case.lists(["a/x.json", "b/y.json"])
        status = main(
            ["masks", "import", str(source), "--index", str(case.folder / "index.jsonl"),
             "--out", str(case.folder / "out"), "--stride", str(STRIDE), "--min-score", "0"]
        )  # fmt: skip
        assert not status
        with Shard(case.folder / "out/shard-0000-of-0001.h5") as shard:
            assert [shard.read(p).tolist() for p in range(2)] == case.expected
            assert shard.header.provenance["config"] == {"stride": STRIDE, "min_score": 0.0}


class TestMaskCut:
    @pytest.mark.parametrize("swapped", [False, True])
    def test_a_coco_json_whatever_its_list_says_of_sizes(self, case, swapped):
        assert case.found(case.coco(["a/x.jpg", "b/y.png"], swapped)) == case.expected

    def test_of_the_originals_of_smaller_copies(self, shrunk):
        assert shrunk.found(shrunk.coco(["a/x.jpg", "b/y.png"])) == shrunk.expected

    def test_polygons_of_the_originals(self, tmp_path):
        case = Case(tmp_path, ["x.jpg"], [(30, 40)], [(60, 80)])
        annotation = {
            "id": 1,
            "image_id": 10,
            "category_id": 1,
            "segmentation": [[20, 10, 60, 10, 60, 50, 20, 50]],
        }
        content = {"annotations": [annotation], "categories": [{"id": 1}]}
        source = case.write("a.json", content | {"images": case.listing(["x.jpg"])})
        box = np.zeros((1, 60, 80), bool)
        box[0, 10:50, 20:60] = True
        assert case.found(source) == [expected(box, (30, 40), (60, 80))]

    def test_crowds_are_of_no_object(self, case):
        path = case.coco(["a/x.jpg", "b/y.png"])
        content = json.loads(path.read_text())
        content["annotations"][2]["iscrowd"] = 1
        masks = np.delete(case.masks[0], 2, axis=0)
        found = case.found(case.write("coco.json", content))
        assert found == [expected(masks, ORIGINAL[0], ORIGINAL[0]), case.expected[1]]


class TestDetectors:
    def test_a_list_of_results_and_the_json_of_the_images(self, case):
        source = case.write("results.json", case.results())
        content = {
            "annotations": [],
            "categories": [],
            "images": case.listing(["a/x.jpg", "b/y.png"]),
        }
        images = case.write("images.json", content)
        assert case.found(source, images=images) == case.expected
        with Shard(case.folder / "out/shard-0000-of-0001.h5") as shard:
            assert shard.header.provenance["inputs"].keys() == {"index", "source", "annotations"}

    def test_of_at_least_a_score(self, case):
        found = case.found(case.coco(["a/x.jpg", "b/y.png"]), min_score=0.5)
        assert found == [
            expected(masks[:3], size, size)
            for masks, size in zip(case.masks, ORIGINAL, strict=True)
        ]

    def test_results_of_other_images_are_counted(self, case, capsys):
        results = case.results()
        results.append(results[0] | {"image_id": 99})
        content = {
            "annotations": [],
            "categories": [],
            "images": case.listing(["a/x.jpg", "b/y.png"]),
        }
        images = case.write("images.json", content)
        assert case.found(case.write("r.json", results), images=images) == case.expected
        assert "left out 1 masks of no image" in capsys.readouterr().err


class TestBadInput:
    @pytest.fixture
    def check(self, tmp_path, refused):
        """An import that is refused with these words and leaves nothing behind."""

        def check(case, source, *parts, **given):
            with refused(*parts):
                case.found(source, **given)
            assert not (tmp_path / "out").exists()

        return check

    @pytest.fixture
    def sam(self, case):
        return case.lists(["a/x.json", "b/y.json"])

    def damaged(self, sam, change):
        regions = json.loads((sam / "b/y.json").read_text())
        (sam / "b/y.json").write_text(json.dumps(change(regions)))

    def test_another_aspect_ratio_is_refused_by_image(self, tmp_path, check):
        names, lists = ["x.jpg", "y.jpg"], ["x.json", "y.json"]
        case = Case(tmp_path, names, ORIGINAL, [(48, 64), (64, 40)])
        message = ("image y.jpg", "64 x 40 pixels", "61 x 40", "one picture at two sizes")
        check(case, case.lists(lists), "y.json", *message)
        check(case, case.coco(names), "coco.json", *message)
        maps = tmp_path / "maps"
        maps.mkdir()
        for name, masks in zip(("x.npy", "y.npy"), case.masks, strict=True):
            np.save(maps / name, masks[0].astype(int))
        check(case, maps, "y.npy", *message)

    @pytest.mark.parametrize("orientation", [1, 3])
    def test_a_picture_on_its_side_that_exif_does_not_turn(self, tmp_path, check, orientation):
        case = Case(tmp_path, ["x.jpg"], [(48, 64)], [(64, 48)], orientation)
        check(case, case.lists(["x.json"]), "image x.jpg", "64 x 48 pixels", "48 x 64")

    def test_a_missing_image(self, case, sam, check):
        (sam / "b/y.json").unlink()
        check(case, sam, "1 of 2 images have none, b/y.json for image b/y.png among them")

    def test_foreign_names(self, case, check):
        check(case, case.coco(["a/z.jpg", "b/y.jpg"]), "2 of 2 images are not listed, a/x.jpg")
        check(case, case.lists(["x.json", "y.json"]), "2 of 2 images have none, a/x.json")

    def test_run_lengths_that_are_cut_short(self, case, sam, check):
        def change(regions):
            regions[3]["segmentation"]["counts"] = regions[3]["segmentation"]["counts"][:-1]
            return regions

        self.damaged(sam, change)
        check(case, sam, "b/y.json: segmentation of [3], image b/y.png, cannot be decoded")

    def test_run_lengths_of_two_sizes(self, case, sam, check):
        def change(regions):
            regions[3]["segmentation"]["size"] = [40, 61]
            return regions

        self.damaged(sam, change)
        check(case, sam, "segmentation of [3]", "run lengths of size [40, 61]", "61 x 40 pixels")

    @pytest.mark.parametrize("size", [None, [0, 0], ["a", 2], [61], [10**9, 10**9], [-1, -1]])
    def test_run_lengths_without_a_size(self, case, sam, check, size):
        def change(regions):
            for region in regions:
                region["segmentation"]["size"] = size
            return regions

        self.damaged(sam, change)
        check(case, sam, "segmentation of [0], image b/y.png, cannot be decoded", "run lengths")

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("3", "hold no list"),
            ("{}", "hold no list"),
            ("[3]", "[0] has no run lengths"),
            ('[{"area": 4}]', "[0] has no run lengths"),
            ('[{"segmentation": [[0, 0, 5, 0, 5, 5]]}]', "[0] has no run lengths"),
            ("[", "is not JSON"),
            ("[NaN]", "is not JSON"),
        ],
    )
    def test_no_list_of_regions(self, case, sam, check, content, part):
        (sam / "b/y.json").write_text(content)
        check(case, sam, "b/y.json", part, "give a list of regions, each with a 'segmentation'")

    @pytest.mark.parametrize("score", [None, "0.5", True])
    def test_a_score_that_is_none(self, case, check, score):
        source = case.write("r.json", case.results(score=score))
        content = {
            "annotations": [],
            "categories": [],
            "images": case.listing(["a/x.jpg", "b/y.png"]),
        }
        images = case.write("images.json", content)
        parts = ("r.json: annotations[0] has", "'score' or 'predicted_iou'", "--min-score")
        check(case, source, *parts, images=images, min_score=0.5)

    def test_arguments_that_do_not_go_together(self, case, sam, check):
        coco = case.coco(["a/x.jpg", "b/y.png"])
        results = case.write("r.json", case.results())
        check(case, results, "r.json are a list of results", "give --annotations")
        check(case, coco, "--annotations is only for lists of results", images=coco)
        check(case, sam, "--annotations is only for lists of results", images=coco)
        maps = case.folder / "maps"
        maps.mkdir()
        np.save(maps / "x.npy", np.zeros((2, 2), int))
        check(case, maps, "--min-score: label maps", min_score=0.5)

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_least_score_that_is_no_number(self, case, sam, check, score):
        check(case, sam, f"--min-score: {score} is not a score", min_score=score)

    def test_a_list_and_label_maps_in_one_folder(self, case, sam, check):
        np.save(sam / "x.npy", np.zeros((2, 2), int))
        check(case, sam, "the folder holds both .npy and .json files")
