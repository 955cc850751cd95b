"""Reading a run from Python; here, where the tiny run is made."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.models.feature_extraction import create_feature_extractor

import cyborgs
from cyborgs.stages import export


@pytest.fixture
def run(results):
    return cyborgs.open_run(results)


class TestMasks:
    def test_they_are_what_hdf5_reads(self, run, results):
        masks = cyborgs.load_masks(results, 1)
        stored = {}
        for path in (results / "masks/round-01").glob("*.h5"):
            with h5py.File(path) as file:
                names = [n.decode() for n in file["images/name"][:].ravel().tolist()]
                for position, name in zip(file["images/position"][:], names, strict=True):
                    stored[name] = int(position), file[f"masks/{position:09d}"][:]
        assert dict(masks.items()).keys() == stored.keys()
        assert (len(masks), masks.round, masks.stride) == (13, 1, 8)
        for name, (position, labels) in stored.items():
            assert np.array_equal(masks[name], labels)
            assert np.array_equal(masks[position], labels)
            assert np.array_equal(masks[np.int64(position)], labels)

    def test_a_pixel_takes_the_label_of_the_nearest_centre(self, run):
        masks = cyborgs.load_masks(run, 1)
        labels, full = masks[3], masks.full_size(3)
        assert full.shape == run.photograph(3).shape[:2]
        for y, x in ((0, 0), (3, 4), (4, 3), (20, 35), (63, 95)):
            row = min(range(labels.shape[0]), key=lambda i: (abs(8 * i - y), -i))
            column = min(range(labels.shape[1]), key=lambda i: (abs(8 * i - x), -i))
            assert full[y, x] == labels[row, column]

    def test_what_is_in_them(self, run):
        masks = cyborgs.load_masks(run, 1)
        assert list(masks) == run.names == sorted(run.names)
        assert run.names[4] in masks
        assert 4 in masks
        assert "no.jpg" not in masks
        assert 13 not in masks
        assert None not in masks
        assert masks.get("no.jpg") is None
        assert 2 <= masks.clusters(4) <= 6
        masks.close()
        assert masks[4].shape == (8, 12)

    def test_one_images_masks_of_all_rounds(self, run, results):
        found = cyborgs.masks_of(run, 2)
        assert (found.position, found.name) == (2, run.names[2])
        assert list(found.rounds) == [0, 1]
        for number, labels in found.rounds.items():
            assert np.array_equal(labels, cyborgs.load_masks(run, number).full_size(2))
        image = np.asarray(Image.open(results / "scenes/images" / found.name))
        assert np.array_equal(found.photograph, image)
        objects = json.loads((results / "scenes/annotations.json").read_text())["annotations"]
        ids = {i["file_name"]: i["id"] for i in json.loads(
            (results / "scenes/annotations.json").read_text())["images"]}  # fmt: skip
        own = [o for o in objects if o["image_id"] == ids[found.name]]
        assert len(found.instances.categories) == len(own) > 0
        assert found.truth.max() == len(own)
        pictures = found.pictures()
        assert list(pictures) == ["photograph", "seed", "round 1", "ground truth"]
        assert {p.shape for p in pictures.values()} == {image.shape}

    def test_an_image_by_its_name(self, run):
        assert cyborgs.masks_of(run, "000003").position == 2

    def test_without_annotations_there_is_no_truth(self, copy):
        text = (copy / "config.yaml").read_text()
        config = text.replace("images: null", "images: results/tiny/scenes/images", 1)
        lines = config.splitlines()
        at = lines.index("  scenes:")
        rest = next(i for i in range(at + 1, len(lines)) if not lines[i].startswith("    "))
        (copy / "config.yaml").write_text("\n".join(lines[:at] + lines[rest:]))
        found = cyborgs.masks_of(copy, 2)
        assert found.instances is None
        assert found.truth is None
        assert list(found.pictures()) == ["photograph", "seed", "round 1"]


class TestNetworks:
    def test_features_are_torchvisions(self, run, results, tmp_path):
        export.run(run.files.state(1), tmp_path / "backbone.pth", "torchvision", "online")
        weights = torch.load(tmp_path / "backbone.pth")["state_dict"]
        theirs = torchvision.models.resnet18()
        theirs.load_state_dict(weights, strict=False)
        names = {"layer2.1": "block", "layer2": "2", "layer3": "3", "layer4": "4"}
        extract = create_feature_extractor(theirs.eval(), list(names))
        images = np.stack([run.photograph(n) for n in range(3)])
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = ((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.no_grad():
            outputs = extract(pixels)
        # Of 64 x 96 pixels, 2 x 3 cells, each over 4 x 4 and 2 x 2 locations.
        pooled = [
            outputs["layer2"].reshape(3, 128, 2, 4, 3, 4).mean((3, 5)),
            outputs["layer3"].reshape(3, 256, 2, 2, 3, 2).mean((3, 5)),
            outputs["layer4"],
        ]
        for source in (results, tmp_path / "backbone.pth"):
            network = cyborgs.load_backbone(source)
            assert not network.training
            joined = cyborgs.features(network, images)
            assert joined.shape == (3, 128 + 256 + 512, 2, 3)
            torch.testing.assert_close(joined, torch.cat(pooled, 1), rtol=1e-4, atol=1e-5)
            two = cyborgs.features(network, images, stages=["layer3", "layer4"])
            torch.testing.assert_close(two, torch.cat(pooled[1:], 1), rtol=1e-4, atol=1e-5)
            block = cyborgs.features(network, list(images), block="layer2.1")
            torch.testing.assert_close(block, outputs["layer2.1"], rtol=1e-4, atol=1e-5)
            one = cyborgs.features(network, images[1], block="layer2.1")
            torch.testing.assert_close(one, block[1:2], rtol=1e-4, atol=1e-5)
            assert not joined.requires_grad

    def test_each_round_has_its_own_weights_and_average(self, run):
        def first(*arguments, **named):
            network = cyborgs.load_backbone(*arguments, **named)
            return network.conv1.weight.detach()

        last = first(run)
        assert torch.equal(last, first(run.files.state(1)))
        assert not torch.equal(last, first(run, 0))
        assert not torch.equal(last, first(run, 1, network="target"))

    @pytest.mark.parametrize(
        ("images", "parts"),
        [
            (np.zeros((8, 8, 3)), ["got float64 (1, 8, 8, 3)"]),
            (np.zeros((8, 8), np.uint8), ["RGB", "got uint8 (8, 8)"]),
            (np.zeros((0, 8, 8, 3), np.uint8), ["got uint8 (0, 8, 8, 3)"]),
            ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], ["several sizes"]),
        ],
    )
    def test_images_that_are_none(self, run, refused, images, parts):
        network = cyborgs.load_backbone(run)
        with refused(*parts):
            cyborgs.features(network, images)

    def test_a_network_that_cannot_be_asked(self, run, refused):
        image = run.photograph(0)
        with refused("block: resnet18 has no block layer2.7; layer2 ends with layer2.1"):
            cyborgs.features(cyborgs.load_backbone(run), image, block="layer2.7")
        with refused("block and stages: give one of them"):
            network = cyborgs.load_backbone(run)
            cyborgs.features(network, image, block="layer2.1", stages=["layer2"])
        with refused("stages: resnet18 has no stage layer9"):
            cyborgs.features(network, image, stages=["layer9"])
        with refused("in training mode", "call eval()"):
            cyborgs.features(cyborgs.load_backbone(run).train(), image)


class TestTables:
    def test_epochs(self, run, results):
        lines = (results / "metrics/round-01.jsonl").read_text().splitlines()
        assert run.metrics() == [{"round": 1, **json.loads(line)} for line in lines]
        assert len(lines) == 2

    def test_quality(self, run, results):
        records = run.quality()
        assert [(r["masks"], r["round"]) for r in records] == [
            ("K = 4", 0), ("K = 4", 1), ("as made", 0), ("as made", 1),
        ]  # fmt: skip
        for record, name in zip(records, ("k-4", "k-4", "made", "made"), strict=True):
            path = results / f"quality/{name}/round-0{record['round']}.json"
            figures = json.loads(path.read_text())
            assert {k: figures[k] for k in record.keys() - {"masks"}} == {
                k: v for k, v in record.items() if k != "masks"
            }

    def test_cost(self, copy):
        for name, lines in (("pretrain/round-01", ["9.5\t1000"]), ("masks/round-01/shard-0000",
                ["2\t10"]), ("masks/round-01/shard-0001", ["3\tNA"])):  # fmt: skip
            path = copy / f"cost/{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["s\tmax_rss", *lines, ""]))
        assert cyborgs.open_run(copy).cost() == [
            {"round": 1, "training_seconds": 9.5, "training_bytes": 1000 * 2**20,
             "masks_seconds": 5.0, "masks_bytes": 10 * 2**20, "masks_jobs": 2},
        ]  # fmt: skip

    def test_evaluations(self, evaluated):
        records = cyborgs.open_run(evaluated).evaluations()
        assert [(r["backbone"], r["round"], r["metric"], r["mean"], r["std"]) for r in records] == [
            ("random", None, "map", 0.25, None),
            ("round-01", 1, "map", pytest.approx(0.3), pytest.approx(0.1 * 2**0.5)),
        ]
        assert records[1]["values"] == [0.2, 0.4]
        assert records[1]["seeds"] == [0, 1]

    def test_what_is_not_there_is_no_record(self, copy):
        for name in ("metrics", "quality"):
            shutil.rmtree(copy / name)
        run = cyborgs.open_run(copy)
        assert [run.metrics(), run.quality(), run.evaluations(), run.cost()] == [[], [], [], []]

    def test_pandas_takes_them(self, run):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(run.quality()).set_index(["masks", "round"])
        assert frame.loc[("K = 4", 1), "ari"] == run.quality()[1]["ari"]


class TestBadInput:
    def test_no_run(self, tmp_path, refused):
        (tmp_path / "file").write_text("")
        with refused(f"run {tmp_path / 'no'} does not exist"):
            cyborgs.open_run(tmp_path / "no")
        with refused(f"run {tmp_path / 'file'} is a file; name a folder of a run"):
            cyborgs.open_run(str(tmp_path / "file"))
        with refused(f"run {tmp_path} has no config.yaml, so it is not a run", "results/demo"):
            cyborgs.load_masks(tmp_path, 1)

    def test_no_round(self, run, results, refused):
        with refused(f"run {results}: round 2 has no masks; rounds that do: 0, 1"):
            cyborgs.load_masks(run, 2)
        with refused(f"run {results}: round 9 has no state; rounds that do: 0, 1"):
            cyborgs.load_backbone(run, 9)
        with refused("round=1", "is not a run; give no round for a file"):
            cyborgs.load_backbone(run.files.state(1), 1)

    def test_no_image(self, run, refused):
        masks = cyborgs.load_masks(run, 1)
        with refused("image 13: the index has 13 images, 0 … 12"):
            masks[13]
        with refused("image no.jpg is not in the index; the first is 000001.jpg"):
            masks.full_size("no.jpg")
        with pytest.raises(KeyError, match=r"^image no\.jpg is not in the index"):
            masks["no.jpg"]
        with refused("image no.jpg is not in the index"):
            cyborgs.masks_of(run, "no.jpg")

    def test_no_backbone(self, run, results, refused):
        with refused("backbone", "does not exist"):
            cyborgs.load_backbone(results / "no.pth")
        with refused("network='both'"):
            cyborgs.load_backbone(run, network="both")

    def test_damaged_masks(self, copy, refused):
        path = next((copy / "masks/round-01").glob("*.h5"))
        path.write_bytes(path.read_bytes()[:2000])
        with refused(f"mask shard {path}", "truncated"):
            cyborgs.load_masks(copy, 1)


def test_a_run_is_left_as_it_was(results):
    def stamps():
        return sorted((p, p.stat().st_mtime_ns) for p in results.rglob("*"))

    before = stamps()
    cyborgs.masks_of(results, 0)
    cyborgs.load_backbone(results)
    assert stamps() == before
