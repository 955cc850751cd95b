"""What the two colour jitters (`views.colour`) do to photographs.

    python tests/bench/jitter.py PHOTOGRAPHS

Crops as training draws them, each jittered in both ways by the same draws; means over two crops of
each photograph.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from cyborgs.config import Views
from cyborgs.pretraining.views import draw_view, render

BARE = Views(jitter=1, greyscale=0, blur=[0, 0], solarise=[0, 0])
COLOURS = ("detcon-like", "published")


def saturation(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs", type=Path, help="folder of .jpg files")
    paths = sorted(parser.parse_args().photographs.glob("*.jpg"))
    rng = np.random.default_rng(0)
    rows = {name: [] for name in ("none", *COLOURS)}
    for path in [*paths, *paths]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        view = draw_view(rng, BARE, 0, height=height, width=width)
        bare = render(image, replace(view, jitter=None), BARE)
        shown = {c: render(image, view, BARE.model_copy(update={"colour": c})) for c in COLOURS}
        for name, result in {"none": bare, **shown}.items():
            s = saturation(result)
            change = np.abs(result.astype(int) - bare).mean()
            rows[name].append((s.mean(), 100 * (s >= 250).mean(), change))
    print(f"{len(paths)} photographs, two crops each")
    print("| jitter | mean saturation, of 255 | pixels at 250 or more | mean change, grey levels |")
    print("|---|---|---|---|")
    for name, found in rows.items():
        mean, high, change = np.mean(found, axis=0)
        print(f"| {name} | {mean:.0f} | {high:.0f}% | {change:.0f} |")


if __name__ == "__main__":
    main()
