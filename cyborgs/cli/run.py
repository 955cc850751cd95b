"""Commands that run the whole loop: `run`, and `init`, which writes a configuration for it."""

import argparse
from pathlib import Path

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    c = o.command(
        commands,
        "run",
        _run,
        "run the whole loop, on a folder of photographs or by a configuration",
    )
    c.add_argument(
        "source",
        type=Path,
        metavar="PHOTOS|CONFIG",
        help="folder of photographs (settings are chosen for them and kept in "
        "results/NAME/run.yaml), or a configuration (.yaml)",
    )
    c.add_argument("--name", help="name of the run, results/NAME (default: the folder's name)")
    c.add_argument("--rounds", type=o.count, metavar="N", help="pretraining rounds")
    c.add_argument("--epochs", type=o.count, metavar="N", help="epochs of each round")
    c.add_argument("--backbone", metavar="NAME", help="model.architecture, such as resnet50")
    c.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other key, such as views.crop=96 (docs/configuration.md); may be repeated",
    )
    c.add_argument(
        "--dry-run",
        action="store_true",
        help="say in about ten lines what would run, and how long; write no file of the run",
    )
    where = c.add_mutually_exclusive_group()
    where.add_argument(
        "--slurm",
        dest="profile",
        action="store_const",
        const="slurm",
        help="submit jobs to a SLURM cluster: the same as --profile slurm",
    )
    where.add_argument(
        "--profile",
        metavar="NAME",
        help="Snakemake profile: default, slurm, workstation, or a folder of your own",
    )
    c.add_argument(
        "more",
        nargs="*",
        metavar="-- ARGUMENTS",
        help="arguments for Snakemake, after two dashes, such as `-- --unlock`",
    )

    c = o.command(commands, "init", _init, "write a commented configuration, to change and run")
    c.add_argument(
        "out",
        type=Path,
        nargs="?",
        default=Path("config.yaml"),
        metavar="FILE",
        help="file to write (default: config.yaml); it must not exist yet",
    )
    c.add_argument(
        "--like",
        metavar="NAME",
        help="copy one of the package's configurations: demo, coco-small, coco, coco-published",
    )


def _run(options: argparse.Namespace) -> int:
    from cyborgs.config.overriding import read_settings
    from cyborgs.stages import run

    flags = {
        "--rounds": ("rounds", options.rounds),
        "--epochs": ("pretrain.epochs", options.epochs),
        "--backbone": ("model.architecture", options.backbone),
    }
    request = run.Request(
        options.source,
        read_settings(flags, options.set),
        name=options.name,
        profile=options.profile or "default",
        more=options.more,
    )
    return run.dry_run(request) if options.dry_run else run.start(request)


def _init(options: argparse.Namespace) -> None:
    from cyborgs.stages import init

    init.run(options.out, options.like)
