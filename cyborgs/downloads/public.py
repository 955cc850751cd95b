"""The public data sets that can be fetched: where they are, how large, and their checksums.

Checksums of COCO are those that its users publish, and agree on; of VOC, those in torchvision 0.29
(`torchvision/datasets/voc.py`).  Sizes are what the servers say.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A `.zip` or `.tar` file on a server: its length in bytes, and its MD5."""

    url: str
    bytes: int
    md5: str

    @property
    def file(self) -> str:
        """Its name without the folders of the URL."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Part:
    """A folder of a data set: the archives that fill it, and the folder in them that it is."""

    folder: str
    archives: tuple[Archive, ...]
    inside: str


@dataclass(frozen=True)
class DataSet:
    """A data set: its parts by name, and the terms that its users accept."""

    parts: dict[str, Part]
    terms: str


_COCO = "http://images.cocodataset.org"
_VOC = "https://thor.robots.ox.ac.uk/pascal/VOC"

DATA_SETS = {
    "coco": DataSet(
        {
            "train2017": Part(
                "coco/train2017",
                (
                    Archive(
                        f"{_COCO}/zips/train2017.zip",
                        19_336_861_798,
                        "cced6f7f71b7629ddf16f17bbcfab6b2",
                    ),
                ),
                "train2017",
            ),
            "val2017": Part(
                "coco/val2017",
                (
                    Archive(
                        f"{_COCO}/zips/val2017.zip",
                        815_585_330,
                        "442b8da7639aecaf257c1dceb8ba8c80",
                    ),
                ),
                "val2017",
            ),
            "annotations": Part(
                "coco/annotations",
                (
                    Archive(
                        f"{_COCO}/annotations/annotations_trainval2017.zip",
                        252_907_541,
                        "f4bbac642086de4f52a3fdda2de5fa2c",
                    ),
                ),
                "annotations",
            ),
        },
        "COCO: annotations under CC BY 4.0; the photographs under the terms of Flickr, each with a "
        "licence of its own, named in the annotations (https://cocodataset.org/#termsofuse)",
    ),
    "voc": DataSet(
        {
            "VOC2007": Part(
                "VOC2007",
                (
                    Archive(
                        f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
                        460_032_000,
                        "c52e279531787c972589f7e41ab4ae64",
                    ),
                    Archive(
                        f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
                        451_020_800,
                        "b6e924de25625d8de591ea690078ad9f",
                    ),
                ),
                "VOCdevkit/VOC2007",
            ),
            "VOC2012": Part(
                "VOC2012",
                (
                    Archive(
                        f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
                        1_999_639_040,
                        "6cd6e144f989b92b3379bac3b3de84fd",
                    ),
                ),
                "VOCdevkit/VOC2012",
            ),
        },
        "PASCAL VOC: the photographs under the terms of Flickr "
        "(http://host.robots.ox.ac.uk/pascal/VOC/voc2012/#rights)",
    ),
}
