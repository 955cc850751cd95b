"""``cyborgs data imagenet``: what is missing, and where it goes."""

import pytest

from cyborgs.cli import main
from cyborgs.stages import imagenet


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A whole ImageNet of two classes."""
    monkeypatch.setattr(imagenet, "IMAGES", {"train": 4, "val": 2})
    monkeypatch.setattr(imagenet, "CLASSES", 2)
    for split, count in (("train", 2), ("val", 1)):
        for name in ("n01440764", "n01443537"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{name}_{number}.JPEG").touch()
    return tmp_path


def test_a_whole_one_lacks_nothing(small, capsys):
    assert main(["data", "imagenet", str(small)]) == 0
    assert "4 images of train and 2 images of val" in capsys.readouterr().out


def test_what_is_missing_is_named_with_where_it_goes(small, tmp_path, capsys):
    (small / "train/n01440764/n01440764_0.JPEG").unlink()
    assert main(["data", "imagenet", str(small)]) == 1
    assert "train holds 3 images (*.JPEG) of 2 classes" in capsys.readouterr().out
    (found,) = imagenet.run(small)
    assert "not 4 of 2" in found


def test_nothing_at_all(tmp_path):
    train, val = imagenet.run(tmp_path / "none")
    assert train.startswith(f"{tmp_path}/none/train is missing: get ILSVRC2012_img_train.tar from")
    assert "ground_truth" in val


def test_archives_that_wait_to_be_unpacked(small):
    (small / "val").rename(small / "elsewhere")
    (small / "ILSVRC2012_img_val.tar").touch()
    (found,) = imagenet.run(small)
    assert found.startswith(f"{small}/val is missing: unpack {small}/ILSVRC2012_img_val.tar there")


def test_images_without_a_class(small):
    (small / "val/ILSVRC2012_val_00000001.JPEG").touch()
    (found,) = imagenet.run(small)
    assert "val holds 1 images that are in no class" in found
