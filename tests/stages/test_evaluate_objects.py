"""`cyborgs evaluate objects`: what can be evaluated, what it leaves, and what it refuses."""

import json

import pytest
import torch
import torchvision
import yaml

from cyborgs.cli import main
from cyborgs.common.files import sha256

SETTINGS = '{"downstream": {"seeds": 2, "objects": {"size": 32, "smallest": 8, "neighbours": 3}}}'


def evaluate(tiny, out, backbone, *extra, config=SETTINGS, kind="objects"):
    command = ["evaluate", kind, "--backbone", str(backbone), "--config", config]
    command += ["--images", str(tiny.images), "--index", str(tiny.index)]
    command += ["--annotations", str(tiny.annotations), "--out", str(out)]
    return main([*command, "--device", "cpu", "--threads", "1", *extra])


def read(path):
    return json.loads(path.read_text())


def test_a_state_and_its_export_are_one(tiny, trained, tmp_path):
    exported = tmp_path / "backbone.pth"
    assert main(["export", "--state", str(trained), "--out", str(exported)]) == 0
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert evaluate(tiny, first, trained) == 0
    assert evaluate(tiny, second, exported) == 0
    state, file = read(first), read(second)
    assert state["seeds"] == file["seeds"]
    assert [row["seed"] for row in state["seeds"]] == [0, 1]
    assert state["backbone"]["layout"] == "a state after round 1"
    assert 0 < state["mean"]["linear"] <= 1
    expected = sum(row["knn"] for row in state["seeds"]) / 2
    assert state["mean"]["knn"] == pytest.approx(expected)
    difference = state["seeds"][0]["knn"] - state["seeds"][1]["knn"]
    assert state["std"]["knn"] == pytest.approx(abs(difference) / 2**0.5)
    assert set(state["provenance"]["inputs"]) == {"index", "annotations", "backbone"}
    assert "scikit-learn" in state["provenance"]["libraries"]


def test_the_same_again_gives_the_same_bytes(tiny, trained, tmp_path):
    out = tmp_path / "a.json"
    contents = []
    for _ in range(2):
        assert evaluate(tiny, out, trained, "--network", "target") == 0
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]


def test_random_weights_and_the_table(tiny, trained, tmp_path, capsys):
    chance, learned = tmp_path / "random.json", tmp_path / "learned.json"
    assert evaluate(tiny, chance, "random", "--architecture", "resnet18") == 0
    assert evaluate(tiny, learned, trained) == 0
    capsys.readouterr()
    out = tmp_path / "table.tsv"
    assert main(["evaluate", "table", str(chance), str(learned), "--out", str(out)]) == 0
    title, header, first, second = capsys.readouterr().out.splitlines()
    assert title.startswith("Objects")
    assert header.split()[:2] == ["backbone", "network"]
    assert first.startswith("random (resnet18)")
    assert f"{100 * read(learned)['mean']['knn']:.1f} ± " in second
    header, *rows = (line.split("\t") for line in out.read_text().splitlines())
    inputs = [json.loads(row[header.index("inputs (SHA-256)")]) for row in rows]
    assert "backbone" not in inputs[0]
    assert inputs[-1]["backbone"] == sha256(trained)
    assert json.loads(rows[0][header.index("settings")])["seeds"] == 2
    assert rows[-1][header.index("command")].startswith("cyborgs evaluate objects --backbone")


@pytest.mark.parametrize("backbone", ["random", "STATE"])
def test_pixels_are_classified_on_the_same_inputs(backbone, tiny, trained, tmp_path):
    settings = '{"downstream": {"seeds": 2, "segmentation": {"layers": ["layer1"]}}}'
    name = backbone if backbone == "random" else trained
    extra = ["--architecture", "resnet18"] if backbone == "random" else []
    files = tmp_path / "a.json", tmp_path / "b.json"
    for file in files:
        assert evaluate(tiny, file, name, *extra, config=settings, kind="segmentation") == 0
    results = [read(file) for file in files]
    assert results[0]["seeds"] == results[1]["seeds"]
    assert 0 < results[0]["mean"]["miou"] < results[0]["mean"]["accuracy"] < 1
    # Each seed has another split, and random weights are others too.
    assert results[0]["seeds"][0]["miou"] != results[0]["seeds"][1]["miou"]


def test_imagenet_weights_come_from_the_cache_of_torchvision(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    out = tmp_path / "out.json"
    assert evaluate(tiny, out, "imagenet", "--architecture", "resnet18") == 2
    name = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    told = f"home/hub/checkpoints/{name}; `cyborgs data weights resnet18` fetches them"
    assert told in capsys.readouterr().err
    weights = tmp_path / "home/hub/checkpoints" / name
    weights.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    assert evaluate(tiny, out, "imagenet", "--architecture", "resnet18") == 0
    assert read(out)["backbone"]["name"] == "imagenet"


@pytest.mark.parametrize(
    ("backbone", "extra", "told"),
    [
        ("random", [], "give --architecture"),
        ("random", ["--architecture", "vgg11"], "--architecture: architecture vgg11 is unknown"),
        ("nowhere.pth", [], "nowhere.pth does not exist"),
        ("STATE", ["--architecture", "resnet50"], "holds a resnet18, not a resnet50"),
        ("EXPORT", ["--network", "target"], "holds no moving average"),
        ("STATE", ["--index", "nowhere.jsonl"], "nowhere.jsonl"),
        ("STATE", ["--annotations", "nowhere.json"], "nowhere.json"),
        ("STATE", ["--config", '{"downstream": {"object": {}}}'], "did you mean 'objects'"),
        (
            "STATE",
            ["--config", '{"downstream": {"objects": {"smallest": 500}}}'],
            "no object of 500 pixels",
        ),
    ],
)
def test_bad_input(backbone, extra, told, tiny, trained, tmp_path, capsys):
    if backbone == "EXPORT":
        backbone = tmp_path / "backbone.pth"
        assert main(["export", "--state", str(trained), "--out", str(backbone)]) == 0
    out = tmp_path / "out.json"
    capsys.readouterr()
    assert evaluate(tiny, out, trained if backbone == "STATE" else backbone, *extra) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(message) == 1
    assert told in message[0]
    assert not out.exists()


def test_a_damaged_result(tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text('{"evaluation": "objects"}')
    assert main(["evaluate", "table", str(path)]) == 2
    assert "x.json is damaged" in capsys.readouterr().err


def test_the_report_shows_it(tiny, trained, copy, tmp_path):
    page = tmp_path / "report.html"
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["downstream"]["evaluations"] = ["objects"]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", str(copy), "--out", str(page)]) == 0
    assert "What the backbone is worth" not in page.read_text()
    for name, backbone in (("random", "random"), ("round-01", trained)):
        out = copy / f"downstream/objects/{name}.json"
        extra = ["--architecture", "resnet18"] if backbone == "random" else []
        assert evaluate(tiny, out, backbone, *extra) == 0
    assert main(["report", str(copy), "--out", str(page)]) == 0
    html = page.read_text()
    assert "What the backbone is worth" in html
    assert html.index("<td>random (resnet18)</td>") < html.index(f"<td>{trained} (resnet18)</td>")
