"""An experiment for tests: two variants and two seeds on a few embedded scenes."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from cyborgs.config.experiment import merged
from tests.runs import REPOSITORY

TINY = {
    "experiment": "tiny",
    "seeds": [0, 1],
    "baselines": ["initial", "fixed"],
    "base": {
        "rounds": 2,
        "shards": 2,
        "data": {"scenes": {"images": 12, "height": 64, "width": 96}},
        "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
        "views": {"crop": 64},
        "seed_masks": {"kind": "grid"},
        "pretrain": {"epochs": 1, "batch_size": 4, "masks": 4, "schedule": {"kind": "step"}},
        "bootstrap": {"block": "layer2.1", "group": 3, "clusters": [2, 6]},
        "downstream": {"evaluations": ["segmentation"], "segmentation": {"test": 0.5}},
        "compute": {"device": "cpu", "threads": 1, "workers": 0},
    },
    "variants": {"fixed": {"pretrain": {"fixed_masks": True}}, "bootstrapped": None},
}


def tiny(**changes):
    """The mapping of the experiment, with changes."""
    return merged(TINY, changes)


def snakemake(folder, experiment, *arguments):
    """Run an experiment in a folder; returns the finished process with its output as text."""
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    here = Path(sys.executable).parent
    return subprocess.run(
        [
            here / "snakemake", "--snakefile", REPOSITORY / "workflow/experiment.smk",
            "--directory", folder, "--cores", "2", *arguments,
            "--configfile", folder / "experiment.yaml",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": f"{here}:{os.environ['PATH']}"},
        check=False,
    )  # fmt: skip
