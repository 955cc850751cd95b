"""Commands of experiments: variants of a run, each with several seeds."""

import argparse
from pathlib import Path

from cyborgs.cli import options as o
from cyborgs.config.experiment import load_experiment


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    experiment = o.group(
        commands, "experiment", "summarise experiments: variants of a run with several seeds"
    )
    c = o.command(
        experiment,
        "summary",
        _summary,
        "print metrics and differences of what an experiment has finished so far",
    )
    c.add_argument(
        "--config",
        required=True,
        metavar="FILE|JSON",
        help="YAML file of the experiment, or JSON",
    )
    c.add_argument(
        "--rows",
        type=Path,
        required=True,
        metavar="FILE",
        help="file of rows to write (JSON lines, one for each evaluation of each run); existing "
        "rows are kept",
    )
    c.add_argument("--out", type=Path, metavar="HTML", help="page to write")


def _summary(options: argparse.Namespace) -> None:
    from cyborgs.stages import experiment

    print(experiment.run(load_experiment(options.config), options.rows, options.out))
