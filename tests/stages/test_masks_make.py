"""`cyborgs masks make`: masks from any backbone, in one command, without a run."""

import numpy as np
import pytest
import torch

from cyborgs.cli import main
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Masks
from cyborgs.models.backbones.backbone import Backbone

VIT = ("--backbone", "timm/vit_tiny_patch16_224", "--weights", "random")


def make(tiny, out, *arguments):
    given = ["--device", "cpu", "--threads", "1", "--out", str(out), *arguments]
    return main(["masks", "make", str(tiny.images), *given])


def labels_of(out):
    masks = Masks(str(out / "masks/round-00"), read_index(out / "index.jsonl"))
    return [masks.read(position) for position in range(13)]


@pytest.mark.parametrize(
    ("arguments", "stride"),
    [
        (["--backbone", "resnet18", "--weights", "random"], 8),
        (["--backbone", "timm/convnext_atto", "--weights", "random", "--group", "1"], 8),
        (
            [*VIT, "--method", "normalised-cut", "--group", "4", "--shards", "2"],
            16,
        ),
    ],
)
def test_masks_of_photographs_and_what_can_be_done_with_them(
    tiny, arguments, stride, tmp_path, capsys
):
    out = tmp_path / "made"
    assert make(tiny, out, *arguments) == 0
    assert "masks an image" in capsys.readouterr().out
    labels = labels_of(out)
    assert {m.shape for m in labels} == {(64 // stride, 96 // stride)}
    assert max(len(np.unique(m)) for m in labels) > 1
    # As of a run.
    assert main(["masks", "show", str(out), "3", "--out", str(tmp_path / "x.png")]) == 0
    assert main(["masks", "verify", str(out)]) == 0
    export = ["masks", "export", str(out), "--format", "png", "--out", str(tmp_path / "png")]
    assert main(export) == 0


def test_weights_that_are_given_make_the_masks(tiny, tmp_path):
    torch.manual_seed(3)
    torch.save(Backbone("resnet18").state_dict(), tmp_path / "w.pth")
    for name, weights in (("a", str(tmp_path / "w.pth")), ("b", "random")):
        chosen = ["--backbone", "resnet18", "--weights", weights, "--clusters", "4", "4"]
        assert make(tiny, tmp_path / name, *chosen) == 0
    a, b = labels_of(tmp_path / "a"), labels_of(tmp_path / "b")
    assert not all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_normalised_cut_of_an_image_depends_on_no_other_image(tiny, tmp_path):
    cut = ["--backbone", "resnet18", "--weights", "random", "--method", "normalised-cut"]
    more = ["--clusters", "3", "3", "--block", "layer3"]
    for name, group in (("one", "1"), ("five", "5")):
        assert make(tiny, tmp_path / name, *cut, *more, "--group", group) == 0
    for a, b in zip(labels_of(tmp_path / "one"), labels_of(tmp_path / "five"), strict=True):
        pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
        assert len(pairs) == 3  # the same masks, by other numbers at most


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--backbone", "resnet51", "--weights", "random"], "did you mean resnet50"),
        (["--backbone", "resnet18", "--weights", "missing.pth"], "missing.pth does not exist"),
        (
            ["--backbone", "resnet18", "--weights", "random", "--block", "layer9"],
            "--block: resnet18 has no block layer9; its stages are layer1",
        ),
        (["--backbone", "resnet18", "--weights", "random", "--clusters", "5", "2"], "'clusters'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(tiny, arguments, told, tmp_path, capsys):
    assert make(tiny, tmp_path / "out", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "out").exists()
