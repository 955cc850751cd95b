"""Commands that look at masks, measure them, and carry them to and from other programs."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    masks = o.group(commands, "masks", "look at masks, measure them, take them elsewhere")

    c = o.command(masks, "info", _info, "what masks are, what made them, what they take on disk")
    _add_where(c)
    _add_json(c)

    c = o.command(masks, "stats", _stats, "how many masks, how large, how fragmented")
    _add_where(c)
    _add_json(c)

    c = o.command(masks, "show", _show, "pictures: photograph, masks of each round, ground truth")
    _add_where(c)
    c.add_argument(
        "image", nargs="+", help="number of an image in the index, from 0, or its name; a row each"
    )
    c.add_argument(
        "--style",
        choices=("overlay", "mask", "both"),
        default="overlay",
        help="masks over the photograph (default), by themselves, or both",
    )
    c.add_argument("--out", type=Path, help="picture to write (.png); default: in the terminal")
    _add_belongings(c)

    c = o.command(masks, "compare", _compare, "what changed between two rounds")
    _add_where(c)
    c.add_argument(
        "other",
        nargs="?",
        metavar="OTHER",
        help="masks to compare with; without it, each round of a run with the one before",
    )
    c.add_argument(
        "--top", type=o.count, default=10, help="images named that changed most (default 10)"
    )
    _add_json(c)

    c = o.command(masks, "verify", _verify, "read everything; name what is broken or missing")
    _add_where(c)
    c.add_argument("--index", type=Path, help="what `cyborgs index` wrote (default: the run's)")
    _add_json(c)

    c = o.command(masks, "quality", _quality, "agreement of masks with ground truth")
    _add_where(c)
    c.add_argument("--index", type=Path, help="what `cyborgs index` wrote (default: the run's)")
    c.add_argument("--annotations", type=Path, help="COCO instances JSON (default: the run's)")
    c.add_argument("--out", type=Path, help="JSON file to write, of one round")
    _add_json(c)

    c = o.command(masks, "export", _export, "masks as PNG, COCO JSON or .npy, at image size")
    _add_where(c)
    c.add_argument(
        "--format",
        choices=("png", "coco", "npy"),
        required=True,
        help="indexed PNGs; one JSON with run-length codes; int64 arrays",
    )
    o.add_out(c, "folder to write, or the JSON file", folder=True)

    c = o.command(masks, "import", _import, "masks made elsewhere, as shards that can seed a run")
    c.add_argument(
        "source",
        type=Path,
        help="folder of PNG or .npy label maps, or of JSON lists of regions (Segment Anything); a "
        "COCO instances JSON; or a list of results (detectors)",
    )
    o.add_index(c)
    c.add_argument(
        "--annotations", type=Path, help="COCO JSON that lists the images of a list of results"
    )
    c.add_argument(
        "--min-score", type=float, help="leave out regions of a lower score, or predicted_iou"
    )
    c.add_argument("--stride", type=o.count, default=8, help="pixels between labels (default 8)")
    c.add_argument("--shards", type=o.count, default=1, help="files to write (default 1)")
    o.add_out(c, "folder of the shards", folder=True)

    c = o.command(masks, "table", _table, "quality of all rounds as one table")
    c.add_argument(
        "--row",
        nargs=2,
        action="append",
        required=True,
        metavar=("KIND", "JSON"),
        help="kind of masks, and what `cyborgs masks quality` wrote; once a row",
    )
    o.add_out(c, "table to write (.tsv)")


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "where",
        metavar="WHERE",
        help="a run (results/<run>: all its rounds), or one round: a folder of shards, a shard, "
        "or a quoted pattern",
    )


def _add_belongings(parser: argparse.ArgumentParser) -> None:
    for name, what in (
        ("index", "what `cyborgs index` wrote"),
        ("images", "folder of the images"),
        ("annotations", "COCO instances JSON"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"{what} (default: the run's)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _print(result: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    print(json.dumps(result, indent=1) if as_json else text(result))


def _info(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages.masks import info

    _print(info.run(sources.resolve(options.where)), options.json, info.text)


def _stats(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages.masks import stats

    _print(stats.run(sources.resolve(options.where)), options.json, stats.text)


def _show(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages.masks import show

    found = sources.resolve(options.where, options.index, options.images, options.annotations)
    show.run(found, options.image, options.style, options.out)


def _compare(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages.masks import compare

    pairs = sources.pairs(options.where, options.other)
    _print([compare.run(*pair, options.top) for pair in pairs], options.json, compare.text)


def _verify(options: argparse.Namespace) -> int:
    from cyborgs.run import sources
    from cyborgs.stages.masks import verify

    result = verify.run(sources.resolve(options.where, options.index))
    _print(result, options.json, verify.text)
    return 1 if result["problems"] else 0


def _quality(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages import quality

    found = sources.resolve(options.where, options.index, annotations=options.annotations)
    if options.out is None:
        _print(quality.run_all(found), options.json, quality.text)
        return
    where, index = found.require_one_round(), found.require_index()
    quality.run(where, index, found.require_annotations(), options.out)


def _export(options: argparse.Namespace) -> None:
    from cyborgs.run import sources
    from cyborgs.stages.masks import export

    export.run(sources.resolve(options.where), options.format, options.out)


def _import(options: argparse.Namespace) -> None:
    from cyborgs.stages.masks import imports

    imports.run(
        options.source,
        options.index,
        options.out,
        stride=options.stride,
        shards=options.shards,
        images=options.annotations,
        min_score=options.min_score,
    )


def _table(options: argparse.Namespace) -> None:
    from cyborgs.stages import quality

    quality.table([(kind, Path(path)) for kind, path in options.row], options.out)
