"""Commands that look at masks, measure them, and carry them to and from other programs."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyborgs.cli import options as o
from cyborgs.config import parse, write_config
from cyborgs.runtime.gpus import claimed


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    masks = o.group(commands, "masks", "show, measure, check and convert masks")

    c = o.command(
        masks, "make", _make, "make masks of photographs from a backbone's features, without a run"
    )
    c.add_argument("images", type=Path, metavar="PHOTOS", help="folder of the images")
    o.add_list(c)
    c.add_argument(
        "--backbone",
        required=True,
        metavar="ARCHITECTURE",
        help="resnet50, timm/vit_small_patch14_dinov2, or any other (docs/backbones.md)",
    )
    c.add_argument(
        "--weights",
        required=True,
        metavar="FILE|pretrained|random",
        help="a checkpoint; the weights that the backbone's library publishes, once `cyborgs data "
        "weights` has fetched them; or random ones",
    )
    c.add_argument(
        "--block", help="block or stage to cluster (default: the one of stride 8, or the last)"
    )
    c.add_argument(
        "--method",
        choices=("k-means", "normalised-cut"),
        default="k-means",
        help="k-means over a group of images (default), or a cut of each single image",
    )
    c.add_argument(
        "--clusters",
        type=o.count,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="range from which K is drawn (default: 2 256; for normalised-cut 2 8)",
    )
    c.add_argument(
        "--group",
        type=o.count,
        default=16,
        help="images clustered together (default 16; 1: each image alone)",
    )
    c.add_argument("--shards", type=o.count, default=1, help="files to write (default 1)")
    c.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    c.add_argument(
        "--limit",
        type=o.count,
        metavar="IMAGES",
        help="use only the first groups that contain this many images",
    )
    o.add_on_bad_image(c, "error")
    o.add_compute(c)
    o.add_out(c, "folder to write; `cyborgs masks show`, `stats` and `export` take it", folder=True)

    c = o.command(
        masks, "info", _info, "show what the masks are, what made them, and their size on disk"
    )
    _add_where(c)
    _add_json(c)

    c = o.command(masks, "stats", _stats, "count masks, their areas and their pieces")
    _add_where(c)
    _add_json(c)

    c = o.command(
        masks, "show", _show, "draw the photograph, masks of each round, and ground truth"
    )
    _add_where(c)
    c.add_argument(
        "image",
        nargs="+",
        help="number of an image in the index (from 0), or its name; each image is a row of the "
        "picture",
    )
    c.add_argument(
        "--style",
        choices=("overlay", "mask", "both"),
        default="overlay",
        help="masks over the photograph (default), masks alone, or both",
    )
    c.add_argument("--out", type=Path, help="picture to write (.png); default: in the terminal")
    _add_belongings(c)

    c = o.command(masks, "compare", _compare, "show what changed between two rounds")
    _add_where(c)
    c.add_argument(
        "other",
        nargs="?",
        metavar="OTHER",
        help="masks to compare with (default: compare each round of the run with the previous one)",
    )
    c.add_argument(
        "--top",
        type=o.count,
        default=10,
        help="how many of the most changed images to list (default 10)",
    )
    _add_json(c)

    c = o.command(
        masks,
        "verify",
        _verify,
        "read every file, and list what is broken, missing or inconsistent",
    )
    _add_where(c)
    c.add_argument("--index", type=Path, help="what `cyborgs index` wrote (default: the run's)")
    _add_json(c)

    c = o.command(masks, "quality", _quality, "measure the agreement of masks with ground truth")
    _add_where(c)
    c.add_argument("--index", type=Path, help="what `cyborgs index` wrote (default: the run's)")
    c.add_argument("--annotations", type=Path, help="COCO instances JSON (default: the run's)")
    c.add_argument("--out", type=Path, help="JSON file to write (WHERE must then be one round)")
    _add_json(c)

    c = o.command(masks, "export", _export, "write masks as PNG, COCO JSON or .npy, at image size")
    _add_where(c)
    c.add_argument(
        "--format",
        choices=("png", "coco", "npy"),
        required=True,
        help="png: indexed PNGs; coco: one JSON with run-length codes; npy: int64 arrays",
    )
    o.add_out(c, "folder to write, or the JSON file", folder=True)

    c = o.command(
        masks, "import", _import, "convert masks of another program into shards that can seed a run"
    )
    c.add_argument(
        "source",
        type=Path,
        help="folder of PNG or .npy label maps, or of JSON lists of regions (Segment Anything); a "
        "COCO instances JSON; or a list of results (detectors)",
    )
    o.add_index(c)
    c.add_argument(
        "--annotations",
        type=Path,
        help="COCO JSON that lists the images, if SOURCE is a list of results",
    )
    c.add_argument(
        "--min-score",
        type=float,
        help="leave out regions with a lower score (or predicted_iou, if there is no score)",
    )
    c.add_argument("--stride", type=o.count, default=8, help="pixels between labels (default 8)")
    c.add_argument("--shards", type=o.count, default=1, help="files to write (default 1)")
    o.add_out(c, "folder of the shards", folder=True)

    c = o.command(masks, "table", _table, "join the mask quality of all rounds in one table")
    c.add_argument(
        "--row",
        nargs=2,
        action="append",
        required=True,
        metavar=("KIND", "JSON"),
        help="kind of masks, and a file that `cyborgs masks quality` wrote; repeat for each row",
    )
    o.add_out(c, "table to write (.tsv)")


def _make(options: argparse.Namespace) -> None:
    from cyborgs.models.backbones import family_of, place_of
    from cyborgs.run import sources
    from cyborgs.run.inputs import require_weights
    from cyborgs.run.paths import Run
    from cyborgs.stages import bootstrap, index, seed_state
    from cyborgs.stages.masks import stats

    named = options.clusters or ((2, 256) if options.method == "k-means" else (2, 8))
    model = {"architecture": options.backbone}
    if options.weights != "random":
        model["weights"] = options.weights
    # Before the network is looked at, its name is checked.
    config = parse({"model": model})
    block = options.block or family_of(options.backbone).clustered(options.backbone)
    config = parse(
        {
            "seed": options.seed,
            "shards": options.shards,
            "rounds": 1,
            "data": {"images": str(options.images.absolute())},
            "model": model,
            "seed_masks": {"kind": "features"},
            "bootstrap": {
                "block": block,
                "method": options.method,
                "clusters": list(named),
                "group": options.group,
            },
        }
    )
    place_of(options.backbone, block, "--block")
    # Before anything is written.
    require_weights(config)
    run = Run(options.out)
    index.run(
        options.images,
        run.index,
        threads=options.threads or config.compute.threads,
        on_bad_image=options.on_bad_image,
        list_file=options.list,
    )
    seed_state.run(config, run.state(0))
    write_config(config, run.config)
    compute = o.compute(options, config.compute)
    with claimed(compute.device, 1):
        for shard in range(config.shards):
            bootstrap.run(
                config,
                number=0,
                images=options.images,
                index_path=run.index,
                state_path=run.state(0),
                out=run.shard(0, shard, config.shards),
                shard=shard,
                compute=compute,
                limit=options.limit,
                on_bad_image=options.on_bad_image,
            )
    print(stats.text(stats.run(sources.resolve(str(options.out)))))


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
