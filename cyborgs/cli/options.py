"""Arguments that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_outputs
from cyborgs.config import Compute, Config, parse
from cyborgs.runtime.gpus import claimed
from cyborgs.runtime.launch import launch, process_number

Command = Callable[[argparse.Namespace], int | None]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


# Options that name outputs; and options of type str that may name an input file.
_OUTPUTS = ("out", "json", "metrics", "rows", "scores")
_READ = ("backbone", "config", "masks")


def group(commands: Commands, name: str, text: str) -> Commands:
    """Add a command that only holds others."""
    parser = commands.add_parser(name, help=text, description=_sentence(text))
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def command(commands: Commands, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    """Add a command; what ``command`` returns is its exit status, None for 0."""
    # No abbreviations: `command_of` recognises options by their full names.
    parser = commands.add_parser(name, help=text, description=_sentence(text), allow_abbrev=False)
    parser.set_defaults(command=command, prog=parser.prog, out_is_folder=False)
    return parser


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def add_config(parser: argparse.ArgumentParser, sections: str) -> None:
    """Add ``--config``, of which a command uses some sections."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE|JSON",
        help=f"YAML file of a run, or some of its sections as JSON; uses {sections}",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add ``--images``."""
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add ``--list``."""
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="text file of the images to use: one path per line, relative to that folder",
    )


def add_index(parser: argparse.ArgumentParser) -> None:
    """Add ``--index``."""
    parser.add_argument("--index", type=Path, required=True, help="what `cyborgs index` wrote")


def add_masks(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--masks``."""
    parser.add_argument(
        "--masks", required=True, help=f"{what}: a folder of shards, a shard, or a quoted pattern"
    )


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard``."""
    parser.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")


def add_out(parser: argparse.ArgumentParser, what: str, folder: bool = False) -> None:
    """Add ``--out``, a file, or where a folder is (or may be) written."""
    parser.set_defaults(out_is_folder=folder)
    parser.add_argument("--out", type=Path, required=True, help=what)


def check_outputs(options: argparse.Namespace) -> None:
    """`require_outputs` for the arguments of a command."""
    given = vars(options)
    outputs = {f"--{name}": given[name] for name in _OUTPUTS if isinstance(given.get(name), Path)}
    texts = [given.get(name) for name in _READ]
    # JSON is no path, and may be longer than one can be.
    inputs = [Path(t) for t in texts if isinstance(t, str) and not t.lstrip().startswith("{")]
    for name in given.keys() - set(_OUTPUTS):
        values = given[name] if isinstance(given[name], list) else [given[name]]
        inputs += [value for value in values if isinstance(value, Path)]
    require_outputs(outputs, inputs)
    for name in outputs:
        if outputs[name].is_dir() and not (name == "--out" and options.out_is_folder):
            raise InputError(f"{name}: {outputs[name]} is a folder; name a file")


def add_compute(parser: argparse.ArgumentParser) -> None:
    """Add what says where and how fast."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="where to compute (default: compute.device)",
    )
    parser.add_argument("--threads", type=count, help="compute threads (default: compute.threads)")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what says in how many processes to train, and when to save."""
    parser.add_argument(
        "--processes",
        type=count,
        help="training processes on each node, one per GPU (default: compute.processes)",
    )
    parser.add_argument(
        "--nodes", type=count, help="nodes of this SLURM job to use (default: compute.nodes)"
    )
    parser.add_argument("--workers", type=int, help="loader processes (default: compute.workers)")
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        help="minutes between rolling checkpoints (default: compute.checkpoint_minutes)",
    )
    parser.add_argument(
        "--leave-minutes",
        type=float,
        help="minutes before a SLURM job's time limit at which to save and exit (default: "
        "compute.leave_minutes)",
    )
    parser.add_argument(
        "--work", type=Path, help="folder for rolling checkpoints (default: work/ beside --out)"
    )
    parser.add_argument(
        "--metrics", type=Path, help="file for the metrics of each epoch (JSON lines)"
    )


def work(options: argparse.Namespace) -> Path:
    """Folder for rolling checkpoints."""
    return options.work or options.out.parent / "work"


def in_processes(
    options: argparse.Namespace, compute: Compute, run: Callable[[], object]
) -> int | None:
    """Run a training with the GPUs that it needs: here, or in as many processes as are asked for.

    Returns the exit status of those, or None.
    """
    with claimed(compute.device, compute.processes):
        if compute.nodes * compute.processes > 1 and process_number() is None:
            return launch(compute.nodes, compute.processes, compute.threads, options.given)
        run()
    return None


def add_on_bad_image(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--on-bad-image``."""
    parser.add_argument(
        "--on-bad-image",
        choices=("error", "skip"),
        default=default,
        help="if an image cannot be decoded: stop, or leave it out and list it (default: "
        f"{default or 'data.on_bad_image'})",
    )


def on_bad_image(options: argparse.Namespace, config: Config) -> str:
    """What the command line says of bad images, else the configuration."""
    if options.on_bad_image is None and config.data is not None:
        return config.data.on_bad_image
    return options.on_bad_image or "error"


def count(text: str) -> int:
    """A number from 1, as the type of an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def compute(options: argparse.Namespace, compute: Compute) -> Compute:
    """The `compute` section with what the command line says instead."""
    given = {k: v for k, v in vars(options).items() if k in Compute.model_fields and v is not None}
    return parse({"compute": {**compute.model_dump(), **given}}).compute
