"""Commands for data sets, what is in them, and what can be fetched."""

import argparse
import json
import os
from pathlib import Path

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    data = o.group(
        commands, "data", "check, shrink and download data sets; download published weights"
    )

    c = o.command(
        data,
        "check",
        _check,
        "describe a folder of images; status 1 if files are broken or annotations do not fit them",
    )
    c.add_argument("images", type=Path, metavar="FOLDER", help="folder of the images")
    o.add_list(c)
    c.add_argument(
        "--annotations",
        type=Path,
        help="COCO instances JSON, which may list more or fewer images than the folder; status 1 "
        "if annotations do not fit their image, if none belongs to an image in the folder, or if "
        "the folder and the JSON each have names that the other lacks",
    )
    c.add_argument("--threads", type=o.count, default=2, help="files read at a time (default 2)")
    c.add_argument("--json", action="store_true", help="print JSON, with all names")

    c = o.command(data, "shrink", _shrink, "make a smaller copy of a folder of images")
    o.add_images(c)
    o.add_list(c)
    c.add_argument("--annotations", type=Path, help="COCO instances JSON of the images")
    c.add_argument("--short-side", type=o.count, required=True, metavar="PIXELS")
    c.add_argument("--threads", type=o.count, default=2, help="images at a time (default 2)")
    o.add_on_bad_image(c, "error")
    o.add_out(c, "folder for images/, names, annotations.json and summary.json", folder=True)

    c = o.command(data, "download", _download, "download a public data set, or continue a download")
    c.add_argument("name", choices=("coco", "voc"))
    c.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PART",
        help="parts to download, such as train2017 (default: all)",
    )
    _add_accept_terms(c, "the terms of the data set, which are")
    c.set_defaults(out_is_folder=True)
    c.add_argument(
        "--out", type=Path, default=Path("datasets"), help="folder of data sets (default: datasets)"
    )

    c = o.command(
        data,
        "weights",
        _weights,
        "download the published weights of a backbone into the cache that `pretrained` reads",
    )
    c.add_argument(
        "name",
        metavar="ARCHITECTURE",
        help="as model.architecture: resnet50, timm/vit_small_patch14_dinov2, or with one of "
        "timm's tags: timm/vit_large_patch16_dinov3.sat493m",
    )
    _add_accept_terms(c, "the terms of the weights, which are")

    c = o.command(
        data,
        "imagenet",
        _imagenet,
        "show which parts of ImageNet are missing, and where to put them",
    )
    c.add_argument(
        "folder", type=Path, metavar="FOLDER", help="folder of ImageNet, such as datasets/imagenet"
    )


def _add_accept_terms(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--accept-terms",
        action="store_true",
        default=os.environ.get("CYBORGS_ACCEPT_TERMS") == "1",
        help=f"accept {what} shown without it (or set CYBORGS_ACCEPT_TERMS=1)",
    )


def _check(options: argparse.Namespace) -> int:
    from cyborgs.stages import data_check

    result = data_check.run(options.images, options.threads, options.list, options.annotations)
    print(json.dumps(result, indent=1) if options.json else data_check.text(options.images, result))
    return 0 if data_check.sound(result) else 1


def _shrink(options: argparse.Namespace) -> None:
    from cyborgs.stages import shrink

    shrink.run(
        options.images,
        options.out,
        short_side=options.short_side,
        threads=options.threads,
        list_file=options.list,
        annotations=options.annotations,
        on_bad_image=options.on_bad_image,
    )


def _download(options: argparse.Namespace) -> None:
    from cyborgs.stages import download

    download.run(options.name, options.out, options.only, options.accept_terms)


def _weights(options: argparse.Namespace) -> None:
    from cyborgs.stages import weights

    weights.run(options.name, options.accept_terms)


def _imagenet(options: argparse.Namespace) -> int:
    from cyborgs.stages import imagenet

    missing = imagenet.run(options.folder)
    counts = " and ".join(
        f"{count:,} images of {split}" for split, count in imagenet.IMAGES.items()
    )
    print("\n".join(missing) or f"{options.folder} is whole: {counts}")
    return 1 if missing else 0
