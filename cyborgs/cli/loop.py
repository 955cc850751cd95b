"""Commands of the loop: data, seeds, training, bootstrapping, export, report."""

import argparse
from pathlib import Path

from cyborgs.cli import options as o
from cyborgs.common.files import exclusive
from cyborgs.config import load, write_config
from cyborgs.runtime.gpus import claimed


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    c = o.command(commands, "config", _config, "check a configuration file and print it in full")
    c.add_argument("file", metavar="FILE|JSON", help="YAML file of a run, or JSON")
    c.add_argument("--out", type=Path, help="YAML file to write (default: print)")

    c = o.command(
        commands,
        "hardware",
        _hardware,
        "show what a job on this machine would use: device, precision, memory",
    )
    c.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")

    c = o.command(commands, "scenes", _scenes, "draw the embedded data: labelled scenes")
    o.add_config(c, "data.scenes")
    o.add_out(c, "folder for images/ and annotations.json", folder=True)

    c = o.command(commands, "index", _index, "list the images of a folder, in a fixed order")
    o.add_images(c)
    o.add_list(c)
    c.add_argument("--threads", type=o.count, default=2, help="files read at a time (default 2)")
    o.add_on_bad_image(c, "error")
    o.add_out(c, "index to write (JSON lines)")

    seed = o.group(commands, "seed", "make the state and the masks of round 0")
    c = o.command(seed, "state", _seed_state, "make initial weights, as the state of round 0")
    o.add_config(c, "seed, model")
    o.add_out(c, "state to write (.pt)")
    c = o.command(seed, "masks", _seed_masks, "make a shard of the masks of round 0")
    o.add_config(c, "seed, shards, seed_masks, bootstrap.group")
    o.add_images(c)
    o.add_index(c)
    o.add_shard(c)
    c.add_argument("--annotations", type=Path, help="COCO JSON, for kind ground-truth")
    c.add_argument(
        "--threads", type=o.count, help="images segmented at a time (default: compute.threads)"
    )
    o.add_on_bad_image(c)
    o.add_out(c, "mask shard to write (.h5)")

    c = o.command(
        commands, "pretrain", _pretrain, "train one round on the masks of the previous round"
    )
    o.add_config(c, "seed, model, views, pretrain")
    c.add_argument("--round", type=o.count, required=True, help="number of the round, from 1")
    o.add_images(c)
    o.add_index(c)
    c.add_argument("--state", type=Path, required=True, help="state of the previous round")
    o.add_masks(c, "masks of the previous round")
    o.add_out(c, "state to write (.pt)")
    o.add_compute(c)
    o.add_training(c)
    c.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="compile the network (default: compute.compile)",
    )

    c = o.command(commands, "bootstrap", _bootstrap, "cluster features into a shard of masks")
    o.add_config(c, "seed, shards, bootstrap")
    c.add_argument("--round", type=int, required=True, help="number of the round, from 0")
    o.add_images(c)
    o.add_index(c)
    c.add_argument("--state", type=Path, required=True, help="state of that round")
    o.add_shard(c)
    c.add_argument(
        "--limit",
        type=o.count,
        metavar="IMAGES",
        help="use only the first groups that contain this many images",
    )
    o.add_on_bad_image(c)
    o.add_out(c, "mask shard to write (.h5)")
    o.add_compute(c)

    c = o.command(
        commands, "export", _export, "write a backbone in a format that other programs load"
    )
    c.add_argument("--state", type=Path, required=True, help="state of any round")
    c.add_argument(
        "--format",
        choices=("torchvision", "timm", "safetensors", "detectron2", "published"),
        default="torchvision",
        help="torchvision and timm are the same format; detectron2 also writes a .yaml of "
        "settings; published: both networks with their heads, under the names of the published "
        "program",
    )
    c.add_argument("--network", choices=("online", "target"), default="online")
    o.add_out(c, "file to write (.pth, .safetensors, .pkl)")

    c = o.command(
        commands,
        "import",
        _import,
        "read a backbone of another program as a state of round 0",
    )
    c.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="checkpoint of the published program, torchvision, timm, MoCo, DetCon-PyTorch, "
        "Detectron2, or any other program that contains a ResNet; code in it is never run",
    )
    c.add_argument(
        "--config",
        metavar="FILE|JSON",
        help="YAML file of a run, or some of its sections as JSON; uses seed, model (default: "
        "architecture and heads as in the file)",
    )
    o.add_out(c, "state to write (.pt)")

    c = o.command(
        commands, "report", _report, "write a report of a run, at any time, as one HTML page"
    )
    c.add_argument("run", type=Path, metavar="RUN", help="folder of a run, results/<run>")
    c.add_argument(
        "--out", type=Path, help="page to write (default: report.html in the run's folder)"
    )

    c = o.command(
        commands, "track", _track, "send the metrics of a run to MLflow or Weights & Biases"
    )
    c.add_argument("run", type=Path, metavar="RUN", help="folder of a run, results/<run>")
    c.add_argument(
        "--to",
        required=True,
        choices=("mlflow", "wandb"),
        help="tracker to use; its own environment variables set the server, project and key",
    )
    c.add_argument(
        "--follow",
        action="store_true",
        help="keep sending new metrics until standard input ends, or until Ctrl-C",
    )


def _config(options: argparse.Namespace) -> None:
    import yaml

    config = load(options.file)
    if options.out is None:
        print(yaml.safe_dump(config.model_dump(), sort_keys=False), end="")
        return
    write_config(config, options.out)


def _hardware(options: argparse.Namespace) -> None:
    from cyborgs.stages import hardware

    print(hardware.run(options.device))


def _scenes(options: argparse.Namespace) -> None:
    from cyborgs.stages import scenes

    scenes.run(load(options.config), options.out)


def _index(options: argparse.Namespace) -> None:
    from cyborgs.stages import index

    index.run(
        options.images,
        options.out,
        threads=options.threads,
        on_bad_image=options.on_bad_image,
        list_file=options.list,
    )


def _seed_state(options: argparse.Namespace) -> None:
    from cyborgs.stages import seed_state

    seed_state.run(load(options.config), options.out)


def _seed_masks(options: argparse.Namespace) -> None:
    from cyborgs.stages import seed_masks

    config = load(options.config)
    seed_masks.run(
        config,
        images=options.images,
        index_path=options.index,
        out=options.out,
        shard=options.shard,
        annotations=options.annotations,
        on_bad_image=o.on_bad_image(options, config),
        threads=o.compute(options, config.compute).threads,
    )


def _pretrain(options: argparse.Namespace) -> int | None:
    config = load(options.config)
    compute = o.compute(options, config.compute)

    def run() -> None:
        from cyborgs.stages import pretrain

        pretrain.run(
            config,
            number=options.round,
            images=options.images,
            index_path=options.index,
            state_path=options.state,
            masks_where=options.masks,
            out=options.out,
            work=o.work(options),
            compute=compute,
            metrics=options.metrics,
        )

    return o.in_processes(options, compute, run)


def _bootstrap(options: argparse.Namespace) -> None:
    from cyborgs.stages import bootstrap

    config = load(options.config)
    compute = o.compute(options, config.compute)
    # A Snakemake that was killed leaves its jobs alive, and the next one starts them again.
    lock = options.out.with_name(f".{options.out.stem}.lock")
    with exclusive(lock, str(options.out)), claimed(compute.device, 1):
        bootstrap.run(
            config,
            number=options.round,
            images=options.images,
            index_path=options.index,
            state_path=options.state,
            out=options.out,
            shard=options.shard,
            compute=compute,
            limit=options.limit,
            on_bad_image=o.on_bad_image(options, config),
        )


def _export(options: argparse.Namespace) -> None:
    from cyborgs.stages import export

    export.run(options.state, options.out, options.format, options.network)


def _import(options: argparse.Namespace) -> None:
    from cyborgs.stages import seed_state

    config = load(options.config) if options.config else None
    seed_state.import_checkpoint(options.file, options.out, config)


def _report(options: argparse.Namespace) -> None:
    from cyborgs.stages import report

    report.run(options.run, options.out or options.run / "report.html")


def _track(options: argparse.Namespace) -> None:
    from cyborgs.stages import track

    if options.follow:
        track.follow(options.run, options.to)
    else:
        print(track.run(options.run, options.to))
