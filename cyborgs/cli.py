"""The command line: parse and dispatch, nothing else.

Heavy libraries are imported inside the commands, so that ``--help`` is instant.
"""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cyborgs import __version__
from cyborgs.config import Compute, load, parse
from cyborgs.errors import InputError

# Exit status for input that cannot be used, as argparse has it for arguments.
BAD_INPUT = 2

# Faults of the machine that need a line, not a traceback.
_MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}

Command = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Command = options.command
    try:
        command(options)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"{options.prog}: error: {line}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        if error.errno not in _MACHINE_FAULTS:
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"{options.prog}: error: {error.strerror}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


def entry() -> None:
    """The console script."""
    # Compute threads that spin while they wait slow each other down several times over where
    # jobs share cores.  Must be set before torch or FAISS is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cyborgs",
        description="Pretrain vision backbones on unlabelled scenes: contrastive training over "
        "segmentation masks, alternating with clustering features into better masks. Each "
        "command is one step of the workflow; `snakemake --cores all` runs them all.",
    )
    parser.add_argument("--version", action="version", version=f"cyborgs {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    c = _command(commands, "config", _config, "check a configuration file and print it in full")
    c.add_argument("file", help="YAML file of a run")

    c = _command(commands, "scenes", _scenes, "draw the embedded data: labelled scenes")
    _add_config(c, "data.scenes")
    _add_out(c, "folder for images/ and annotations.json")

    c = _command(commands, "index", _index, "list the images of a folder, in a fixed order")
    _add_images(c)
    c.add_argument("--threads", type=_count, default=2, help="files read at a time (default 2)")
    _add_out(c, "index to write (JSON lines)")

    seed = _group(commands, "seed", "make the state and the masks of round 0")
    c = _command(seed, "state", _seed_state, "initial weights, as the state of round 0")
    _add_config(c, "seed, model")
    _add_out(c, "state to write (.pt)")
    c = _command(seed, "masks", _seed_masks, "a shard of the masks of round 0")
    _add_config(c, "seed, shards, seed_masks, bootstrap.group")
    _add_images(c)
    _add_index(c)
    _add_shard(c)
    c.add_argument("--annotations", type=Path, help="COCO JSON, for kind ground-truth")
    _add_out(c, "mask shard to write (.h5)")

    c = _command(commands, "pretrain", _pretrain, "train one round on the masks of the one before")
    _add_config(c, "seed, model, views, pretrain")
    c.add_argument("--round", type=_count, required=True, help="number of the round, from 1")
    _add_images(c)
    _add_index(c)
    c.add_argument("--state", type=Path, required=True, help="state of the round before")
    _add_masks(c, "masks of the round before")
    _add_out(c, "state to write (.pt)")
    c.add_argument(
        "--work", type=Path, help="folder for rolling checkpoints (default: work/ beside --out)"
    )
    _add_compute(c)
    c.add_argument("--workers", type=int, help="loader processes (default: compute.workers)")
    c.add_argument(
        "--checkpoint-minutes",
        type=float,
        help="minutes between rolling checkpoints (default: compute.checkpoint_minutes)",
    )

    c = _command(commands, "bootstrap", _bootstrap, "cluster features into a shard of masks")
    _add_config(c, "seed, shards, bootstrap")
    c.add_argument("--round", type=int, required=True, help="number of the round, from 0")
    _add_images(c)
    _add_index(c)
    c.add_argument("--state", type=Path, required=True, help="state of that round")
    _add_shard(c)
    c.add_argument(
        "--limit",
        type=_count,
        metavar="IMAGES",
        help="only the first groups that hold this many images",
    )
    _add_out(c, "mask shard to write (.h5)")
    _add_compute(c)

    c = _command(commands, "export", _export, "a backbone as other programs load it")
    c.add_argument("--state", type=Path, required=True, help="state of any round")
    _add_out(c, "torchvision state dict to write (.pth)")

    masks = _group(commands, "masks", "measure masks")
    c = _command(masks, "quality", _quality, "agreement of a round's masks with ground truth")
    _add_masks(c, "masks of a round")
    _add_index(c)
    c.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")
    c.add_argument("--out", type=Path, help="JSON file to write (default: print)")
    c = _command(masks, "table", _table, "quality of all rounds as one table")
    c.add_argument(
        "--row",
        nargs=2,
        action="append",
        required=True,
        metavar=("KIND", "JSON"),
        help="kind of masks, and what `cyborgs masks quality` wrote; once a row",
    )
    _add_out(c, "table to write (.tsv)")
    return parser


def _group(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    parser = commands.add_parser(name, help=text, description=_sentence(text))
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=_sentence(text))
    parser.set_defaults(command=command, prog=parser.prog)
    return parser


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _add_config(parser: argparse.ArgumentParser, sections: str) -> None:
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE|JSON",
        help=f"YAML file of a run, or JSON of some sections; uses {sections}",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", type=Path, required=True, help="what `cyborgs index` wrote")


def _add_masks(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--masks", required=True, help=f"{what}: a folder of shards, a shard, or a quoted pattern"
    )


def _add_shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")


def _add_out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=Path, required=True, help=what)


def _add_compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: compute.device")
    parser.add_argument("--threads", type=_count, help="default: compute.threads")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _compute(options: argparse.Namespace, compute: Compute) -> Compute:
    """The `compute` section with what the command line says instead."""
    given = {k: v for k, v in vars(options).items() if k in Compute.model_fields and v is not None}
    return parse({"compute": {**compute.model_dump(), **given}}).compute


def _config(options: argparse.Namespace) -> None:
    import yaml

    print(yaml.safe_dump(load(options.file).model_dump(), sort_keys=False), end="")


def _scenes(options: argparse.Namespace) -> None:
    from cyborgs.stages import scenes

    scenes.run(load(options.config), options.out)


def _index(options: argparse.Namespace) -> None:
    from cyborgs.stages import index

    index.run(options.images, options.out, options.threads)


def _seed_state(options: argparse.Namespace) -> None:
    from cyborgs.stages import seed_state

    seed_state.run(load(options.config), options.out)


def _seed_masks(options: argparse.Namespace) -> None:
    from cyborgs.stages import seed_masks

    seed_masks.run(
        load(options.config),
        options.images,
        options.index,
        options.out,
        options.shard,
        options.annotations,
    )


def _pretrain(options: argparse.Namespace) -> None:
    from cyborgs.stages import pretrain

    config = load(options.config)
    pretrain.run(
        config,
        options.round,
        options.images,
        options.index,
        options.state,
        options.masks,
        options.out,
        options.work or options.out.parent / "work",
        _compute(options, config.compute),
    )


def _bootstrap(options: argparse.Namespace) -> None:
    from cyborgs.stages import bootstrap

    config = load(options.config)
    bootstrap.run(
        config,
        options.round,
        options.images,
        options.index,
        options.state,
        options.out,
        options.shard,
        _compute(options, config.compute),
        options.limit,
    )


def _export(options: argparse.Namespace) -> None:
    from cyborgs.stages import export

    export.run(options.state, options.out)


def _quality(options: argparse.Namespace) -> None:
    import json

    from cyborgs.stages import quality

    result = quality.run(options.masks, options.index, options.annotations, options.out)
    if options.out is None:
        print(json.dumps(result, indent=1))


def _table(options: argparse.Namespace) -> None:
    from cyborgs.stages import quality

    quality.table([(kind, Path(path)) for kind, path in options.row], options.out)
