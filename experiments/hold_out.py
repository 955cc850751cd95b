"""A part of the training images held out, to choose settings without the test images.

    python experiments/hold_out.py datasets/VOC2007 datasets-choice/VOC2007

Makes a folder of PASCAL VOC's layout out of another one: of its training images (`trainval`), every
third one, in an order drawn at random, is for testing, the others for training.  Images are linked.
``train.list`` has the latter, as `data.list` takes them.
"""

import argparse
import random
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("devkit", type=Path, help="folder with JPEGImages and ImageSets")
parser.add_argument("out", type=Path, help="folder to make")
options = parser.parse_args()

lists = options.devkit / "ImageSets/Main"
names = (lists / "trainval.txt").read_text().split()
random.Random(0).shuffle(names)
held_out = set(names[::3])
out = options.out / "ImageSets/Main"
out.mkdir(parents=True)
(options.out / "JPEGImages").symlink_to((options.devkit / "JPEGImages").resolve())
for path in sorted(lists.glob("*trainval.txt")):
    lines = path.read_text().splitlines(keepends=True)
    for split in ("trainval", "test"):
        kept = [line for line in lines if (line.split()[0] in held_out) == (split == "test")]
        (out / path.name.replace("trainval", split)).write_text("".join(kept))
kept = sorted(name for name in names if name not in held_out)
(options.out / "train.list").write_text("".join(f"{name}.jpg\n" for name in kept))
print(f"{options.out}: {len(kept)} images for training, {len(held_out)} held out")
