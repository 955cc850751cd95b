"""The command line: parse and dispatch, nothing else.

Heavy libraries are imported inside the commands, so that ``--help`` is instant.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType
from typing import NoReturn

from cyborgs import __version__
from cyborgs.cli import compare, completion, data, evaluate, experiment, loop, masks, run, status
from cyborgs.cli.options import Command, check_outputs
from cyborgs.common.errors import (
    BAD_INPUT,
    CONTINUES,
    LOST_PEER,
    MACHINE_FAULTS,
    RESUME_LATER,
    InputError,
    LostPeerError,
    ResumeLaterError,
)
from cyborgs.common.live import alive
from cyborgs.runtime.launch import process_number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    # For a command that starts itself again in several processes.
    options.given = given
    if process_number() is not None:
        options.prog = f"{options.prog}: process {process_number()}"
    command: Command = options.command
    try:
        check_outputs(options)
        # Of several processes, the first one speaks.
        with alive("starting") if process_number() in (None, "0") else nullcontext():
            status = command(options)
        # A closed pipe shows itself here, not when the interpreter ends.
        sys.stdout.flush()
        return status or 0
    except InputError as error:
        for line in str(error).splitlines():
            print(f"{options.prog}: error: {line}", file=sys.stderr)
        return BAD_INPUT
    except ResumeLaterError as error:
        print(f"{options.prog}: {error}", file=sys.stderr)
        return RESUME_LATER
    except LostPeerError as error:
        print(f"{options.prog}: {error}", file=sys.stderr)
        return LOST_PEER
    except BrokenPipeError:
        # The reader has closed the pipe (`… | head`); discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in MACHINE_FAULTS:
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"{options.prog}: error: {error.strerror}{where}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # PyTorch's exception: only commands that have loaded PyTorch can raise it.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        from cyborgs.runtime.hardware import first_line

        print(
            f"{options.prog}: error: GPU memory is full ({first_line(error)}); lower the "
            "batch or the images' size, or free the GPU (`nvidia-smi` shows what uses it)",
            file=sys.stderr,
        )
        return BAD_INPUT
    except KeyboardInterrupt as error:
        by = str(error) or "SIGINT"
        print(f"{options.prog}: interrupted ({by}); {CONTINUES} starts it again", file=sys.stderr)
        return 128 + signal.Signals[by]


def entry() -> None:
    """The console script."""
    # Compute threads that spin while they wait slow each other down several times over where
    # jobs share cores.  Must be set before torch or FAISS is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # File names that are not UTF-8 are printed as the bytes they are.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    # End by an exception, so that no partial file stays.  Under `nohup`, SIGHUP stays ignored.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _interrupt)
    sys.exit(main())


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    # A second signal would interrupt the clean-up.
    for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cyborgs",
        description="Pretrain vision backbones on unlabelled scenes: contrastive training over "
        "segmentation masks, alternating with clustering features into better masks. Each rule of "
        "the workflow is one of these commands; `cyborgs run PHOTOS` runs them all.",
    )
    parser.add_argument("--version", action="version", version=f"cyborgs {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run.add(commands)
    loop.add(commands)
    status.add(commands)
    masks.add(commands)
    data.add(commands)
    evaluate.add(commands)
    experiment.add(commands)
    compare.add(commands)
    completion.add(commands, parser)
    return parser
