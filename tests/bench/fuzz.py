"""Throw broken image files at the indexer and the decoder: none may crash, hang or leak.

python tests/bench/fuzz.py [--files 50000] [--seed 1]

A crash ends this program by a signal, a file that takes over ten seconds by an alarm; memory is
printed as it goes.
"""

import argparse
import io
import random
import resource
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from cyborgs.data.decoding import BrokenImageError, decode, examine
from cyborgs.errors import BadImageError

# Seconds that a file may take.
PATIENCE = 10


def whole_files():
    """Small files of every format and kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    kinds = [
        ("JPEG", "RGB", {}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "CMYK", {}),
        ("JPEG", "L", {}), ("JPEG", "RGB", {"exif": exif}), ("PNG", "RGB", {}), ("PNG", "P", {}),
        ("PNG", "RGBA", {"exif": exif}), ("PNG", "1", {}), ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}), ("BMP", "P", {}),
        ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {"compression": "tiff_adobe_deflate"}), ("TIFF", "CMYK", {}),
    ]  # fmt: skip
    files = []
    for form, mode, options in kinds:
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, form, **options)
        files.append(stream.getvalue())
    return files


def broken_files(count, seed):
    """Whole files with some bytes changed, left out, doubled, or taken from another file."""
    whole = whole_files()
    draw = random.Random(seed)
    for _ in range(count):
        content = bytearray(draw.choice(whole))
        for _ in range(draw.choice([1, 1, 2, 4, 16])):
            # Headers are where the trouble is.
            reach = len(content) if draw.random() < 0.5 else min(len(content), 80)
            at = draw.randrange(max(1, reach))
            length = draw.choice([1, 1, 2, 4, 64])
            kind = draw.randrange(6)
            if kind == 0:
                content[at : at + length] = draw.randbytes(length)
            elif kind == 1:
                content[at : at + length] = draw.choice([b"\xff", b"\0", b"\x7f"]) * length
            elif kind == 2:
                del content[at : at + length]
            elif kind == 3:
                content[at:at] = content[at : at + length]
            elif kind == 4:
                del content[draw.randrange(max(1, len(content))) :]
            else:
                content[at:] = draw.choice(whole)[at:]
        yield bytes(content)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcomes = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(broken_files(options.files, options.seed), start=1):
            begin = time.perf_counter()
            signal.alarm(PATIENCE)
            try:
                entry = examine("x", content)
                (Path(folder) / "x").write_bytes(content)
                decode(Path(folder), entry)
                outcomes["read"] += 1
            except BrokenImageError:
                outcomes["refused when indexed"] += 1
            except BadImageError:
                outcomes["refused when decoded"] += 1
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - begin)
            if number % (options.files // 5) == 0:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f"{number:,} files, at most {slowest:.2f} s a file, {memory:.0f} MB at most: "
                    + ", ".join(f"{count:,} {what}" for what, count in outcomes.most_common()),
                    flush=True,
                )


if __name__ == "__main__":
    main()
