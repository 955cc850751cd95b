"""The command that puts runs side by side."""

import argparse
from pathlib import Path

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the command to the parser."""
    c = o.command(
        commands, "compare", _compare, "compare runs: settings, cost, quality, evaluations"
    )
    c.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of two or more runs on the same images, results/<run>; differences are "
        "from the first run",
    )
    c.add_argument("--out", type=Path, metavar="HTML", help="page to write, with curves and images")


def _compare(options: argparse.Namespace) -> None:
    from cyborgs.stages import compare

    print(compare.run(options.runs, options.out))
