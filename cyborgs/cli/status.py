"""The command that says how far a run is."""

import argparse
import sys
from pathlib import Path

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the command to the parser."""
    c = o.command(
        commands,
        "status",
        _status,
        "show how far a run is, what is running, what failed last, and what to do next",
    )
    c.add_argument("run", type=Path, metavar="RUN", help="folder of a run, results/<run>")
    c.add_argument(
        "--watch", action="store_true", help="repeat every two seconds until nothing is running"
    )


def _status(options: argparse.Namespace) -> None:
    from cyborgs.stages import status

    try:
        status.run(options.run, sys.stdout, options.watch)
    except KeyboardInterrupt:
        if not options.watch:
            raise
