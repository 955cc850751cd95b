"""Throw broken image files at the indexer and the decoder: none may crash, hang or leak.

python -m tests.bench.fuzz [--files 50000] [--seed 1]

A crash ends this program by a signal, a file that takes over ten seconds by an alarm; memory is
printed as it goes.
"""

import io
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from cyborgs.common.errors import BadImageError
from cyborgs.images.decoding import BrokenImageError, decode, examine
from tests.bench.fuzzing import throw


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


def outcome(content, folder):
    """What became of a file."""
    try:
        entry = examine("x", content)
        (folder / "x").write_bytes(content)
        decode(folder, entry)
    except BrokenImageError:
        return "refused when indexed"
    except BadImageError:
        return "refused when decoded"
    return "read"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        throw(
            __doc__.splitlines()[0],
            broken_files,
            lambda content: outcome(content, Path(name)),
            count=50_000,
        )
